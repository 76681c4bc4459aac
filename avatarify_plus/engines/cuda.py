"""The calls of the CUDA runtime that a TensorRT engine needs."""

from __future__ import annotations

import ctypes
import importlib
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from avatarify_plus.engines.nvidia import find_gpu
from avatarify_plus.errors import EngineError

GPU_REQUIREMENTS = "an NVIDIA GPU, its driver and cuda-bindings"


class Cuda:
    """A GPU by its place in CUDA's order, and one stream on it in which everything runs in order.

    name: the GPU's. capability: its compute capability, such as "8.6". All errors are EngineErrors.
    """

    def __init__(self, number: int = 0) -> None:
        """Raise EngineError if there is no such GPU, no driver that is new enough, or no cuda-bindings."""
        self.name = find_gpu(number).name
        try:
            self._runtime: Any = importlib.import_module("cuda.bindings.runtime")
        except ImportError as error:
            raise EngineError(f"cuda-bindings cannot be loaded ({error}): pip install cuda-bindings") from error
        if self._runtime.cudaSetDevice(number)[0] == self._runtime.cudaError_t.cudaErrorInsufficientDriver:
            driver, own = self._call("cudaDriverGetVersion"), self._call("cudaRuntimeGetVersion")
            raise EngineError(
                f"the NVIDIA driver is made for CUDA {_version(driver)}, cuda-bindings is for {_version(own)}: "
                f"update the driver, or pip install 'cuda-bindings<{driver // 1000 + 1}'"
            )
        attribute = self._runtime.cudaDeviceAttr
        major = self._call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMajor, number)
        minor = self._call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMinor, number)
        self.capability = f"{major}.{minor}"
        self._stream = self._call("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking)
        self.stream = int(self._stream)

    def _call(self, function: str, *arguments: Any) -> Any:
        error, *results = getattr(self._runtime, function)(*arguments)
        if int(error) != 0:
            text = self._runtime.cudaGetErrorString(error)[1]
            raise EngineError(f"{function} failed on {self.name}: {text.decode() if isinstance(text, bytes) else text}")
        return results[0] if results else None

    def close(self) -> None:
        """Wait until the stream is idle and release it."""
        if self._stream is not None:
            self.synchronize()
            self._call("cudaStreamDestroy", self._stream)
            self._stream = None

    def synchronize(self) -> None:
        """Wait until everything on the stream is done."""
        self._call("cudaStreamSynchronize", self._stream)

    def upload(self, memory: DeviceMemory, array: np.ndarray[Any, Any]) -> None:
        """Start copying a pinned array to the GPU."""
        self._copy(memory.address, array.ctypes.data, memory.size_bytes, "cudaMemcpyHostToDevice")

    def download(self, array: np.ndarray[Any, Any], memory: DeviceMemory) -> None:
        """Start copying memory of the GPU into a pinned array."""
        self._copy(array.ctypes.data, memory.address, memory.size_bytes, "cudaMemcpyDeviceToHost")

    def duplicate(self, target: DeviceMemory, memory: DeviceMemory) -> None:
        """Start copying from one place on the GPU to another."""
        self._copy(target.address, memory.address, memory.size_bytes, "cudaMemcpyDeviceToDevice")

    def _copy(self, target: int, source: int, size_bytes: int, kind: str) -> None:
        self._call(
            "cudaMemcpyAsync", target, source, size_bytes, getattr(self._runtime.cudaMemcpyKind, kind), self._stream
        )

    def capture(self, work: Callable[[], None]) -> Any:
        """Return a CUDA graph of what `work` puts on the stream, without running it. Raises EngineError."""
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self._stream, mode)
        try:
            work()
        finally:
            error, graph = self._runtime.cudaStreamEndCapture(self._stream)
        if int(error) != 0:
            raise EngineError(f"cudaStreamEndCapture failed on {self.name}: CUDA error {int(error)}")
        try:
            return self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self, graph: Any) -> None:
        """Start a captured graph."""
        self._call("cudaGraphLaunch", graph, self._stream)

    def release(self, graph: Any) -> None:
        """Release a captured graph."""
        self._call("cudaGraphExecDestroy", graph)

    def pinned(self, shape: tuple[int, ...], kind: Any) -> np.ndarray[Any, Any]:
        """Return an array in main memory that the GPU can read and write; it is released with the last view of it."""
        size_bytes = int(np.prod(shape)) * np.dtype(kind).itemsize
        address = int(self._call("cudaHostAlloc", size_bytes, self._runtime.cudaHostAllocDefault))
        block = (ctypes.c_ubyte * size_bytes).from_address(address)
        weakref.finalize(block, self._runtime.cudaFreeHost, address).atexit = False
        return np.frombuffer(block, kind).reshape(shape)

    def memory(self, size_bytes: int) -> DeviceMemory:
        """Allocate memory on the GPU; it is released with the last reference."""
        memory = DeviceMemory(int(self._call("cudaMalloc", size_bytes)), size_bytes)
        weakref.finalize(memory, self._runtime.cudaFree, memory.address).atexit = False
        return memory


class DeviceMemory:
    """Memory on the GPU, by its address."""

    def __init__(self, address: int, size_bytes: int) -> None:
        self.address = address
        self.size_bytes = size_bytes


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
