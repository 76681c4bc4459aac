"""GPU engines without a GPU: what they ask their runtimes for, where their tensors lie, and what they refuse.

ONNX Runtime's GPU providers are played by its CPU, which computes what they would; a recorded CUDA graph is played by
a counter.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from avatarify_plus.bundle import Bundle
from avatarify_plus.engines import Engine, onnxruntime_provider, open_engine, torch_network
from avatarify_plus.engines.engine import PartSquares
from avatarify_plus.engines.nvidia import Gpu
from avatarify_plus.engines.photo_engine import PhotoEngine
from avatarify_plus.engines.torch_network import TorchNetwork
from avatarify_plus.engines.warm_up import warm_up
from avatarify_plus.errors import EngineError
from avatarify_plus.network import tensor_names
from avatarify_plus.network.weights import read_model
from avatarify_plus.types import Keypoints
from fakes import FakeEngine
from scenes import animate
from scenes import scene as photo_scene

NAMES = {
    "onnxruntime-cuda": "CUDAExecutionProvider",
    "onnxruntime-directml": "DmlExecutionProvider",
    "onnxruntime-coreml": "CoreMLExecutionProvider",
}
CPU = "CPUExecutionProvider"


def entry(options: Any, key: str) -> str | None:
    """Return a session's setting, None where it was not made."""
    try:
        return str(options.get_session_config_entry(key))
    except RuntimeError:
        return None


class Runtime:
    """ONNX Runtime with every provider, whose GPUs compute all but `left_to_cpu`; it remembers all requests."""

    def __init__(self) -> None:
        self.left_to_cpu: dict[str, int] = {}
        self.starts = True
        self.sessions: list[GpuSession] = []
        self.memories: list[str] = []
        self.numbers: list[int] = []
        self.writes = 0


class GpuSession:
    """A session on a provider that the CPU plays."""

    runtime: Runtime

    def __init__(
        self,
        path: Path,
        options: Any,
        providers: list[str],
        provider_options: list[dict[str, str]],
        enable_fallback: int,
    ) -> None:
        (self.provider,), (self.choices,) = providers, provider_options
        self.path, self.options = path, options
        assert enable_fallback == 0
        if entry(options, onnxruntime_provider.NO_FALLBACK) == "1" and (
            self.runtime.left_to_cpu or not self.runtime.starts
        ):
            raise RuntimeError("nodes are assigned to the CPU, but fallback to CPU EP has been explicitly disabled\n.")
        self._session = REAL_SESSION(path, providers=[CPU])
        self.get_inputs, self.get_outputs = self._session.get_inputs, self._session.get_outputs
        self.io_binding, self.run_with_iobinding = self._session.io_binding, self._session.run_with_iobinding
        self.runtime.sessions.append(self)

    def get_providers(self) -> list[str]:
        return [self.provider, CPU] if self.runtime.starts else [CPU]

    def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
        assert entry(self.options, onnxruntime_provider.RECORD_ASSIGNMENT) == "1"
        left = [SimpleNamespace(op_type=op) for op, count in self.runtime.left_to_cpu.items() for _ in range(count)]
        return [
            SimpleNamespace(ep_name=self.provider, get_nodes=lambda: [SimpleNamespace(op_type="Conv")]),
            SimpleNamespace(ep_name=CPU, get_nodes=lambda: left),
        ]


REAL_SESSION = onnxruntime.InferenceSession


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """Put the make-believe runtime in place, and a GPU that knows TF32."""
    found = Runtime()

    class Tensor(onnxruntime.OrtValue):
        """A tensor in any memory that is really the CPU's."""

        @classmethod
        def ortvalue_from_numpy(cls, array: Any, memory: str = "cpu", number: int = 0) -> Any:
            found.memories.append(memory)
            found.numbers.append(number)
            return super().ortvalue_from_numpy(array)

        def update_inplace(self, array: Any) -> None:
            found.writes += 1
            super().update_inplace(array)

        def numpy(self) -> Any:
            return super().numpy().copy()

    monkeypatch.setattr(GpuSession, "runtime", found, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", GpuSession)
    monkeypatch.setattr(onnxruntime, "OrtValue", Tensor)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*NAMES.values(), CPU])
    for module in ("onnxruntime_engine", "onnxruntime_provider"):
        monkeypatch.setattr(f"avatarify_plus.engines.{module}.find_gpu", lambda *_: Gpu("NVIDIA Test", 9))
    return found


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let CUDA's recording be a list of what was called."""
    calls: list[str] = []

    class Graph:
        def replay(self) -> None:
            calls.append("replay")

    @contextlib.contextmanager
    def recording(graph: Graph) -> Iterator[None]:
        calls.append("record")
        yield

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    return calls


