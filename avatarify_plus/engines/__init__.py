"""The runtimes that compute the network: one contract, one file each."""

from __future__ import annotations

from typing import get_args

from avatarify_plus.bundle import Bundle
from avatarify_plus.config import EngineName, Precision
from avatarify_plus.engines.engine import Engine, Source
from avatarify_plus.errors import EngineError

__all__ = ["Engine", "Source", "open_engine"]


def open_engine(
    bundle: Bundle, name: EngineName = "auto", threads: int | None = None, precision: Precision = "auto"
) -> Engine:
    """Load a model into a runtime; "auto" is OpenVINO, the fastest on CPUs.

    threads: CPU threads, None for the runtime's own choice. precision: what `animate` computes in, see `Precision`.
    Raises EngineError if the runtime is not installed or cannot compute where and in what it was asked to, and
    ModelError if the model does not fit it; never falls back to another.
    """
    if name not in get_args(EngineName):
        raise EngineError(f"unknown engine {name!r}: choose one of {', '.join(get_args(EngineName))}")
    if threads is not None and threads < 1:
        raise EngineError(f"engine {name} needs at least 1 thread, found {threads}")
    runtime, _, device = ("openvino" if name == "auto" else name).partition("-")
    try:
        if runtime == "openvino":
            from avatarify_plus.engines.openvino_engine import OpenVinoEngine

            return OpenVinoEngine(bundle, threads, precision)
        if runtime == "onnxruntime":
            from avatarify_plus.engines.onnxruntime_engine import OnnxRuntimeEngine

            return OnnxRuntimeEngine(bundle, threads, device or "cpu", precision)
        from avatarify_plus.engines.torch_engine import TorchEngine

        return TorchEngine(bundle, threads, device or "cpu", precision)
    except ImportError as error:
        package = "onnxruntime-gpu" if name == "onnxruntime-cuda" else runtime
        raise EngineError(f"engine {name} cannot be loaded ({error}): pip install {package}") from error
