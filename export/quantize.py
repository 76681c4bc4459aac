"""Add int8 graphs to a bundle: what is computed every frame, quantized (QDQ) around the convolutions that tolerate it.

`animate` is judged by the picture that it makes, the painters of mouth and eyes by their squares. A file serves
OpenVINO, ONNX Runtime and TensorRT: symmetric int8, a scale per channel for weights and per tensor for activations,
biases in float. Convolutions whose quantization would show are left in float: each is measured alone.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.bundle import Bundle, Manifest, graph_file, open_bundle, write_manifest
from avatarify_plus.errors import DataError, ModelError
from avatarify_plus.network import tensor_names
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.pictures.video_suffixes import VIDEO_SUFFIXES
from avatarify_plus.program.command_line import (
    ProgramParser,
    add_model_argument,
    configure_logging,
    require_writable,
    run_program,
)
from avatarify_plus.program.whole_file import replaced
from avatarify_plus.types import FloatArray
from export.calibration import Example, gather_examples
from export.composition import shown_picture

# isort: split
import numpy as np
import onnx
import openvino
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QDQQuantizer, QuantType, create_calibrator
from tqdm import tqdm

RANKING_STRIDE = 5
"""Convolutions are ranked by every fifth trial."""

JUDGED_SHARE = 4
"""Every fourth clip is not calibrated on: the loss is measured there."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution that may be quantized. operations: its floating-point operations a frame, 2 per multiply-add."""

    name: str
    operations: int


@dataclass(frozen=True, slots=True)
class QuantizeReport:
    """What quantizing a graph did.

    kept: convolutions left in float, of `layer_count`. harm: loss of each convolution quantized alone, empty if none
    had to be kept. loss: of the file as it is.
    """

    kept: tuple[str, ...]
    harm: dict[str, float]
    loss: float
    layer_count: int


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_program(lambda: _main(arguments))


def _main(arguments: list[str] | None) -> None:
    parser = ProgramParser(
        prog="python export/quantize.py",
        description=__doc__,
        examples=("python export/quantize.py models/mine --clips clips/train",),
    )
    add_model_argument(parser)
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="videos of faces, or folders of them")
    parser.add_argument(
        "--count", type=int, default=48, help="how many clips to take, by a seed (default: %(default)s)"
    )
    parser.add_argument("--frames", type=int, default=3, help="pictures of each, twice (default: %(default)s)")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.2,
        metavar="LEVELS",
        help="largest mean difference of each graph's picture to float, in levels of 255 (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    for name, minimum in (("count", 2), ("frames", 1)):
        if getattr(options, name) < minimum:
            parser.error(f"--{name} must be at least {minimum}, found {getattr(options, name)}")
    if not options.tolerance > 0:
        parser.error(f"--tolerance must be positive, found {options.tolerance}")
    configure_logging(options.verbose)
    bundle = open_bundle(options.model)
    graphs = frame_graphs(bundle.config)
    for graph in graphs:
        require_writable(int8_file(bundle, graph), "the model")
    clips = find_clips(options.clips, options.count)
    calibrated = [clip for index, clip in enumerate(clips) if index % JUDGED_SHARE]
    judged = clips[::JUDGED_SHARE]
    examples, trials = (gather_examples(bundle, paths, options.frames) for paths in (calibrated, judged))
    counts = [len(gathered[tensor_names.ANIMATE]) for gathered in (examples, trials)]
    print(f"{bundle.manifest.name}: {counts[0]} examples to calibrate on, {counts[1]} to judge by")
    for graph, report in quantize_bundle(bundle, examples, trials, options.tolerance).items():
        print_quantization(graph, report)


def frame_graphs(config: NetworkConfig) -> list[str]:
    """Return the names of the graphs that get an int8 twin: those that paint what is seen of every frame."""
    others = (tensor_names.DETECT, tensor_names.ENCODE_SOURCE)
    return [graph for graph in tensor_names.signatures(config) if graph not in others]


def int8_file(bundle: Bundle, graph: str = tensor_names.ANIMATE) -> Path:
    """Return the path of a graph's int8 twin, which need not exist."""
    return bundle.folder / graph_file(tensor_names.quantized(graph))


