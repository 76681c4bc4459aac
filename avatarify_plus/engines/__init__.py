"""The runtimes that compute the network: one contract, a few files per runtime."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple, get_args

from avatarify_plus.bundle import Bundle
from avatarify_plus.config import EngineName, Precision
from avatarify_plus.engines.engine import Engine, Runtime, Source
from avatarify_plus.engines.nvidia import find_gpu
from avatarify_plus.engines.photo_engine import PhotoEngine
from avatarify_plus.errors import EngineError
from avatarify_plus.program.deadline import deadline

__all__ = ["ChosenEngine", "Engine", "Source", "choose_engine", "open_engine", "require_parts"]

AUTO_ORDER: tuple[EngineName, ...] = ("tensorrt", "onnxruntime-cuda", "torch-cuda", "openvino", "onnxruntime", "torch")
"""What "auto" tries, fastest first; without DirectML and CoreML, which nobody has measured."""

ON_NVIDIA = frozenset({"tensorrt", "onnxruntime-cuda", "torch-cuda"})
"""The engines that need an NVIDIA GPU."""

ON_CPU = frozenset({"openvino", "onnxruntime", "torch"})
"""The engines that compute on the processor."""

START_LIMIT_S, GPU_START_LIMIT_S = 60.0, 300.0
"""How long is waited for an engine's first picture. On a CPU, live-512 takes two seconds; a GPU's libraries may compile
their kernels when they are first used."""

MODULES = {
    "tensorrt": ("tensorrt", "tensorrt_rtx"),
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
    "torch": ("torch",),
}
"""The modules of which one must be importable, by the first part of an engine's name."""

PACKAGES = {"onnxruntime-cuda": "onnxruntime-gpu", "onnxruntime-directml": "onnxruntime-directml"}
"""The packages that bring an engine, where their name is not that of the module."""


class ChosenEngine(NamedTuple):
    """An opened engine, and in words its name, its device, and why none of the faster ones was taken."""

    engine: Engine
    reason: str


def choose_engine(
    bundle: Bundle, threads: int | None = None, precision: Precision = "auto", gpu: int = 0
) -> ChosenEngine:
    """Open the first of AUTO_ORDER that works here and computes in the precision; see `open_engine`.

    Engines that need an NVIDIA GPU are passed over without importing them if there is none. Raises EngineError with
    every engine's reason if none works.
    """
    passed_over: list[str] = []
    for name in AUTO_ORDER:
        try:
            require_parts(name, gpu)
            engine = open_engine(bundle, name, threads, precision, gpu)
        except EngineError as error:
            passed_over.append(f"{name} ({error})")
            continue
        reason = f"{name} on {engine.device}"
        return ChosenEngine(engine, "; passed over: ".join([reason, ", ".join(passed_over)]) if passed_over else reason)
    raise EngineError(f"no engine works here: {', '.join(passed_over)}")


def open_engine(
    bundle: Bundle,
    name: EngineName = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
    gpu: int = 0,
) -> Engine:
    """Load a model into a runtime; "auto" is what `choose_engine` chooses.

    threads: CPU threads, None for the runtime's own choice. precision: what `animate` computes in, see `Precision`.
    gpu: which GPU, from 0 in the order of CUDA or DirectML; without effect on other engines. Raises EngineError if the
    runtime is not installed or cannot compute on the device and in the precision, and ModelError if the model does not
    fit it; an engine that is named never falls back to another. A model that gives no first picture for START_LIMIT_S,
    on a GPU for GPU_START_LIMIT_S, ends the program with a line and the exit code 1: what hangs in a native library
    hears no exception.
    """
    if name not in get_args(EngineName):
        raise EngineError(f"unknown engine {name!r}: choose one of {', '.join(get_args(EngineName))}")
    if threads is not None and threads < 1:
        raise EngineError(f"engine {name} needs at least 1 thread, found {threads}")
    if name == "auto":
        return choose_engine(bundle, threads, precision, gpu).engine
    limit_s = START_LIMIT_S if name in ON_CPU else GPU_START_LIMIT_S
    model = bundle.manifest.name
    with deadline(limit_s, f"the model {model} gave no picture within {limit_s:.0f} s: choose another model or engine"):
        runtime = _open_runtime(bundle, name, threads, precision, gpu)
    return PhotoEngine(runtime) if bundle.config.photo_reach else runtime


def _open_runtime(bundle: Bundle, name: EngineName, threads: int | None, precision: Precision, gpu: int) -> Runtime:
    runtime, _, device = name.partition("-")
    try:
        if runtime == "tensorrt":
            from avatarify_plus.engines.tensorrt_engine import TensorRtEngine

            return TensorRtEngine(bundle, precision, gpu=gpu)
        if runtime == "openvino":
            from avatarify_plus.engines.openvino_engine import OpenVinoEngine

            return OpenVinoEngine(bundle, threads, precision)
        if runtime == "onnxruntime":
            from avatarify_plus.engines.onnxruntime_engine import OnnxRuntimeEngine

            return OnnxRuntimeEngine(bundle, threads, device or "cpu", precision, gpu)
        from avatarify_plus.engines.torch_engine import TorchEngine

        return TorchEngine(bundle, threads, device or "cpu", precision, gpu)
    except ImportError as error:
        missing = (error.name or runtime).partition(".")[0]
        package = PACKAGES.get(name, missing) if missing in MODULES[runtime] else missing
        raise EngineError(f"engine {name} cannot be loaded ({error}): pip install {package}") from error


def require_parts(name: EngineName, gpu: int = 0) -> None:
    """Raise EngineError if an engine's library or GPU is missing, as far as that is known within a millisecond."""
    if not any(importlib.util.find_spec(module) for module in MODULES[name.partition("-")[0]]):
        raise EngineError("not installed")
    if name in ON_NVIDIA:
        find_gpu(gpu)
