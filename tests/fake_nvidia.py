"""An NVIDIA GPU, its CUDA runtime and TensorRT, played by main memory and ONNX Runtime.

Work is queued on the stream and done when it is waited for, so that what reads a result too early reads the old one.
"""

# ruff: noqa: N802, N815  # CUDA's names
from __future__ import annotations

import ctypes
import enum
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

Work = Callable[[], None]


class Error(enum.IntEnum):
    """CUDA's error numbers."""

    cudaSuccess = 0
    cudaErrorInsufficientDriver = 35
    cudaErrorStreamCaptureInvalidated = 901


class Runtime:
    """Stands in for `cuda.bindings.runtime`. calls: how often each function was called. copied: bytes by direction."""

    cudaError_t = Error
    cudaStreamNonBlocking = 1
    cudaHostAllocDefault = 0
    cudaDeviceAttr = SimpleNamespace(cudaDevAttrComputeCapabilityMajor=75, cudaDevAttrComputeCapabilityMinor=76)
    cudaMemcpyKind = SimpleNamespace(
        cudaMemcpyHostToDevice="up", cudaMemcpyDeviceToHost="down", cudaMemcpyDeviceToDevice="across"
    )
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self, capability: tuple[int, int] = (8, 6)) -> None:
        self.capability = capability
        self.set_device = Error.cudaSuccess
        self.can_capture = True
        self.calls: Counter[str] = Counter()
        self.copied: Counter[str] = Counter()
        self.blocks: dict[int, np.ndarray[Any, Any]] = {}
        self.queue: list[Work] = []
        self.graph: list[Work] | None = None

    def ask(self, work: Work) -> None:
        """Queue some work, or put it into the graph that is being captured."""
        (self.queue if self.graph is None else self.graph).append(work)

    def _allocate(self, name: str, size: int) -> tuple[Error, int]:
        self.calls[name] += 1
        assert self.graph is None, "an allocation cannot be captured"
        block = np.full(size, 255, np.uint8)  # NaN, if anybody reads it as float32
        self.blocks[block.ctypes.data] = block
        return Error.cudaSuccess, block.ctypes.data

    def cudaMalloc(self, size: int) -> tuple[Error, int]:
        return self._allocate("cudaMalloc", size)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Error, int]:
        return self._allocate("cudaHostAlloc", size)

    def cudaFree(self, address: int) -> tuple[Error]:
        self.calls["cudaFree"] += 1
        del self.blocks[address]
        return (Error.cudaSuccess,)

    def cudaFreeHost(self, address: int) -> tuple[Error]:
        self.calls["cudaFreeHost"] += 1
        del self.blocks[address]
        return (Error.cudaSuccess,)

    def cudaSetDevice(self, device: int) -> tuple[Error]:
        return (self.set_device,)

    def cudaDriverGetVersion(self) -> tuple[Error, int]:
        return Error.cudaSuccess, 12040

    def cudaRuntimeGetVersion(self) -> tuple[Error, int]:
        return Error.cudaSuccess, 13000

    def cudaDeviceGetAttribute(self, attribute: int, device: int) -> tuple[Error, int]:
        return Error.cudaSuccess, self.capability[attribute - 75]

    def cudaGetErrorString(self, error: Error) -> tuple[Error, bytes]:
        return Error.cudaSuccess, error.name.encode()

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Error, int]:
        self.calls["cudaStreamCreateWithFlags"] += 1
        return Error.cudaSuccess, 7

    def cudaStreamDestroy(self, stream: int) -> tuple[Error]:
        self.calls["cudaStreamDestroy"] += 1
        return (Error.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Error]:
        self.calls["cudaStreamSynchronize"] += 1
        assert self.graph is None, "a wait cannot be captured"
        for work in self.queue:
            work()
        self.queue.clear()
        return (Error.cudaSuccess,)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: str, stream: int) -> tuple[Error]:
        def copy() -> None:
            self.copied[kind] += size
            ctypes.memmove(target, source, size)

        self.ask(copy)
        return (Error.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[Error]:
        self.graph = []
        return (Error.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Error, list[Work] | None]:
        captured, self.graph = self.graph, None
        if not self.can_capture:
            return Error.cudaErrorStreamCaptureInvalidated, None
        return Error.cudaSuccess, captured

    def cudaGraphInstantiate(self, graph: list[Work], flags: int) -> tuple[Error, list[Work]]:
        self.calls["cudaGraphInstantiate"] += 1
        return Error.cudaSuccess, list(graph)

    def cudaGraphDestroy(self, graph: list[Work]) -> tuple[Error]:
        return (Error.cudaSuccess,)

    def cudaGraphExecDestroy(self, graph: list[Work]) -> tuple[Error]:
        self.calls["cudaGraphExecDestroy"] += 1
        return (Error.cudaSuccess,)

    def cudaGraphLaunch(self, graph: list[Work], stream: int) -> tuple[Error]:
        self.calls["cudaGraphLaunch"] += 1
        for work in graph:
            self.ask(work)
        return (Error.cudaSuccess,)


class Severity(enum.IntEnum):
    """TensorRT's."""

    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class TensorRt:
    """Stands in for the module `tensorrt`, or `tensorrt_rtx`; its serialized engines are ONNX files."""

    class ILogger:
        Severity = Severity

    def __init__(self, runtime: Runtime) -> None:
        self.kernels: list[bytes] = []

        class Library:
            """Deserializes."""

            def __init__(self, log: Any) -> None:
                self.log = log

            def deserialize_cuda_engine(library, blob: bytes) -> Engine | None:  # noqa: N805
                if blob.startswith(b"not an engine"):
                    library.log.log(Severity.ERROR, "the plan\nis no plan")
                    return None
                return Engine(blob, runtime, self.kernels)

        self.Runtime = Library

    @staticmethod
    def nptype(kind: str) -> Any:
        return {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}[kind]


class Engine:
    """A deserialized engine."""

    def __init__(self, blob: bytes, runtime: Runtime, kernels: list[bytes]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(blob, options, providers=["CPUExecutionProvider"])
        self.nodes = {node.name: node for node in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.runtime = runtime
        self.kernels = kernels

    def get_tensor_shape(self, name: str) -> list[int]:
        return list(self.nodes[name].shape)

    def get_tensor_dtype(self, name: str) -> str:
        return str(self.nodes[name].type)

    def create_execution_context(self, config: Config | None = None) -> Context:
        return Context(self)

    def create_runtime_config(self) -> Config:
        return Config(self.kernels)


class Config:
    """TensorRT for RTX's runtime config and its cache of compiled kernels, in one."""

    def __init__(self, kernels: list[bytes]) -> None:
        self.loaded = kernels
        self.is_set = False

    def create_runtime_cache(self) -> Config:
        return self

    def set_runtime_cache(self, cache: Config) -> bool:
        self.is_set = cache is self
        return True

    def deserialize(self, blob: bytes) -> bool:
        self.loaded.append(blob)
        return True

    def serialize(self) -> bytes:
        assert self.is_set
        return b"kernels"


class Context:
    """An engine at work."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name in self.engine.nodes

    def execute_async_v3(self, stream: int) -> bool:
        session, addresses = self.engine.session, dict(self.addresses)

        def compute() -> None:
            feeds = {node.name: self._array(node, addresses) for node in session.get_inputs()}
            outputs = session.get_outputs()
            for node, result in zip(outputs, session.run(None, feeds), strict=True):
                self._array(node, addresses)[...] = result

        self.engine.runtime.ask(compute)
        return True

    def _array(self, node: Any, addresses: dict[str, int]) -> Any:
        return self.engine.runtime.blocks[addresses[node.name]].view(TensorRt.nptype(node.type)).reshape(node.shape)