def find_clips(paths: Sequence[Path], count: int) -> list[Path]:
    """Return up to `count` videos of files and folders, shuffled by a seed. Raises DataError if there are too few."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(
            file for file in path.rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES and not file.name.startswith(".")
        )
        found += inside if path.is_dir() else [path]
    random.Random(0).shuffle(found)
    if len(found) < 2:
        raise DataError(f"quantizing needs at least two clips, {len(found)} found in {', '.join(map(str, paths))}")
    return found[:count]


def quantize_bundle(
    bundle: Bundle,
    examples: Mapping[str, Sequence[Example]],
    trials: Mapping[str, Sequence[Example]],
    tolerance: float,
) -> dict[str, QuantizeReport]:
    """Write the int8 versions of `frame_graphs` into a bundle's folder and list them in the manifest.

    examples: calibrated on, by graph. trials: the losses are measured on these. Raises ModelError if the tolerance
    cannot be met, and then the bundle is as before; or if the folder cannot be written, and then it is as before or
    without int8.
    """
    reports: dict[str, QuantizeReport] = {}
    quality: dict[str, dict[str, Any]] = {}
    try:
        with ExitStack() as drafts:
            for graph in frame_graphs(bundle.config):
                draft = drafts.enter_context(replaced(int8_file(bundle, graph)))
                report = quantize_file(bundle.graph(graph), draft, graph, examples[graph], trials[graph], tolerance)
                reports[graph] = report
                quality[graph] = {
                    "calibration_examples": len(examples[graph]),
                    "difference_levels": round(report.loss, 3),
                    "convolutions_in_float": list(report.kept),
                }
            # At no moment does the manifest list a file that is another one already.
            write_manifest(
                bundle.folder, _without_int8(bundle.manifest), [int8_file(bundle, graph).name for graph in reports]
            )
        described = quality.pop(tensor_names.ANIMATE) | quality
        write_manifest(bundle.folder, replace(bundle.manifest, metrics=bundle.manifest.metrics | {"int8": described}))
    except OSError as error:
        raise ModelError(f"cannot write to {bundle.folder}: {error}") from error
    return reports


def _without_int8(manifest: Manifest) -> Manifest:
    return replace(manifest, metrics={name: value for name, value in manifest.metrics.items() if name != "int8"})


def quantize_file(
    path: Path, out: Path, graph: str, examples: Sequence[Example], trials: Sequence[Example], tolerance: float
) -> QuantizeReport:
    """Quantize one graph's file. Raises ModelError if the tolerance cannot be met."""
    model = split_concatenations(onnx.load(path))
    with tempfile.TemporaryDirectory() as scratch:
        float_file = Path(scratch) / "float.onnx"
        onnx.save(model, float_file)
        ranges = calibrate(float_file, examples, Path(scratch))
    return choose(graph, model, ranges, trials, out, tolerance)


