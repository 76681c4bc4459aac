"""The int8 twin: close to float in every runtime, and in the form that all of them take."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from avatarify_plus.bundle import Bundle, open_bundle
from avatarify_plus.camera import open_frame_source
from avatarify_plus.engines import open_engine
from avatarify_plus.errors import EngineError, ModelError
from avatarify_plus.network import tensor_names
from avatarify_plus.pictures.images import Box, crop
from export import quantize
from export.calibration import Example, gather_examples
from export.composition import shown_picture
from fakes import EXAMPLES, write_video
from scenes import animate, scene

INT8 = tensor_names.quantized(tensor_names.ANIMATE)
TOLERANCE_LEVELS = 1.0


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two short clips of a face."""
    import threading

    folder = tmp_path_factory.mktemp("clips")
    with open_frame_source(str(EXAMPLES / "driver.mp4"), 25, plays_live=False) as frame_source:
        frames = [crop(frame.image, Box(80, 0, 480, 480), 256) for frame in frame_source.frames(threading.Event())]
    write_video(folder / "a.mp4", frames[0:40:8])
    write_video(folder / "b.mp4", frames[40:80:8])
    return folder


@pytest.fixture(scope="session")
def quantized(mixed_bundle: Bundle, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a bundle with an int8 twin, made by the command line."""
    folder = tmp_path_factory.mktemp("quantized") / "tiny"
    shutil.copytree(mixed_bundle.folder, folder)
    options = ["--clips", str(clips), "--frames", "2", "--tolerance", str(TOLERANCE_LEVELS)]
    assert quantize.main([str(folder), *options]) == 0
    return open_bundle(folder)


def first(count: int, examples: dict[str, list[Example]]) -> dict[str, list[Example]]:
    """Return the first examples of each graph."""
    return {graph: each[:count] for graph, each in examples.items()}


def test_examples_are_what_the_app_feeds(mixed_bundle: Bundle, clips: Path) -> None:
    examples = gather_examples(mixed_bundle, sorted(clips.iterdir()), frames=2)
    signature = tensor_names.signatures(mixed_bundle.config)
    # per clip: the photo itself twice, two of its own pictures, three of the other's
    assert len(examples[tensor_names.ANIMATE]) == 2 * (2 + 2 + 3)
    session = onnxruntime.InferenceSession(mixed_bundle.graph(tensor_names.ANIMATE), providers=["CPUExecutionProvider"])
    pictures = [session.run(None, example)[0] for example in examples[tensor_names.ANIMATE]]
    assert set(examples[tensor_names.ANIMATE][0]) == set(signature[tensor_names.ANIMATE].inputs)
    assert not np.array_equal(pictures[1], pictures[2])
    assert examples[tensor_names.DETECT][0][tensor_names.IMAGE].shape == (1, 256, 256, 3)


def test_the_manifest_records_it(quantized: Bundle, mixed_bundle: Bundle) -> None:
    assert quantized.has_graph(INT8) and not mixed_bundle.has_graph(INT8)
    recorded = quantized.manifest.metrics["int8"]
    assert 0 < recorded["difference_levels"] <= TOLERANCE_LEVELS and recorded["calibration_examples"] > 0


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_every_runtime_computes_it(quantized: Bundle, name: str) -> None:
    shown = scene(quantized)
    with open_engine(quantized, name, 1, "fp32") as exact, open_engine(quantized, name, 1, "int8") as engine:
        assert engine.precision == "int8"
        difference = np.abs(animate(engine, shown).astype(int) - animate(exact, shown))
    assert 0 < difference.mean() < 3 * TOLERANCE_LEVELS


def test_auto_takes_it_where_it_is_fast(quantized: Bundle) -> None:
    with open_engine(quantized, "openvino", 1) as openvino, open_engine(quantized, "onnxruntime", 1) as onnxruntime:
        assert (openvino.precision, onnxruntime.precision) == ("int8", "fp32")


def test_it_is_what_tensorrt_takes(quantized: Bundle) -> None:
    graph = onnx.load(quantized.graph(INT8)).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    quantizing = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert quantizing
    for node in quantizing:
        zero = tensors[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any(), "symmetric"
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    counted = 0
    for node in convolutions:
        source, weight = (makers.get(name) for name in node.input[:2])
        if weight is None:
            continue  # kept in float
        counted += 1
        assert source is not None and source.op_type == weight.op_type == "DequantizeLinear"
        assert tensors[weight.input[0]].dtype == np.int8
        assert len(tensors[weight.input[1]]) == len(tensors[weight.input[0]]), "a scale per output channel"
        assert all(tensors[name].dtype == np.float32 for name in node.input[2:]), "biases stay in float"
    assert counted > len(convolutions) / 2


def test_convolutions_of_concatenations_become_sums(mixed_bundle: Bundle, clips: Path, tmp_path: Path) -> None:
    before = onnx.load(mixed_bundle.graph(tensor_names.ANIMATE))
    after = quantize.split_concatenations(before)
    concatenated = {output for node in after.graph.node if node.op_type == "Concat" for output in node.output}
    read = {node.input[0] for node in after.graph.node if node.op_type == "Conv"}
    assert not read & concatenated
    assert len(quantize.layers(after)) > len(quantize.layers(before)), "there was something to split"
    spent = [sum(layer.operations for layer in quantize.layers(model)) for model in (before, after)]
    assert spent[0] == spent[1]
    example = gather_examples(mixed_bundle, sorted(clips.iterdir()), frames=1)[tensor_names.ANIMATE][-1]
    first, second = (
        quantize.run(tensor_names.ANIMATE, model.SerializeToString(), [example])[0] for model in (before, after)
    )
    assert np.abs(first - second).max() <= 1


def test_a_tolerance_that_nothing_meets_leaves_the_bundle(mixed_bundle: Bundle, clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(mixed_bundle.folder, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    examples = gather_examples(mixed_bundle, sorted(clips.iterdir()), frames=1)
    with pytest.raises(ModelError, match="no convolution of animate can be quantized within -1 levels"):
        quantize.quantize_bundle(open_bundle(folder), examples, first(2, examples), tolerance=-1)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]


def test_what_hurts_is_kept_in_float(mixed_bundle: Bundle, clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(mixed_bundle.folder, folder)
    examples = gather_examples(mixed_bundle, sorted(clips.iterdir()), frames=1)
    trials = first(2, examples)
    (loose,) = quantize.quantize_bundle(open_bundle(folder), examples, trials, tolerance=50).values()
    (tight,) = quantize.quantize_bundle(open_bundle(folder), examples, trials, tolerance=loose.loss / 2).values()
    assert not loose.kept and tight.kept
    assert tight.loss <= loose.loss / 2
    assert open_bundle(folder).manifest.metrics["int8"]["convolutions_in_float"] == list(tight.kept)


def test_too_few_clips_are_an_error(mixed_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quantize.main([str(mixed_bundle.folder), "--clips", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("avatarify: error: quantizing needs at least two clips, 0 found")


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_int8_without_a_twin_is_refused(mixed_bundle: Bundle, name: str) -> None:
    with pytest.raises(EngineError, match=r"tiny-mixed has no int8 graph: python export/quantize.py makes one"):
        open_engine(mixed_bundle, name, 1, "int8")


def test_what_the_app_feeds_to_all_graphs_is_kept(photo_bundle: Bundle, clips: Path) -> None:
    examples = gather_examples(photo_bundle, sorted(clips.iterdir()), frames=1)
    count = len(examples["animate"])
    assert count and len(examples["paint_mouth"]) == len(examples["paint_eye"]) == count
    contours = examples["animate"][0]["driving_contours"][0]
    assert all(mask.any() for mask in contours), "the clip shows a face"
    mouth, eye = (examples[f"paint_{part}"][0] for part in ("mouth", "eye"))
    assert mouth["contours"][0, 0].mean() > 5 and eye["contours"][:, 0].mean() > 5
    assert mouth["reference"].std() > 5 and not np.array_equal(mouth["given"], mouth["reference"])


def test_examples_fit_the_graphs(photo_bundle: Bundle, photo_examples: dict[str, list[Example]]) -> None:
    for graph, (inputs, _) in tensor_names.signatures(photo_bundle.config).items():
        if graph == tensor_names.ENCODE_SOURCE:
            continue
        assert len(photo_examples[graph]) == 3
        wanted = onnxruntime.InferenceSession(photo_bundle.graph(graph), providers=["CPUExecutionProvider"])
        example = photo_examples[graph][0]
        for node in wanted.get_inputs():
            assert list(example[node.name].shape) == node.shape, node.name
            assert (example[node.name].dtype == np.uint8) == (node.type == "tensor(uint8)"), node.name
        assert set(example) - set(inputs) == ({"image"} if graph == tensor_names.ANIMATE else set())
    contours = photo_examples[tensor_names.ANIMATE][0][tensor_names.DRIVING_CONTOURS]
    assert contours[0, 0].any() and not np.array_equal(contours, photo_examples["animate"][0]["source_contours"])


def test_every_graph_that_paints_gets_a_twin(quantized_photo: Bundle) -> None:
    graphs = ("animate", "paint_mouth", "paint_eye")
    assert all(quantized_photo.has_graph(tensor_names.quantized(graph)) for graph in graphs)
    assert not quantized_photo.has_graph("detect-int8")
    recorded = quantized_photo.manifest.metrics["int8"]
    for quality in (recorded, recorded["paint_mouth"], recorded["paint_eye"]):
        assert quality["calibration_examples"] == 3 and 0 < quality["difference_levels"] <= TOLERANCE_LEVELS
    for graph in graphs:
        twins = [onnx.load(quantized_photo.graph(name)).graph for name in (graph, f"{graph}-int8")]
        for part in ("input", "output"):
            kinds = [[(value.name, value.type) for value in getattr(twin, part)] for twin in twins]
            assert kinds[0] == kinds[1], "the same signature"


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_every_runtime_computes_all_twins(quantized_photo: Bundle, name: str) -> None:
    shown = scene(quantized_photo)
    pictures = []
    for precision in ("fp32", "int8"):
        with open_engine(quantized_photo, name, 1, precision) as engine:
            assert engine.precision == precision
            pictures.append(animate(engine, shown).astype(int))
    assert 0 < np.abs(pictures[0] - pictures[1]).mean() < 3 * TOLERANCE_LEVELS


def test_a_part_that_cannot_be_quantized_leaves_the_bundle(
    photo_bundle: Bundle,
    photo_examples: dict[str, list[Example]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "tiny-photo"
    shutil.copytree(photo_bundle.folder, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def refuse(path: Path, out: Path, graph: str, *_: object) -> quantize.QuantizeReport:
        if graph == "paint_eye":
            raise ModelError("too coarse")
        out.write_bytes(b"int8")
        return quantize.QuantizeReport((), {}, 0.1, 1)

    monkeypatch.setattr(quantize, "quantize_file", refuse)
    with pytest.raises(ModelError, match="too coarse"):
        quantize.quantize_bundle(open_bundle(folder), photo_examples, photo_examples, TOLERANCE_LEVELS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_photo_is_judged_by_the_picture(photo_bundle: Bundle, photo_examples: dict[str, list[Example]]) -> None:
    """The picture is what the network itself makes of the mirrored square."""
    import torch

    from avatarify_plus.network.blocks import resize_deformation, warp
    from avatarify_plus.network.generator import inside_square

    example = photo_examples["animate"][-1]
    session = onnxruntime.InferenceSession(photo_bundle.graph("animate"), providers=["CPUExecutionProvider"])
    names = tensor_names.signatures(photo_bundle.config)["animate"]
    found = dict(
        zip(names.outputs, session.run(names.outputs, {name: example[name] for name in names.inputs}), strict=True)
    )
    shown = shown_picture("animate", example, found)
    region = np.pad(example["image"][0], ((128, 128), (128, 128), (0, 0)), "reflect")  # two sides of the square
    deformation = resize_deformation(torch.from_numpy(found["deformation"]), 256) / 2
    warped = warp(torch.from_numpy(region).permute(2, 0, 1)[None].float(), deformation).permute(0, 2, 3, 1).numpy()
    kept = found["kept"] / 255 * inside_square(2 * deformation).numpy()[..., None]
    # the app rounds places to a thirty-second of a pixel
    assert np.abs(shown - (kept * warped + (1 - kept) * found["painted"])).mean() < 0.5
    assert shown.std() > 5


def test_a_part_is_judged_where_it_is_shown() -> None:
    given = np.full((1, 2, 2, 3), 100, np.uint8)
    part = np.full((1, 2, 2, 4), 200, np.uint8)
    part[0, :, :, 3] = [[0, 255], [51, 0]]
    shown = shown_picture("paint_mouth", {"given": given}, {"part": part})
    assert np.allclose(shown[0, ..., 0], [[100, 200], [120, 100]])
