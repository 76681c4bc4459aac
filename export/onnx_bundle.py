"""Export a training checkpoint, or an existing bundle again, as a model bundle: weights and ONNX graphs."""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.bundle import MANIFEST, OPSET, WEIGHTS, Manifest, graph_file, open_bundle, write_manifest
from avatarify_plus.errors import ModelError
from avatarify_plus.face.contours import CONTOURS, PART_CONTOURS
from avatarify_plus.motion.keypoints import load_mesh_layout
from avatarify_plus.network import tensor_names
from avatarify_plus.network.checkpoint import read_checkpoint
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.network.graphs import build_graphs
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.network.weights import build_model, read_model, write_weights
from avatarify_plus.program.command_line import ProgramParser, configure_logging, run_program
from avatarify_plus.program.whole_folder import put_folder

# isort: split
import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

FLOAT_TOLERANCE = 1e-4
"""Largest difference of a float tensor, as a share of its range in torch."""

IMAGE_TOLERANCE = 1
"""Largest difference of a uint8 tensor: rounding may fall either way."""

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_program(lambda: _main(arguments))


def _main(arguments: list[str] | None) -> None:
    parser = ProgramParser(
        prog="python export/onnx_bundle.py",
        description=__doc__,
        examples=(
            "python export/onnx_bundle.py runs/mine/checkpoint.pt models/mine",
            "python export/onnx_bundle.py live-256 plain --as-trained",
        ),
    )
    parser.add_argument("checkpoint", help="training checkpoint, or the bundle to export again")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--name", help="name in the manifest (default: the bundle's, or OUT's)")
    parser.add_argument("--licence", help="licence of the weights (default: the bundle's, or MIT)")
    parser.add_argument("--metrics", type=Path, metavar="FILE.json", help="measurements to put into the manifest")
    parser.add_argument(
        "--as-trained",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="do not simplify the graphs: slower, to compare with",
    )
    parser.add_argument(
        "--force", action=argparse.BooleanOptionalAction, default=False, help="replace OUT if it is a bundle"
    )
    options = parser.parse_args(arguments)
    configure_logging(options.verbose)
    quiet_exporter()
    model, manifest = load(options.checkpoint)
    manifest = replace(
        manifest,
        name=options.name or manifest.name or options.out.resolve().name,
        licence=options.licence or manifest.licence,
        metrics=read_metrics(options.metrics) if options.metrics else manifest.metrics,
    )
    errors = export_bundle(model, options.out, manifest, options.force, simplified=not options.as_trained)
    print_summary(options.out, errors)


def quiet_exporter() -> None:
    """Drop torch's warnings about each torchvision operator that its ONNX exporter does without."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)


def print_summary(out: Path, errors: Mapping[str, float]) -> None:
    """Print the largest difference to torch of each output."""
    print(f"{out}: largest differences to torch (floats: share of the range; pictures: levels of 255)")
    for tensor, error in errors.items():
        print(f"  {tensor:32} {error:.2g}")


def load(checkpoint: str) -> tuple[AnimationModel, Manifest]:
    """Read a training checkpoint file or a bundle; a checkpoint's manifest has no name yet.

    Raises ModelError if it is neither.
    """
    path = Path(checkpoint)
    if path.is_file():
        return load_checkpoint(path)
    if path.suffix and not path.exists():
        raise ModelError(f"no checkpoint at {path}: give a training checkpoint or a bundle")
    bundle = open_bundle(checkpoint)
    return read_model(bundle.weights, bundle.config), replace(bundle.manifest, revision=git_revision())


def load_checkpoint(path: Path) -> tuple[AnimationModel, Manifest]:
    """Read a training checkpoint. Raises ModelError if it is not one, or of a network that cannot be exported."""
    checkpoint = read_checkpoint(path)
    model = build_model(checkpoint.config, checkpoint.ema, str(path))
    training = {**checkpoint.training, "steps": checkpoint.step, "samples": checkpoint.samples}
    return model, Manifest(name="", network=checkpoint.config, training=training, revision=git_revision())


def read_metrics(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises ModelError if there is none."""
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot read the metrics {path}: {error}") from error
    if not isinstance(metrics, dict):
        raise ModelError(f"the metrics {path} must be a JSON object, found a {type(metrics).__name__}")
    return metrics