def split_concatenations(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose convolutions of concatenated channels are sums of convolutions of the parts.

    The numbers are the same, but every part keeps its own scale: with a joint scale, features of range ten would
    coarsen a picture of range one, and OpenVINO applies such a joint scale to all other readers of the parts.
    """
    model = onnx.shape_inference.infer_shapes(model)
    graph = model.graph
    shapes = shapes_of(graph)
    makers = {output: node for node in graph.node for output in node.output}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        maker = makers.get(node.input[0]) if is_convolution(node) else None
        if maker is None or maker.op_type != "Concat" or helper.get_node_attr_value(maker, "axis") != 1:
            nodes.append(node)
            continue
        weight = numpy_helper.to_array(weights[node.input[1]])
        ends = np.cumsum([shapes[part][1] for part in maker.input])
        total = ""
        for index, (part, share) in enumerate(zip(maker.input, np.split(weight, ends[:-1], axis=1), strict=True)):
            name = f"{node.input[1]}_{index}"
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(share), name))
            bias = node.input[2:] if index == 0 else []
            partial = f"{node.output[0]}_{index}"
            piece = helper.make_node("Conv", [part, name, *bias], [partial], f"{node.name}_{index}")
            piece.attribute.extend(node.attribute)
            nodes.append(piece)
            if total:
                sum_name = node.output[0] if index == len(ends) - 1 else f"{partial}_sum"
                nodes.append(helper.make_node("Add", [total, partial], [sum_name], f"{node.name}_add_{index}"))
                partial = sum_name
            total = partial
    _replace_nodes(graph, nodes)
    onnx.checker.check_model(model, full_check=True)
    return model


def is_convolution(node: onnx.NodeProto) -> bool:
    """Whether a node is a convolution with one group."""
    groups = [attribute.i for attribute in node.attribute if attribute.name == "group"]
    return node.op_type == "Conv" and groups in ([], [1])


def _replace_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Put nodes into a graph and drop what no node or output reads any more."""
    read = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    needed = [node for node in nodes if read.intersection(node.output)]
    del graph.node[:]
    graph.node.extend(needed)
    read = {name for node in needed for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    del graph.value_info[:]


def shapes_of(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """Return the shapes of a graph's inputs and of what was inferred between its nodes, by name."""
    return {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input)
    }


def layers(model: onnx.ModelProto) -> list[Layer]:
    """Return a model's convolutions with their cost."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = shapes_of(graph)
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    return [
        Layer(node.name, 2 * int(np.prod(shapes[node.output[0]]) * np.prod(weights[node.input[1]][1:])))
        for node in graph.node
        if is_convolution(node)
    ]


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is not typed
    """Hands examples to ONNX Runtime's calibration; inputs: what the graph takes of them."""

    def __init__(self, examples: Sequence[Example], inputs: Sequence[str]) -> None:
        self._examples = ({name: example[name] for name in inputs} for example in examples)

    def get_next(self) -> Example | None:
        """Return the next example, or None after the last."""
        return next(self._examples, None)


def calibrate(float_file: Path, examples: Sequence[Example], scratch: Path) -> Any:
    """Return the range of every tensor around the convolutions: minimum and maximum over the examples."""
    calibrator = create_calibrator(float_file, ["Conv"], augmented_model_path=str(scratch / "augmented.onnx"))
    calibrator.collect_data(_Reader(examples, [value.name for value in calibrator.infer_session.get_inputs()]))
    return calibrator.compute_data()


def quantize_graph(model: onnx.ModelProto, ranges: Any, kept: Collection[str]) -> onnx.ModelProto:
    """Return a model with all convolutions quantized except those named in `kept`.

    Inputs and weights are quantized, outputs are not: each reader of an output quantizes its own input.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    quantizer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=ranges,
        nodes_to_quantize=[],
        nodes_to_exclude=[*kept, *(node.name for node in model.graph.node if not is_convolution(node))],
        op_types_to_quantize=["Conv"],
        extra_options={
            "ActivationSymmetric": True,  # TensorRT knows no zero point
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": ["Conv"],
        },
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantized: onnx.ModelProto = quantizer.model.model
    return quantized


def choose(
    graph: str, model: onnx.ModelProto, ranges: Any, trials: Sequence[Example], out: Path, tolerance: float
) -> QuantizeReport:
    """Write the quantized model that keeps as little as possible in float within a tolerance.

    graph: its name. out: the file. Convolutions are kept in float in the order of harm per floating-point operation,
    the largest first, until the loss over the trials is within the tolerance; then those that need not be kept are
    quantized after all, the most expensive first. Raises ModelError if that leaves none to quantize.
    """
    expected = run(graph, model.SerializeToString(), trials)
    every = layers(model)

    def loss(kept: Collection[str], stride: int = 1) -> tuple[float, bytes]:
        quantized = quantize_graph(model, ranges, kept).SerializeToString()
        found = run(graph, quantized, trials[::stride])
        return float(np.mean([np.abs(a - b).mean() for a, b in zip(found, expected[::stride], strict=True)])), quantized

    harm: dict[str, float] = {}
    order: list[Layer] = []
    total, quantized = loss([])
    if total > tolerance:
        for layer in tqdm(every, unit="layer", desc=f"{graph}: each alone"):
            harm[layer.name], _ = loss([other.name for other in every if other != layer], RANKING_STRIDE)
        order = sorted(every, key=lambda layer: -harm[layer.name] / layer.operations)
    kept: list[str] = []
    while total > tolerance and len(kept) < len(order) - 1:
        kept.append(order[len(kept)].name)
        total, quantized = loss(kept)
    if total > tolerance:
        raise ModelError(
            f"no convolution of {graph} can be quantized within {tolerance:g} levels: one alone costs {total:.2g}"
        )
    for layer in sorted(order, key=lambda layer: -layer.operations):
        fewer = [name for name in kept if name != layer.name]
        if len(fewer) < len(kept) and (found := loss(fewer))[0] <= tolerance:
            kept, (total, quantized) = fewer, found
    onnx.checker.check_model(quantized, full_check=True)
    out.write_bytes(quantized)
    return QuantizeReport(tuple(kept), harm, total, len(every))


def run(graph: str, model: bytes, examples: Sequence[Example]) -> list[FloatArray]:
    """Return a graph's pictures, see `shown_picture`, as OpenVINO, which int8 is for on a CPU, computes them."""
    core = openvino.Core()
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(model, b""), "CPU", options)
    request = compiled.create_infer_request()
    inputs = [entry.get_any_name() for entry in compiled.inputs]
    outputs = [entry.get_any_name() for entry in compiled.outputs]
    pictures = []
    for example in examples:
        request.infer({name: example[name] for name in inputs})
        pictures.append(shown_picture(graph, example, {name: request.get_tensor(name).data for name in outputs}))
    return pictures


def print_quantization(graph: str, report: QuantizeReport) -> None:
    """Print what quantizing a graph did, the most harmful convolutions first."""
    if report.harm:
        print(f"{graph}: mean difference to float in levels of 255, each convolution quantized alone:")
    for name, harm in sorted(report.harm.items(), key=lambda item: -item[1])[:12]:
        print(f"  {name:32} {harm:6.3f}{'  kept in float' if name in report.kept else ''}")
    quantized = report.layer_count - len(report.kept)
    print(f"{graph}: {quantized} of {report.layer_count} convolutions in int8: {report.loss:.3f} levels")


if __name__ == "__main__":
    sys.exit(main())
