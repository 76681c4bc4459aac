"""TensorRT: engines are really built where TensorRT for RTX is installed; what runs them is tested on a played GPU."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from avatarify_plus.bundle import Bundle, open_bundle, write_manifest
from avatarify_plus.engines import cuda, open_engine, tensorrt_engine, tensorrt_library, tensorrt_plans
from avatarify_plus.engines.nvidia import Gpu
from avatarify_plus.engines.photo_engine import PhotoEngine
from avatarify_plus.engines.tensorrt_choice import Target, choose_plans
from avatarify_plus.engines.tensorrt_engine import TensorRtEngine
from avatarify_plus.engines.tensorrt_library import RTX, TENSORRT, Library, make_log
from avatarify_plus.engines.tensorrt_plans import (
    PORTABLE,
    PlanCache,
    PlanKey,
    graph_precisions,
    model_digests,
)
from avatarify_plus.errors import EngineError
from avatarify_plus.network import tensor_names
from avatarify_plus.network.graphs import build_graphs
from avatarify_plus.network.weights import read_model
from avatarify_plus.types import Keypoints
from export import trt, trt_torch
from export.trt_graph import prepare
from fake_nvidia import Error, Runtime, TensorRt
from scenes import animate, scene

NEEDS_RTX = pytest.mark.skipif(
    importlib.util.find_spec(RTX) is None, reason="tensorrt_rtx is not installed: there are no wheels for this platform"
)
LEVELS = 1
"""Where float32 may differ: rounding falls either way."""
HALF_LEVELS = 3
BUNDLES = ("blend_bundle", "ours_bundle", "mixed_bundle")
VERSION = "10.13.0.35"


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> Gpu:
        raise EngineError("no NVIDIA driver")

    monkeypatch.setattr(cuda, "find_gpu", refuse)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """Play a GPU and its CUDA runtime."""
    runtime = Runtime()
    monkeypatch.setattr(cuda, "find_gpu", lambda number: Gpu("NVIDIA Test", 8))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", runtime)  # type: ignore[arg-type]
    return runtime


@pytest.fixture
def library(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> TensorRt:
    """Play TensorRT, as the only one that is installed."""
    api = TensorRt(runtime)
    monkeypatch.setattr(tensorrt_engine, "installed_libraries", lambda: [TENSORRT])
    monkeypatch.setattr(tensorrt_engine, "load_library", lambda name: Library(name, VERSION, api, make_log(api)))
    return api


@pytest.fixture(params=BUNDLES)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    found: Bundle = request.getfixturevalue(request.param)
    return found


def plan_key(bundle: Bundle, graph: str, precision: str, **changes: Any) -> PlanKey:
    values = {"library": TENSORRT, "version": VERSION, "capability": "8.6", "gpu": "NVIDIA Test"}
    return PlanKey(graph, precision, model_digests(bundle, graph, precision)[0], **(values | changes))


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps others out of a user's folders by other means")
@pytest.mark.parametrize("mode", [0o777, 0o702])
def test_plans_are_not_taken_from_a_folder_that_others_may_write(tmp_path: Path, mode: int) -> None:
    cache = PlanCache(tmp_path / "engines")
    assert list(cache.entries()) == []
    cache.folder.mkdir(mode=0o700)
    assert list(cache.entries()) == []
    cache.folder.chmod(mode)
    with pytest.raises(EngineError, match=r"others may write into .*engines"):
        list(cache.entries())


def test_what_describes_no_plan_is_passed_over(tmp_path: Path) -> None:
    for number, text in enumerate(("[1]", "{", '{"key": {"a": 1}}', "[" * 100_000)):
        (tmp_path / f"{number}.json").write_text(text)
    assert not list(PlanCache(tmp_path).entries())


def fill(folder: Path, bundle: Bundle, precision: str = "fp16", **changes: Any) -> PlanCache:
    """Put played engines of a bundle into a cache."""
    cache = PlanCache(folder)
    for graph, kind in graph_precisions(bundle.config, precision).items():
        signature = tensor_names.signatures(bundle.config)[graph]
        tensors = {name: name for name in (*signature.inputs, *signature.outputs)}
        cache.store(
            plan_key(bundle, graph, kind, **changes), bundle_name(bundle), tensors, bundle.graph(graph).read_bytes()
        )
    return cache


def bundle_name(bundle: Bundle) -> str:
    return tensorrt_plans.bundle_argument(bundle)


def moving(bundle: Bundle, seed: int = 0) -> tuple[Any, Keypoints, Keypoints]:
    """Return a picture of waves and two poses."""
    rng = np.random.default_rng(seed)
    size, count = bundle.config.image_size, bundle.config.keypoint_count
    y, x = np.mgrid[:size, :size] / size
    waves = np.stack([np.sin(x * a + y * b) for a, b in rng.uniform(5, 40, (3, 2))], -1)
    value = rng.uniform(-0.6, 0.6, (count, 2))
    jacobian = 0.5 * np.eye(2) + rng.normal(0, 0.05, (count, 2, 2))
    moved = value + rng.normal(0, 0.03, value.shape)
    poses = [Keypoints(v.astype(np.float32), jacobian.astype(np.float32)) for v in (value, moved)]
    return (128 + 90 * waves).astype(np.uint8), poses[0], poses[1]


def animate_inputs(bundle: Bundle, seed: int = 0) -> dict[str, Any]:
    """Return what `animate` takes, by name, with its batch."""
    image, source, driving = moving(bundle, seed)
    session = onnxruntime.InferenceSession(bundle.graph(tensor_names.ENCODE_SOURCE), providers=["CPUExecutionProvider"])
    encoded = tensor_names.encoded_source(bundle.config)
    found = session.run(encoded, {tensor_names.IMAGE: image[None], tensor_names.SOURCE_VALUE: source.value[None]})
    poses = {tensor_names.SOURCE_VALUE: source.value, tensor_names.SOURCE_JACOBIAN: source.jacobian}
    poses |= {tensor_names.DRIVING_VALUE: driving.value, tensor_names.DRIVING_JACOBIAN: driving.jacobian}
    return dict(zip(encoded, found, strict=True)) | {name: array[None] for name, array in poses.items()}


def compute(model: onnx.ModelProto, inputs: dict[str, Any]) -> Any:
    """Compute a graph's first output step by step: fusing would widen the float16 between the steps."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0].astype(int)


