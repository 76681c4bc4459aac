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
    first, second = (quantize.run(model.SerializeToString(), [example])[0] for model in (before, after))
    assert np.abs(first - second).max() <= 1


def test_a_tolerance_that_nothing_meets_leaves_the_bundle(mixed_bundle: Bundle, clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(mixed_bundle.folder, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    examples: list[Example] = gather_examples(mixed_bundle, sorted(clips.iterdir()), frames=1)[tensor_names.ANIMATE]
    with pytest.raises(ModelError, match="no convolution can be quantized within -1 levels"):
        quantize.quantize_bundle(open_bundle(folder), examples, examples[:2], tolerance=-1)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]


def test_what_hurts_is_kept_in_float(mixed_bundle: Bundle, clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(mixed_bundle.folder, folder)
    examples = gather_examples(mixed_bundle, sorted(clips.iterdir()), frames=1)[tensor_names.ANIMATE]
    loose = quantize.quantize_bundle(open_bundle(folder), examples, examples[:2], tolerance=50)
    tight = quantize.quantize_bundle(open_bundle(folder), examples, examples[:2], tolerance=loose.loss / 2)
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
