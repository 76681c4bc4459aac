"""ONNX Runtime's execution providers: how each is opened, and proof that it computes the graph."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import onnxruntime

from avatarify_plus.engines.nvidia import find_gpu
from avatarify_plus.errors import EngineError
from avatarify_plus.native_log import hidden_native_messages

HEAVY = frozenset({"Conv", "FusedConv", "GridSample"})
"""The operators that a provider must compute to count as computing a model."""

NAMED_IN_ERRORS = 5
"""How many operators an error message names."""

NO_FALLBACK = "session.disable_cpu_ep_fallback"
RECORD_ASSIGNMENT = "session.record_ep_graph_assignment_info"
CUDA_PACKAGES = "pip install onnxruntime-gpu[cuda,cudnn]"


class Provider(NamedTuple):
    """How ONNX Runtime reaches a device.

    engine: our name of it. name: ONNX Runtime's. memory: where its tensors are kept, in ONNX Runtime's words. remedy:
    how to get it. is_whole: whether it must compute every operator of a graph; otherwise the HEAVY ones are enough.
    """

    engine: str
    name: str
    memory: str
    remedy: str
    is_whole: bool = True

    @property
    def is_gpu(self) -> bool:
        """Whether it is for another device than the CPU."""
        return self.name != "CPUExecutionProvider"


PROVIDERS = {
    "cpu": Provider("onnxruntime", "CPUExecutionProvider", "cpu", "pip install onnxruntime"),
    "cuda": Provider(
        "onnxruntime-cuda",
        "CUDAExecutionProvider",
        "cuda",
        f"pip uninstall onnxruntime, then {CUDA_PACKAGES}",
    ),
    "directml": Provider(
        "onnxruntime-directml",
        "DmlExecutionProvider",
        "dml",
        "on Windows, pip uninstall onnxruntime, then pip install onnxruntime-directml",
    ),
    # CoreML takes neither uint8 inputs and outputs nor the Gathers on keypoints.
    "coreml": Provider(
        "onnxruntime-coreml",
        "CoreMLExecutionProvider",
        "cpu",
        "only macOS has it, in the package onnxruntime",
        is_whole=False,
    ),
}


def require_available(provider: Provider) -> None:
    """Raise EngineError if this installation of ONNX Runtime was built without a provider."""
    available = onnxruntime.get_available_providers()
    if provider.name not in available:
        raise EngineError(
            f"engine {provider.engine} needs {provider.name}, this installation has {', '.join(available)}: "
            f"{provider.remedy}"
        )


def load_cuda() -> str:
    """Load CUDA and cuDNN from NVIDIA's Python packages, where they are; return the first complaint, or nothing."""
    printed = io.StringIO()
    if hasattr(onnxruntime, "preload_dlls"):  # since 1.21
        with contextlib.redirect_stdout(printed):
            onnxruntime.preload_dlls()
    return next(iter(printed.getvalue().splitlines()), "")


def open_inference_session(
    provider: Provider, path: Path, threads: int | None, choices: dict[str, str], complaint: str = ""
) -> Any:
    """Load a graph for a provider.

    choices: the provider's own options. complaint: what went wrong with its libraries before. Raises EngineError with
    the reason if the graph cannot be loaded, or if another provider would compute it.
    """
    may_share = not (provider.is_gpu and provider.is_whole)
    try:
        session, refusal = _load(provider, path, _session_options(provider, threads, may_share), choices), None
    except Exception as error:  # ONNX Runtime's own exceptions have no public base class
        if "fallback to CPU EP" not in str(error):
            reason = str(error).splitlines()[0]
            raise EngineError(f"ONNX Runtime {onnxruntime.__version__} cannot load {path}: {reason}") from error
        # Try again with the CPU beside it, to learn why.
        session, refusal = _load(provider, path, _session_options(provider, threads, True), choices), error
    chosen = session.get_providers()[0]
    if chosen != provider.name:
        raise EngineError(
            f"ONNX Runtime was asked for {provider.name} and chose {chosen}: {_why_not_started(provider, complaint)}, "
            "or choose the engine onnxruntime for the CPU"
        ) from refusal
    if refusal is not None or not provider.is_whole:
        _require_computed(session, provider, path)
    return session


def _session_options(provider: Provider, threads: int | None, may_share: bool) -> Any:
    """Return the options of a session; `may_share` lets the CPU compute what the provider does not."""
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    # A graph's idle threads would otherwise spin for a while and keep the next graph's, and MediaPipe's, off the cores.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    if provider.memory == "dml":  # it can do neither
        options.enable_mem_pattern = False
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    if provider.is_gpu:
        options.add_session_config_entry(RECORD_ASSIGNMENT, "1")
    if not may_share:
        options.add_session_config_entry(NO_FALLBACK, "1")
    return options


def _load(provider: Provider, path: Path, options: Any, choices: dict[str, str]) -> Any:
    with hidden_native_messages() if provider.is_gpu else contextlib.nullcontext():
        return onnxruntime.InferenceSession(
            path, options, providers=[provider.name], provider_options=[choices], enable_fallback=0
        )


def _why_not_started(provider: Provider, complaint: str) -> str:
    """Return what a provider lacks, as far as that can be known."""
    if provider.memory != "cuda":
        return "check the GPU and its driver"
    try:
        find_gpu()
    except EngineError as error:
        return f"{error}: check the GPU driver"
    return f"{complaint or 'check the GPU driver, CUDA and cuDNN'} ({CUDA_PACKAGES} brings CUDA and cuDNN)"


def _require_computed(session: Any, provider: Provider, path: Path) -> None:
    """Raise EngineError that names the operators that a provider must compute and leaves to others."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        raise EngineError(
            f"engine {provider.engine} cannot be shown to compute {path.name}: ONNX Runtime "
            f"{onnxruntime.__version__} does not say what runs where, 1.24 does: update it"
        )
    elsewhere = Counter(
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != provider.name
        for node in part.get_nodes()
        if provider.is_whole or node.op_type in HEAVY
    )
    if elsewhere or provider.is_whole:
        kinds = [f"{count} {operator}" for operator, count in elsewhere.most_common(NAMED_IN_ERRORS)]
        more = [f"{len(elsewhere) - len(kinds)} other kinds"] * (len(elsewhere) > len(kinds))
        found = ", ".join(kinds + more) or "some operators"
        raise EngineError(
            f"{provider.name} of ONNX Runtime {onnxruntime.__version__} leaves {found} of {path.name} to the CPU: "
            f"update it, or choose another engine than {provider.engine}"
        )