@pytest.fixture(scope="session")
def int8_bundle(blend_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a tiny bundle whose `animate` has an int8 twin, in the form that export/quantize.py writes."""
    folder = tmp_path_factory.mktemp("int8") / "tiny-int8"
    shutil.copytree(blend_bundle.folder, folder)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.examples = iter([animate_inputs(blend_bundle, seed) for seed in range(3)])

        def get_next(self) -> Any:
            return next(self.examples, None)

    quantize_static(
        folder / "animate.onnx",
        folder / "animate-int8.onnx",
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )
    write_manifest(folder, blend_bundle.manifest)
    return open_bundle(folder)


# The played GPU: what runs engines.


def test_it_computes_what_onnx_runtime_computes(bundle: Bundle, library: TensorRt, tmp_path: Path) -> None:
    fill(tmp_path, bundle)
    image, pose, moved = moving(bundle)
    with TensorRtEngine(bundle, "auto", tmp_path) as engine, open_engine(bundle, "onnxruntime", 1, "fp32") as other:
        assert (engine.name, engine.precision) == ("tensorrt", "fp16")
        assert engine.device == f"GPU (NVIDIA Test, TensorRT {VERSION}, fp16)"
        found = engine.animate(engine.encode_source(image, pose), moved)
        expected = other.animate(other.encode_source(image, pose), moved)
        assert found.dtype == np.uint8 and expected.std() > 2
        assert np.abs(found.astype(int) - expected).max() <= LEVELS
        if bundle.config.detected_count:
            for left, right in zip(engine.detect(image), other.detect(image), strict=True):
                np.testing.assert_allclose(left, right, atol=1e-5)


def test_it_paints_over_photos_as_onnx_runtime_does(photo_bundle: Bundle, library: TensorRt, tmp_path: Path) -> None:
    fill(tmp_path, photo_bundle)
    assert graph_precisions(photo_bundle.config, "int8")["paint_eye"] == "fp16"
    shown = scene(photo_bundle)
    with open_engine(photo_bundle, "onnxruntime", 1, "fp32") as other:
        engine = PhotoEngine(TensorRtEngine(photo_bundle, "auto", tmp_path))
        pictures = [animate(each, shown) for each in (engine, other, engine)]
        assert engine.precision == "fp16" and pictures[1].std() > 2
        for picture in (pictures[0], pictures[2]):
            assert np.abs(picture.astype(int) - pictures[1]).max() <= LEVELS
        engine.close()


def test_a_frame_is_one_launch_and_one_wait(
    mixed_bundle: Bundle, runtime: Runtime, library: TensorRt, tmp_path: Path
) -> None:
    fill(tmp_path, mixed_bundle)
    image, pose, moved = moving(mixed_bundle)
    with TensorRtEngine(mixed_bundle, "fp16", tmp_path) as engine:
        source = engine.encode_source(image, pose)
        engine.animate(source, pose)
        runtime.calls.clear()
        runtime.copied.clear()
        for _ in range(3):
            engine.animate(source, moved)
        assert runtime.calls == {"cudaGraphLaunch": 3, "cudaStreamSynchronize": 3}
        keypoints = moved.value.nbytes + moved.jacobian.nbytes
        assert runtime.copied == {"up": 3 * keypoints, "down": 3 * image.nbytes}, "the source stays on the GPU"
        runtime.calls.clear()
        engine.detect(image)
        assert runtime.calls == {"cudaGraphLaunch": 1, "cudaStreamSynchronize": 1}


def test_one_cuda_graph_serves_all_sources(
    blend_bundle: Bundle, runtime: Runtime, library: TensorRt, tmp_path: Path
) -> None:
    fill(tmp_path, blend_bundle)
    image, pose, moved = moving(blend_bundle)
    other_image = moving(blend_bundle, 1)[0]
    with TensorRtEngine(blend_bundle, "fp16", tmp_path) as engine:
        first = engine.encode_source(image, pose)
        kept = engine.animate(first, moved)
        copy = kept.copy()
        second = engine.encode_source(other_image, moved)
        assert np.abs(engine.animate(second, moved).astype(int) - copy).mean() > 5
        np.testing.assert_array_equal(kept, copy, err_msg="a picture is the caller's to keep")
        np.testing.assert_array_equal(engine.animate(first, moved), copy, err_msg="a source outlives the next one")
        assert runtime.calls["cudaGraphInstantiate"] == 1


def test_a_library_that_cannot_be_captured_runs_step_by_step(
    blend_bundle: Bundle, runtime: Runtime, library: TensorRt, tmp_path: Path
) -> None:
    fill(tmp_path, blend_bundle)
    image, pose, moved = moving(blend_bundle)
    with TensorRtEngine(blend_bundle, "fp16", tmp_path) as engine:
        expected = engine.animate(engine.encode_source(image, pose), moved)
    runtime.can_capture = False
    with TensorRtEngine(blend_bundle, "fp16", tmp_path) as engine:
        source = engine.encode_source(image, pose)
        runtime.calls.clear()
        np.testing.assert_array_equal(engine.animate(source, moved), expected)
        assert runtime.calls == {"cudaStreamSynchronize": 1}


def test_all_memory_is_given_back(blend_bundle: Bundle, runtime: Runtime, library: TensorRt, tmp_path: Path) -> None:
    fill(tmp_path, blend_bundle)
    image, pose, _ = moving(blend_bundle)
    with TensorRtEngine(blend_bundle, "fp16", tmp_path) as engine:
        before = len(runtime.blocks)
        for _ in range(3):
            source = engine.encode_source(image, pose)
            engine.animate(source, pose)
        assert len(runtime.blocks) <= before + 2 * len(source.tensors), "avatars that are gone leave nothing behind"
    engine.close()
    del source, engine
    gc.collect()
    assert not runtime.blocks
    assert runtime.calls["cudaStreamDestroy"] == runtime.calls["cudaGraphExecDestroy"] == 1


def test_compiled_kernels_are_kept_for_the_next_start(
    blend_bundle: Bundle, library: TensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_engine, "installed_libraries", lambda: [RTX])
    fill(tmp_path, blend_bundle, library=RTX, capability=PORTABLE, gpu="")
    with TensorRtEngine(blend_bundle, "auto", tmp_path) as engine:
        assert "TensorRT for RTX" in engine.device
    assert not library.kernels
    TensorRtEngine(blend_bundle, "auto", tmp_path).close()
    assert library.kernels == [b"kernels"] * 2
    assert {path.read_bytes() for path in tmp_path.glob("*.kernels")} == {b"kernels"}


def test_auto_is_the_fastest_that_was_built(int8_bundle: Bundle, library: TensorRt, tmp_path: Path) -> None:
    for precision in ("fp32", "fp16", "int8"):
        fill(tmp_path, int8_bundle, precision)
        with TensorRtEngine(int8_bundle, "auto", tmp_path) as engine:
            assert engine.precision == precision
    with TensorRtEngine(int8_bundle, "fp32", tmp_path) as engine:
        assert engine.precision == "fp32"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"capability": "8.9"}, r"was built for compute capability 8\.9; here: compute capability 8\.6: run"),
        ({"version": "10.9"}, r"was built by tensorrt 10\.9; here: tensorrt 10\.13\.0\.35: run"),
        ({"gpu": "NVIDIA Other"}, r"was built for NVIDIA Other; here: NVIDIA Test: run"),
        ({"recipe": 0}, r"was built by another version of this program; here: the program has changed: run"),
        ({"library": RTX}, r"was built by tensorrt_rtx 10\.13\.0\.35; here: tensorrt 10\.13\.0\.35: run"),
    ],
)
def test_an_engine_for_something_else_is_not_loaded(
    blend_bundle: Bundle, library: TensorRt, tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    fill(tmp_path, blend_bundle, **changes)
    with pytest.raises(EngineError, match=rf"the fp16 TensorRT engine of .* {complaint} python export/trt\.py .*tiny"):
        TensorRtEngine(blend_bundle, "auto", tmp_path)


def test_portable_engines_run_from_ampere_on(
    blend_bundle: Bundle, runtime: Runtime, library: TensorRt, tmp_path: Path
) -> None:
    fill(tmp_path, blend_bundle, capability=PORTABLE, gpu="")
    TensorRtEngine(blend_bundle, "auto", tmp_path).close()
    cache = fill(tmp_path, blend_bundle)
    target = Target({TENSORRT: VERSION}, "8.6", "NVIDIA Test")
    entries = choose_plans(cache, blend_bundle, "fp16", target)[1]
    assert {entry.key.capability for entry in entries.values()} == {"8.6"}, "one that was built for it goes first"
    for entry in entries.values():
        entry.path.with_suffix(".json").unlink()
    runtime.capability = (7, 5)
    with pytest.raises(EngineError, match=r"built for compute capability portable; here: compute capability 7\.5"):
        TensorRtEngine(blend_bundle, "auto", tmp_path)


def test_an_engine_of_another_state_of_the_model_is_not_loaded(
    blend_bundle: Bundle, library: TensorRt, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(blend_bundle.folder, folder)
    fill(tmp_path / "cache", open_bundle(folder))
    graph = onnx.load(folder / "animate.onnx")
    graph.doc_string = "changed"
    onnx.save(graph, folder / "animate.onnx")
    write_manifest(folder, blend_bundle.manifest)
    with pytest.raises(EngineError, match=r"built from another state of the model; here: the model has changed: run"):
        TensorRtEngine(open_bundle(folder), "auto", tmp_path / "cache")


def test_missing_engines_are_named(blend_bundle: Bundle, library: TensorRt, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no TensorRT engine of .* is built in .*: run python export/trt\.py"):
        TensorRtEngine(blend_bundle, "auto", tmp_path)
    fill(tmp_path, blend_bundle)
    with pytest.raises(EngineError, match=r"no fp32 TensorRT engine .*, only fp16: run .* --precision fp32$"):
        TensorRtEngine(blend_bundle, "fp32", tmp_path)
    next(tmp_path.glob("encode_source*.json")).unlink()
    with pytest.raises(EngineError, match="are not complete: run"):
        TensorRtEngine(blend_bundle, "auto", tmp_path)
    with pytest.raises(EngineError, match=r"computes in auto, fp32, fp16, int8, not in 'bf16'"):
        TensorRtEngine(blend_bundle, "bf16", tmp_path)


def test_damaged_engines_are_refused(blend_bundle: Bundle, library: TensorRt, tmp_path: Path) -> None:
    cache = fill(tmp_path, blend_bundle)
    path = next(tmp_path.glob("animate*.engine"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(EngineError, match=r"animate-fp16-\w+\.engine is damaged: run python export/trt\.py"):
        TensorRtEngine(blend_bundle, "auto", tmp_path)
    assert cache.find(plan_key(blend_bundle, tensor_names.ANIMATE, "fp16")) is None, "it is built again"
    entry = next(entry for entry in cache.entries() if entry.key.graph == tensor_names.ANIMATE)
    cache.store(entry.key, entry.bundle, entry.tensors, b"not an engine")
    with pytest.raises(EngineError, match=r"cannot load .*\.engine: the plan is no plan; run .* --force$"):
        TensorRtEngine(blend_bundle, "auto", tmp_path)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_one_line_says_so(blend_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_engine, "_load_libraries", lambda bundle: {})
    with pytest.raises(EngineError, match=r"^engine tensorrt needs an NVIDIA GPU, .*: no NVIDIA driver$"):
        open_engine(blend_bundle, "tensorrt")


def test_a_missing_library_is_named(blend_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_engine, "installed_libraries", list)
    with pytest.raises(
        EngineError, match=r"no TensorRT is installed: pip install tensorrt-rtx.*then run python export"
    ):
        open_engine(blend_bundle, "tensorrt")

    def fail(name: str) -> ModuleType:
        raise ImportError("libnvinfer.so.10: cannot open shared object file\nand more")

    monkeypatch.setattr(tensorrt_library.importlib, "import_module", fail)
    with pytest.raises(EngineError, match=r"^TensorRT cannot be loaded \(libnvinfer.*file\): pip install tensorrt$"):
        tensorrt_library.load_library.__wrapped__(TENSORRT)


def test_cuda_says_what_it_lacks(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.set_device = Error.cudaErrorInsufficientDriver
    with pytest.raises(EngineError, match=r"made for CUDA 12\.4, cuda-bindings is for 13\.0: .*'cuda-bindings<13'"):
        cuda.Cuda()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(EngineError, match=r"cuda-bindings cannot be loaded \(.*\): pip install cuda-bindings"):
        cuda.Cuda()


# Graphs for TensorRT.


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_half_precision_shows_the_same_picture(int8_bundle: Bundle, precision: str) -> None:
    graph = onnx.load(int8_bundle.graph("animate-int8" if precision == "int8" else "animate"))
    half = prepare(graph, half=True)
    onnx.checker.check_model(half, full_check=True)
    inputs = animate_inputs(int8_bundle)
    difference = np.abs(compute(half, inputs) - compute(graph, inputs))
    assert difference.max() <= HALF_LEVELS if precision == "fp16" else difference.mean() < 0.5
    assert graph == onnx.load(int8_bundle.graph("animate-int8" if precision == "int8" else "animate")), "it is a copy"


def test_convolutions_are_half_and_coordinates_are_not(bundle: Bundle) -> None:
    half = prepare(onnx.load(bundle.graph(tensor_names.ANIMATE)), half=True)
    inferred = onnx.shape_inference.infer_shapes(half, strict_mode=True).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.input)}
    convolutions = [node for node in half.graph.node if node.op_type == "Conv"]
    warps = [node for node in half.graph.node if node.op_type == "GridSample"]
    assert {kinds[node.output[0]] for node in convolutions} == {TensorProto.FLOAT16}
    assert {kinds[name] for node in warps for name in node.input} == {TensorProto.FLOAT}
    made = {output: node for node in half.graph.node for output in node.output}
    waiting = [node.input[1] for node in warps]
    while waiting:  # back to the convolutions, nothing rounds on the way
        node = made.get(waiting.pop())
        if node is None or (node.op_type == "Cast" and made[node.input[0]].op_type == "Conv"):
            continue
        assert node.op_type != "Cast", f"{node.name} rounds coordinates"
        waiting += node.input[1:] if node.op_type == "GridSample" else node.input


def test_only_a_cast_reads_uint8(bundle: Bundle) -> None:
    for graph in tensor_names.signatures(bundle.config):
        original = onnx.load(bundle.graph(graph))
        prepared = prepare(original, half=False)
        pictures = {
            value.name for value in prepared.graph.input if value.type.tensor_type.elem_type == TensorProto.UINT8
        }
        assert {node.op_type for node in prepared.graph.node if pictures & set(node.input)} <= {"Cast"}
        if pictures:
            image, source, _ = moving(bundle)
            inputs = {tensor_names.IMAGE: image[None], tensor_names.SOURCE_VALUE: source.value[None]}
            inputs = {value.name: inputs[value.name] for value in original.graph.input}
            np.testing.assert_array_equal(compute(prepared, inputs), compute(original, inputs))


def test_nodes_are_put_in_order(blend_bundle: Bundle) -> None:
    graph = onnx.load(blend_bundle.graph(tensor_names.ANIMATE))
    expected = prepare(graph, half=True)
    nodes = list(reversed(graph.graph.node))
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    found = prepare(graph, half=True)
    onnx.checker.check_model(found, full_check=True)
    inputs = animate_inputs(blend_bundle)
    np.testing.assert_array_equal(compute(found, inputs), compute(expected, inputs))


def test_scales_stay_positive_in_half_precision(int8_bundle: Bundle) -> None:
    graph = onnx.load(int8_bundle.graph("animate-int8"))
    for tensor in graph.graph.initializer:
        if tensor.name.endswith("_scale"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1e-9), tensor.name))
    half = prepare(graph, half=True)
    scales = [numpy_helper.to_array(tensor) for tensor in half.graph.initializer if tensor.name.endswith("_scale_half")]
    assert scales and all((scale > 0).all() for scale in scales)


# Building.


@NEEDS_RTX
@pytest.mark.usefixtures("no_gpu")
def test_engines_are_built_once_and_again_after_a_change(
    int8_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, cache = tmp_path / "model", tmp_path / "cache"
    shutil.copytree(int8_bundle.folder, folder)
    command = [str(folder), "--backend", "tensorrt-rtx", "--cache", str(cache)]
    assert trt.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "with TensorRT for RTX" in lines[0] and "GPUs from Ampere on" in lines[0]
    assert [line.split()[:2] for line in lines[1:-1]] == [
        [tensor_names.ENCODE_SOURCE, "fp32"], [tensor_names.ANIMATE, "fp16"], [tensor_names.ANIMATE, "int8"]
    ]  # fmt: skip
    assert all("built in" in line for line in lines[1:-1])
    assert lines[-1].startswith("running them needs an NVIDIA GPU, its driver and cuda-bindings, found here: no NVIDIA")
    files = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(files) == 6, "three engines, three descriptions, nothing half"

    assert trt.main(command) == 0
    assert capsys.readouterr().out.count("already built") == 3
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == files

    graph = onnx.load(folder / "animate.onnx")
    graph.doc_string = "changed"
    onnx.save(graph, folder / "animate.onnx")
    write_manifest(folder, int8_bundle.manifest)
    assert trt.main(command) == 0
    assert capsys.readouterr().out.count("already built") == 2
    found = [entry.key for entry in PlanCache(cache).entries() if entry.key.precision == "fp16"]
    assert len({built.model for built in found}) == 2, "the old engine keeps its own name"


@NEEDS_RTX
@pytest.mark.usefixtures("no_gpu")
def test_engines_with_a_detector_and_for_one_card(
    ours_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--backend", "tensorrt-rtx", "--cache", str(tmp_path), "--precision", "fp32", "--workspace", "512"]
    assert trt.main([str(ours_bundle.folder), *options, "--compute-capability", "8.6"]) == 0
    entries = list(PlanCache(tmp_path).entries())
    assert {entry.key.graph for entry in entries} == {
        tensor_names.DETECT,
        tensor_names.ENCODE_SOURCE,
        tensor_names.ANIMATE,
    }
    for entry in entries:
        assert (entry.key.capability, entry.key.precision, entry.key.gpu) == ("8.6", "fp32", "")
        signature = tensor_names.signatures(ours_bundle.config)[entry.key.graph]
        assert set(entry.tensors) == {*signature.inputs, *signature.outputs}
        assert len(entry.read()) == entry.size
    assert trt.main([str(ours_bundle.folder), *options, "--compute-capability", "9.0"]) == 1
    assert "builds for the compute capabilities 7.5, 8.0, 8.6" in capsys.readouterr().err


@NEEDS_RTX
@pytest.mark.usefixtures("no_gpu")
def test_a_graph_that_is_refused_leaves_nothing(
    blend_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, cache = tmp_path / "model", tmp_path / "cache"
    shutil.copytree(blend_bundle.folder, folder)
    graph = onnx.load(folder / "encode_source.onnx")
    graph.graph.node[-1].op_type = "Abracadabra"
    onnx.save(graph, folder / "encode_source.onnx")
    write_manifest(folder, blend_bundle.manifest)
    assert trt.main([str(folder), "--backend", "tensorrt-rtx", "--cache", str(cache)]) == 1
    error = capsys.readouterr().err
    assert "cannot parse" in error and "Abracadabra" in error and error.count("\n") == 1
    assert not cache.exists()
    shutil.copy(blend_bundle.graph(tensor_names.ENCODE_SOURCE), folder / "encode_source.onnx")
    graph = onnx.load(folder / "animate.onnx")
    convolution = next(node for node in graph.graph.node if node.op_type == "Conv")
    graph.graph.node.remove(convolution)
    onnx.save(graph, folder / "animate.onnx")
    write_manifest(folder, blend_bundle.manifest)
    assert trt.main([str(folder), "--backend", "tensorrt-rtx", "--cache", str(cache)]) == 1
    error = capsys.readouterr().err
    assert "animate.onnx cannot be computed in fp16: " in error and error.count("\n") == 1
    assert {entry.key.graph for entry in PlanCache(cache).entries()} == {tensor_names.ENCODE_SOURCE}


@NEEDS_RTX
@pytest.mark.usefixtures("no_gpu")
def test_a_build_can_be_stopped(
    blend_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from export import trt_onnx

    class Bar(trt_onnx.tqdm):  # type: ignore[misc]
        def update(self, n: float | None = 1) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(trt_onnx, "tqdm", Bar)
    assert trt.main([str(blend_bundle.folder), "--backend", "tensorrt-rtx", "--cache", str(tmp_path)]) == 130
    assert "stopped" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "no TensorRT is installed: pip install tensorrt-rtx"),
        (["--backend", "tensorrt"], "TensorRT cannot be loaded (none): pip install tensorrt"),
        (
            ["--backend", "tensorrt-rtx"],
            "pip install tensorrt-rtx-cu13-bindings tensorrt-rtx-cu13-libs tensorrt-rtx-cu13",
        ),
        (
            ["--backend", "torch-tensorrt"],
            "Torch-TensorRT builds on the GPU that is to run the engine, found no NVIDIA",
        ),
    ],
)
def test_what_is_not_installed_is_named(
    blend_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    complaint: str,
) -> None:
    def fail(name: str) -> Library:
        raise EngineError(
            f"{tensorrt_library.TITLES[name]} cannot be loaded (none): pip install {tensorrt_library.PACKAGES[name]}"
        )

    monkeypatch.setattr(trt.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(trt, "load_library", fail)
    assert trt.main([str(blend_bundle.folder), *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith("avatarify: error: ") and complaint in error and error.count("\n") == 1


def test_wrong_use_is_reported(
    blend_bundle: Bundle,
    blend_checkpoint: Path,
    runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for wrong in (["--workspace", "0"], ["--compute-capability", "ampere"], ["--precision", "fp8"]):
        with pytest.raises(SystemExit, match="2"):
            trt.main([str(blend_bundle.folder), *wrong])
    api = TensorRt(runtime)
    monkeypatch.setattr(trt, "load_library", lambda name: Library(name, VERSION, api, make_log(api)))
    assert trt.main([str(blend_checkpoint), "--backend", "tensorrt"]) == 1
    assert trt.main([str(blend_bundle.folder), "--backend", "tensorrt", "--compute-capability", "8.9"]) == 1
    errors = capsys.readouterr().err
    assert "checkpoint.pt is not a bundle: make one with python export/onnx_bundle.py" in errors
    assert "builds on the GPU that is to run the engine, found a GPU of 8.6 (NVIDIA Test): --backend" in errors


@NEEDS_RTX
@pytest.mark.usefixtures("no_gpu")
def test_a_model_without_int8_is_named(
    blend_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--backend", "tensorrt-rtx", "--cache", str(tmp_path), "--precision", "int8"]
    assert trt.main([str(blend_bundle.folder), *options]) == 1
    assert "has no int8 graph: python export/quantize.py makes one" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# Torch-TensorRT.


class HalfPlayer(torch.fx.Interpreter):
    """Computes a traced graph; its float16 convolutions in float32, rounded, since CPUs take seconds for them."""

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if "conv2d" not in str(target):
            return super().call_function(target, args, kwargs)
        assert args[0].dtype == args[1].dtype == torch.float16
        floats = tuple(value.float() if isinstance(value, torch.Tensor) else value for value in args)
        return super().call_function(target, floats, kwargs).half()


def test_torch_traces_half_precision(mixed_bundle: Bundle) -> None:
    model = read_model(mixed_bundle.weights, mixed_bundle.config)
    inputs = animate_inputs(mixed_bundle)
    tensors = tuple(
        torch.from_numpy(inputs[name]) for name in tensor_names.signatures(model.config)[tensor_names.ANIMATE].inputs
    )
    program = trt_torch.export_program(build_graphs(model)[tensor_names.ANIMATE], tensors, "fp16")
    with torch.no_grad():
        expected = build_graphs(model)[tensor_names.ANIMATE](*tensors)[0].int()
        found = HalfPlayer(program.module()).run(*tensors)[0].int()
    assert (found - expected).abs().max() <= HALF_LEVELS
    warps = [node for node in program.graph.nodes if "grid_sampler" in str(node.target)]
    assert warps and {argument.meta["val"].dtype for node in warps for argument in node.args[:2]} == {torch.float32}


def test_torch_builds_for_the_bundle_of_a_checkpoint(
    blend_checkpoint: Path,
    blend_bundle: Bundle,
    library: TensorRt,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: list[dict[str, Any]] = []

    def convert(program: Any, **options: Any) -> bytes:
        calls.append(options)
        return b"engine"

    conversion = SimpleNamespace(
        dynamo_tensorrt_converter=lambda *_, **__: lambda function: function,
        ConverterPriority=SimpleNamespace(HIGH=1),
    )
    compiler = ModuleType("torch_tensorrt")
    compiler.ENABLED_FEATURES = SimpleNamespace(tensorrt_rtx=False)  # type: ignore[attr-defined]
    compiler.dynamo = SimpleNamespace(  # type: ignore[attr-defined]
        conversion=conversion, convert_exported_program_to_serialized_trt_engine=convert
    )
    monkeypatch.setitem(sys.modules, "torch_tensorrt", compiler)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self: self)
    monkeypatch.setattr(torch.nn.Module, "cuda", lambda self: self)
    monkeypatch.setattr(trt_torch, "load_library", tensorrt_engine.load_library)
    options = ["--backend", "torch-tensorrt", "--cache", str(tmp_path)]
    assert trt.main([str(blend_checkpoint), *options]) == 0
    assert len(calls) == 2 and all(call["disable_tf32"] for call in calls)
    assert trt.main([str(blend_bundle.folder), *options]) == 0
    assert len(calls) == 2, "the checkpoint's bundle has its engines already"
    entry = next(entry for entry in PlanCache(tmp_path).entries() if entry.key.graph == tensor_names.ANIMATE)
    assert entry.key.model in model_digests(blend_bundle, tensor_names.ANIMATE, "fp16")
    assert entry.tensors[tensor_names.IMAGE] == "output0" and entry.tensors[tensor_names.FEATURE_QUARTER] == "inputs_0"
    assert trt.main([str(blend_bundle.folder), *options, "--precision", "int8"]) == 1
    assert "torch-tensorrt builds fp32 and fp16: int8 is built from" in capsys.readouterr().err
    assert json.loads(entry.path.with_suffix(".json").read_text())["key"]["library"] == TENSORRT