def git_revision() -> str:
    """Return the commit of this source tree, or "unknown" outside a git repository."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def export_bundle(
    model: AnimationModel, out: Path, manifest: Manifest, force: bool = False, simplified: bool = True
) -> dict[str, float]:
    """Write a model as a bundle: safetensors, graphs that were compared with torch, manifest.

    The manifest's network, opset and files are filled in. simplified: see `build_graphs`. Returns the largest
    difference of each output. Raises ModelError if a mesh model does not fit its mesh layout, if `out` exists (with
    `force`: and is not a bundle) or cannot be written, or if a graph's output differs from torch by more than
    FLOAT_TOLERANCE or IMAGE_TOLERANCE; then nothing is left behind.
    """
    if out.exists() and not (force and (out / MANIFEST).is_file()):
        advice = "it is not a bundle, choose another folder" if force else "choose another folder or --force"
        raise ModelError(f"cannot write {out}: it exists; {advice}")
    require_mesh_layout(model.config)
    errors: dict[str, float] = {}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
            folder = Path(scratch) / "new"
            folder.mkdir()
            write_weights(model, folder / WEIGHTS)
            graphs = build_graphs(model, simplified)
            cases = [check_inputs(graphs, model.config, picture) for picture in (noise_picture, smooth_picture)]
            for name, graph in graphs.items():
                path = folder / graph_file(name)
                onnx.save(export_graph(name, graph, cases[0][name], model.config), path)
                errors |= compare_graph(name, path, graph, [case[name] for case in cases], model.config)
            write_manifest(folder, replace(manifest, network=model.config, opset=OPSET))
            put_folder(folder, out)
    except OSError as error:
        raise ModelError(f"cannot write {out}: {error}") from error
    return errors


def require_mesh_layout(config: NetworkConfig) -> None:
    """Raise ModelError if a model takes another number of keypoints from the mesh than its mesh layout has."""
    if not config.reads_mesh:
        return
    count, wanted = load_mesh_layout(config.mesh_layout).keypoint_count, config.keypoint_count - config.detected_count
    if count != wanted:
        raise ModelError(
            f"the model takes {wanted} keypoints from the mesh, its mesh layout {config.mesh_layout} has {count}: "
            "train with that number"
        )


def export_graph(name: str, graph: nn.Module, inputs: Mapping[str, Tensor], config: NetworkConfig) -> onnx.ModelProto:
    """Export one graph as float32 ONNX with its weights inside, and nothing about the machine that exported it."""
    signature = tensor_names.signatures(config)[name]
    with warnings.catch_warnings():
        # torch 2.13 warns about its own use of LeafSpec.
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated", category=FutureWarning)
        program = torch.onnx.export(
            graph,
            tuple(inputs[tensor] for tensor in signature.inputs),
            input_names=signature.inputs,
            output_names=signature.outputs,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    model.graph.name = name
    strip(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def strip(model: onnx.ModelProto) -> None:
    """Remove stack traces, file paths and other notes of the exporter; the graph itself stays."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")


def noise_picture(size: int, generator: torch.Generator) -> Tensor:
    """Return a (1, size, size, 3) uint8 picture of noise."""
    return torch.randint(0, 256, (1, size, size, 3), generator=generator, dtype=torch.uint8)