def scene(engine: Engine, seed: int) -> tuple[Any, Keypoints, Keypoints]:
    """Return a picture, its keypoints and where they move."""
    random = np.random.default_rng(seed)
    size, count = engine.config.image_size, engine.config.keypoint_count
    coarse = random.integers(0, 256, (8, 8, 3), np.uint8)
    value = random.uniform(-0.6, 0.6, (count, 2)).astype(np.float32)
    jacobian = (0.5 * np.eye(2) + random.normal(0, 0.05, (count, 2, 2))).astype(np.float32)
    moved = (value + random.normal(0, 0.03, value.shape)).astype(np.float32)
    return (
        np.kron(coarse, np.ones((size // 8, size // 8, 1), np.uint8)),
        Keypoints(value, jacobian),
        Keypoints(moved, jacobian),
    )


# --- ONNX Runtime ---


@pytest.mark.parametrize(("name", "memory"), list(zip(NAMES, ("cuda", "dml", "cpu"), strict=True)))
def test_tensors_stay_where_they_are(mixed_bundle: Bundle, runtime: Runtime, name: Any, memory: str) -> None:
    with open_engine(mixed_bundle, "onnxruntime", 1) as cpu, open_engine(mixed_bundle, name) as engine:
        assert engine.name == name and engine.device.startswith(f"{NAMES[name]} (")
        assert {session.provider for session in runtime.sessions[3:]} == {NAMES[name]}
        allocated = len(runtime.memories)
        assert set(runtime.memories[allocated // 2 :]) == {memory}
        pictures = []
        for seed in (1, 2):
            image, source_keypoints, driving = scene(engine, seed)
            source = engine.encode_source(image, source_keypoints)
            before = runtime.writes
            pictures.append(engine.animate(source, driving))
            assert runtime.writes - before == len(tensor_names.signatures(engine.config)[tensor_names.ANIMATE].inputs)
            before = runtime.writes
            again = engine.animate(source, driving)
            assert runtime.writes - before == 2, "a frame brings its keypoints, nothing else"
            np.testing.assert_array_equal(again, pictures[-1])
            np.testing.assert_array_equal(cpu.animate(cpu.encode_source(image, source_keypoints), driving), again)
            np.testing.assert_array_equal(cpu.detect(image).value, engine.detect(image).value)
        assert len(runtime.memories) == allocated, "all is allocated at start"
        assert not np.array_equal(*pictures)


@pytest.mark.parametrize(
    ("precision", "capability", "expected", "rounds"),
    [("auto", 9, "tf32", "1"), ("auto", 7, "fp32", "1"), ("fp32", 9, "fp32", "0")],
)
def test_cuda_records_frames_and_rounds_only_if_it_may(
    mixed_bundle: Bundle,
    runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
    precision: Any,
    capability: int,
    expected: str,
    rounds: str,
) -> None:
    monkeypatch.setattr("avatarify_plus.engines.onnxruntime_engine.find_gpu", lambda *_: Gpu("NVIDIA Test", capability))
    with open_engine(mixed_bundle, "onnxruntime-cuda", precision=precision) as engine:
        assert engine.precision == expected
        assert engine.device == f"CUDAExecutionProvider (NVIDIA Test, {expected})"
    assert {session.path.stem: session.choices for session in runtime.sessions} == {
        "detect": {"device_id": "0", "enable_cuda_graph": "1", "use_tf32": "0"},
        "encode_source": {"device_id": "0", "enable_cuda_graph": "0", "use_tf32": "0"},
        "animate": {"device_id": "0", "enable_cuda_graph": "1", "use_tf32": rounds},
    }
    for session in runtime.sessions:
        assert entry(session.options, onnxruntime_provider.NO_FALLBACK) == "1"


@pytest.mark.parametrize(("name", "expected"), [("onnxruntime-cuda", 2), ("onnxruntime-directml", 2)])
def test_another_gpu_holds_everything(blend_bundle: Bundle, runtime: Runtime, name: Any, expected: int) -> None:
    open_engine(blend_bundle, name, gpu=2).close()
    assert {session.choices["device_id"] for session in runtime.sessions} == {"2"}
    assert set(runtime.numbers) == {expected}


def test_directml_gets_no_memory_pattern(blend_bundle: Bundle, runtime: Runtime) -> None:
    open_engine(blend_bundle, "onnxruntime-directml").close()
    for session in runtime.sessions:
        assert not session.options.enable_mem_pattern
        assert session.options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL


def test_gpus_compute_no_int8(blend_bundle: Bundle, runtime: Runtime) -> None:
    for name in NAMES:
        with pytest.raises(EngineError, match=f"engine {name} computes in auto, fp32, not in 'int8'"):
            open_engine(blend_bundle, name, precision="int8")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["onnxruntime-cuda", "onnxruntime-directml"])
def test_what_the_gpu_leaves_to_the_cpu_is_named(blend_bundle: Bundle, runtime: Runtime, name: Any) -> None:
    runtime.left_to_cpu = {"Gather": 2, "GridSample": 4}
    with pytest.raises(EngineError, match=f"{NAMES[name]} .* leaves 4 GridSample, 2 Gather of encode_source.onnx"):
        open_engine(blend_bundle, name)
    runtime.left_to_cpu |= {f"Kind{index}": 3 for index in range(9)}
    with pytest.raises(EngineError, match=r"leaves 4 GridSample, 3 Kind0, .* 3 Kind3, 6 other kinds of encode_source"):
        open_engine(blend_bundle, name)


def test_coreml_may_leave_small_things_to_the_cpu(
    blend_bundle: Bundle, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.left_to_cpu = {"Gather": 14, "Cast": 1}
    open_engine(blend_bundle, "onnxruntime-coreml").close()
    assert runtime.sessions[0].choices == {"ModelFormat": "MLProgram"}
    runtime.left_to_cpu["Conv"] = 1
    with pytest.raises(EngineError, match=r"leaves 1 Conv of encode_source\.onnx to the CPU"):
        open_engine(blend_bundle, "onnxruntime-coreml")
    monkeypatch.delattr(GpuSession, "get_provider_graph_assignment_info")
    with pytest.raises(EngineError, match=r"does not say what runs where, 1\.24 does: update it"):
        open_engine(blend_bundle, "onnxruntime-coreml")


@pytest.mark.parametrize("name", NAMES)
def test_a_provider_that_does_not_start_is_refused(
    blend_bundle: Bundle, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, name: Any
) -> None:
    runtime.starts = False
    refused = f"asked for {NAMES[name]} and chose CPUExecutionProvider: .*, or choose the engine onnxruntime"
    with pytest.raises(EngineError, match=refused) as caught:
        open_engine(blend_bundle, name)
    assert "\n" not in str(caught.value)
    if name != "onnxruntime-cuda":
        return

    def complain() -> None:
        print("Failed to load libcublasLt.so.13: no such file\nand more")

    monkeypatch.setattr(onnxruntime, "preload_dlls", complain)
    with pytest.raises(EngineError, match=r"Provider: Failed to load libcublasLt.so.13: no such file \(pip install"):
        open_engine(blend_bundle, name)

    def no_driver() -> Gpu:
        raise EngineError("no NVIDIA driver")

    monkeypatch.setattr("avatarify_plus.engines.onnxruntime_provider.find_gpu", no_driver)
    with pytest.raises(EngineError, match=r"CPUExecutionProvider: no NVIDIA driver: check the GPU driver"):
        open_engine(blend_bundle, name)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("onnxruntime-cuda", r"pip uninstall onnxruntime, then pip install onnxruntime-gpu\[cuda,cudnn\]$"),
        ("onnxruntime-directml", "on Windows, pip uninstall onnxruntime, then pip install onnxruntime-directml$"),
        ("onnxruntime-coreml", "only macOS has it, in the package onnxruntime$"),
    ],
)
def test_a_missing_provider_is_reported_with_its_remedy(blend_bundle: Bundle, name: Any, remedy: str) -> None:
    if NAMES[name] in onnxruntime.get_available_providers():
        pytest.skip(f"this machine has {NAMES[name]}")
    with pytest.raises(EngineError, match=f"engine {name} needs {NAMES[name]}, this installation has .*: {remedy}"):
        open_engine(blend_bundle, name)


def test_full_memory_is_a_refusal(
    blend_bundle: Bundle, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, recordings: list[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory\nTried to allocate")

    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_numpy", fail)
    with pytest.raises(EngineError, match=r"onnxruntime-cuda has no memory for encode_source\.onnx: out of memory$"):
        open_engine(blend_bundle, "onnxruntime-cuda")
    monkeypatch.setattr("avatarify_plus.engines.torch_engine.TorchNetwork", fail)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "NVIDIA Test")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: None)
    with pytest.raises(
        EngineError, match=r"torch-cuda cannot load the model on GPU \(NVIDIA Test, fp16\): out of memory$"
    ):
        open_engine(blend_bundle, "torch-cuda")


def test_a_failing_warm_up_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine("both")
    warm_up(engine)
    assert len(engine.detected) == len(engine.sources) == len(engine.animated) == 1

    def fail(source: object, keypoints: object) -> None:
        raise RuntimeError("CUDA out of memory\nTried to allocate")

    monkeypatch.setattr(engine, "animate", fail)
    with pytest.raises(EngineError, match="fake cannot compute the model on thin air: CUDA out of memory; choose"):
        warm_up(engine)


# --- torch ---


def test_a_recording_is_made_once_and_replayed(mixed_bundle: Bundle, recordings: list[str]) -> None:
    network = TorchNetwork(read_model(mixed_bundle.weights, mixed_bundle.config), torch.device("cpu"), records=True)
    computed: list[dict[str, int]] = []
    graph = network._graphs[tensor_names.ANIMATE]
    inputs = tensor_names.signatures(network.config)[tensor_names.ANIMATE].inputs

    def note(module: object, tensors: tuple[torch.Tensor, ...]) -> None:
        computed.append({name: tensor.data_ptr() for name, tensor in zip(inputs, tensors, strict=True)})

    graph.register_forward_pre_hook(note)
    engine = SimpleNamespace(config=mixed_bundle.config)
    for seed in (1, 2):
        image, source_keypoints, driving = scene(engine, seed)  # type: ignore[arg-type]
        source = network.encode_source(image, source_keypoints)
        network.animate(source, driving)
        network.animate(source, source_keypoints)
        # What a replay reads lies where the recording found it, and is the newest.
        read = network._inputs
        assert {name: tensor.data_ptr() for name, tensor in read.items()} == computed[-1]
        for name, tensor in source.items():
            assert torch.equal(read[name], tensor)
        np.testing.assert_array_equal(read[tensor_names.DRIVING_VALUE][0].numpy(), source_keypoints.value)
        np.testing.assert_array_equal(read[tensor_names.DRIVING_JACOBIAN][0].numpy(), source_keypoints.jacobian)
    assert recordings == ["record", *["replay"] * 4]
    assert len(computed) == torch_network.WARM_UP_COUNT + 1


@pytest.mark.parametrize(("asked", "found"), [("auto", "fp16"), ("bf16", "bf16"), ("fp32", "fp32")])
def test_torch_on_a_gpu_is_recorded_and_warmed_up(
    mixed_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, recordings: list[str], asked: Any, found: str
) -> None:
    made: list[tuple[str, str, bool]] = []

    def on_the_cpu(model: Any, device: torch.device, precision: Any, records: bool) -> TorchNetwork:
        made.append((device.type, precision, records))
        return TorchNetwork(model, torch.device("cpu"), precision, records=records)

    monkeypatch.setattr("avatarify_plus.engines.torch_engine.TorchNetwork", on_the_cpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "NVIDIA Test")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: None)
    with open_engine(mixed_bundle, "torch-cuda", precision=asked) as engine:
        assert (engine.precision, engine.device) == (found, f"GPU (NVIDIA Test, {found})")
        assert made == [("cuda", found, True)]
        assert recordings == ["record", "replay"] * 2, "detecting and animating, at start"
        image, source_keypoints, driving = scene(engine, 1)
        engine.animate(engine.encode_source(image, source_keypoints), driving)
        engine.detect(image)
        assert recordings[4:] == ["replay"] * 2


def test_torch_on_a_gpu_records_painters_too(
    photo_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, recordings: list[str]
) -> None:
    model = read_model(photo_bundle.weights, photo_bundle.config)
    network = TorchNetwork(model, torch.device("cpu"), "fp32", records=True)
    shown = photo_scene(photo_bundle)
    with open_engine(photo_bundle, "torch", 1) as opened:
        assert isinstance(opened, PhotoEngine)
        engine = PhotoEngine(opened.runtime, always_paints=True)
        expected = animate(engine, shown)
        monkeypatch.setattr(engine.runtime, "_network", network)
        for _ in range(2):
            np.testing.assert_array_equal(animate(engine, shown), expected)
    assert recordings == [*["record", "replay"] * 3, *["replay"] * 3], "animating, mouth and eyes"


@pytest.mark.parametrize(("precision", "levels"), [("bf16", 4), ("fp16", 2)])
def test_half_precision_paints_alike(photo_bundle: Bundle, precision: Any, levels: int) -> None:
    model = read_model(photo_bundle.weights, photo_bundle.config)
    exact, half = (TorchNetwork(model, torch.device("cpu"), each) for each in ("fp32", precision))
    rng = np.random.default_rng(0)
    for part, count, size in (("mouth", 1, 128), ("eye", 2, 64)):
        shapes = ((count, size, size, 3), (count, 2, size, size)) * 2
        squares = PartSquares(*(rng.integers(0, 256, shape, np.uint8) for shape in shapes))
        expected, found = exact.paint(part, squares), half.paint(part, squares)
        assert found.shape == (count, size, size, 4) and found.dtype == np.uint8
        assert np.abs(found.astype(int) - expected).max() <= levels and expected.std() > 2
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_torch_on_the_cpu_has_no_half(mixed_bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="engine torch computes in auto, fp32, bf16, not in 'fp16'"):
        open_engine(mixed_bundle, "torch", precision="fp16")


@pytest.mark.parametrize(("precision", "levels"), [("bf16", 3), ("fp16", 2)])
def test_half_precision_keeps_coordinates_exact(mixed_bundle: Bundle, precision: Any, levels: int) -> None:
    model = read_model(mixed_bundle.weights, mixed_bundle.config)
    exact, half = (TorchNetwork(model, torch.device("cpu"), each) for each in ("fp32", precision))
    engine = SimpleNamespace(config=mixed_bundle.config)
    image, source_keypoints, driving = scene(engine, 3)  # type: ignore[arg-type]
    expected, found = (n.animate(n.encode_source(image, source_keypoints), driving) for n in (exact, half))
    assert expected.std() > 20 and found.flags["C_CONTIGUOUS"]
    assert np.abs(found.astype(int) - expected).max() <= levels
    np.testing.assert_array_equal(half.detect(image).value, exact.detect(image).value)
    encoded = half.encode_source(image, source_keypoints)
    for name, tensor in exact.encode_source(image, source_keypoints).items():
        is_feature = name.startswith("feature_")
        assert encoded[name].dtype == (torch_network.TYPES[precision] if is_feature else torch.float32)
        assert torch.equal(encoded[name], tensor.to(encoded[name].dtype)), "the encoder itself is exact"


def test_the_models_own_weights_stay_float32(mixed_bundle: Bundle) -> None:
    model = read_model(mixed_bundle.weights, mixed_bundle.config)
    TorchNetwork(model, torch.device("cpu"), "fp16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