def smooth_picture(size: int, generator: torch.Generator) -> Tensor:
    """Return a (1, size, size, 3) uint8 picture of soft blobs with fine grain, closer to a photo's spectrum."""
    coarse = torch.rand((1, 3, 6, 6), generator=generator)
    blobs = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    grain = 0.02 * torch.randn(blobs.shape, generator=generator)
    return ((blobs + grain).clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()  # (1, H, W, 3)


def soft_masks(count: int, channels: int, size: int, generator: torch.Generator) -> Tensor:
    """Return (count, channels, size, size) uint8 masks of random blobs with soft edges, as contours are."""
    coarse = torch.rand((count, channels, 6, 6), generator=generator) - 0.5
    blobs = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    return ((size * blobs / 16 + 0.5).clamp(0, 1) * 255).to(torch.uint8)


def check_inputs(graphs: Mapping[str, nn.Module], config: NetworkConfig, picture: Any) -> dict[str, dict[str, Tensor]]:
    """Return inputs by graph and tensor name: two pictures of a kind, their keypoints, the first one encoded.

    Learned keypoints are the model's own; those of the mesh are random, with jacobians near half the identity. Contours
    are `soft_masks`.
    """
    generator = torch.Generator().manual_seed(0)
    images = [picture(config.image_size, generator) for _ in range(2)]
    keypoints = []
    for image in images:
        count = config.keypoint_count - config.detected_count
        value = torch.rand((1, count, 2), generator=generator) * 1.2 - 0.6
        jacobian = 0.5 * torch.eye(2) + 0.1 * torch.randn((1, count, 2, 2), generator=generator)
        if tensor_names.DETECT in graphs:
            with torch.inference_mode():
                found = graphs[tensor_names.DETECT](image)
            value, jacobian = torch.cat([value, found[0]], dim=1), torch.cat([jacobian, found[1]], dim=1)
        keypoints.append((value.clone(), jacobian.clone()))
    (source_value, source_jacobian), (driving_value, driving_jacobian) = keypoints
    encode = {tensor_names.IMAGE: images[0], tensor_names.SOURCE_VALUE: source_value}
    with torch.inference_mode():
        encoded = graphs[tensor_names.ENCODE_SOURCE](images[0], source_value)
    animate = {
        **dict(zip(tensor_names.encoded_source(config), (tensor.clone() for tensor in encoded), strict=True)),
        tensor_names.SOURCE_VALUE: source_value,
        tensor_names.SOURCE_JACOBIAN: source_jacobian,
        tensor_names.DRIVING_VALUE: driving_value,
        tensor_names.DRIVING_JACOBIAN: driving_jacobian,
    }
    if config.contour_width:
        for name in (tensor_names.SOURCE_CONTOURS, tensor_names.DRIVING_CONTOURS):
            animate[name] = soft_masks(1, len(CONTOURS), config.contour_size, generator)
    parts = {
        tensor_names.paint(part): part_inputs(part, picture, generator)
        for part in (tensor_names.PAINTED_PARTS if config.part_width else ())
    }
    return {
        tensor_names.DETECT: {tensor_names.IMAGE: images[1]},
        tensor_names.ENCODE_SOURCE: encode,
        tensor_names.ANIMATE: animate,
        **parts,
    }


def part_inputs(part: str, picture: Any, generator: torch.Generator) -> dict[str, Tensor]:
    """Return the inputs of the graph that paints a part, by name: pictures of a kind and `soft_masks`."""
    count, size = tensor_names.PART_COUNTS[part], tensor_names.PART_PX[part]
    given, reference = (torch.cat([picture(size, generator) for _ in range(count)]) for _ in range(2))
    contours, own = (soft_masks(count, PART_CONTOURS, size, generator) for _ in range(2))
    return {
        tensor_names.GIVEN: given,
        tensor_names.CONTOURS: contours,
        tensor_names.REFERENCE: reference,
        tensor_names.REFERENCE_CONTOURS: own,
    }


def compare_graph(
    name: str, path: Path, graph: nn.Module, cases: list[dict[str, Tensor]], config: NetworkConfig
) -> dict[str, float]:
    """Return, by "graph.output", the largest difference between ONNX Runtime and torch; floats as a share of the range.

    Raises ModelError beyond the tolerance.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    tensors, outputs = tensor_names.signatures(config)[name]
    errors: dict[str, float] = {}
    for inputs in cases:
        found = session.run(outputs, {tensor: inputs[tensor].numpy() for tensor in tensors})
        with torch.inference_mode():
            expected = graph(*(inputs[tensor] for tensor in tensors))
        for output, left, right in zip(outputs, found, (tensor.numpy() for tensor in expected), strict=True):
            is_image = right.dtype == np.uint8
            difference = float(np.abs(left.astype(np.float64) - right).max())
            error = difference if is_image else difference / max(float(np.ptp(right)), 1e-6)
            limit = IMAGE_TOLERANCE if is_image else FLOAT_TOLERANCE
            if not error <= limit:  # a NaN fails too
                raise ModelError(
                    f"graph {name}: {output} differs from torch by {error:.2g}, at most {limit:g} is allowed"
                )
            errors[f"{name}.{output}"] = max(error, errors.get(f"{name}.{output}", 0.0))
    return errors


if __name__ == "__main__":
    sys.exit(main())
