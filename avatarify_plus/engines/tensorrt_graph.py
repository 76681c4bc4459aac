"""One plan, loaded, with its tensors in place."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avatarify_plus.engines.cuda import Cuda, DeviceMemory
from avatarify_plus.engines.tensorrt_library import RTX, Library
from avatarify_plus.engines.tensorrt_plans import CachedPlan, build_command, write_file
from avatarify_plus.errors import EngineError

logger = logging.getLogger(__name__)


class TensorCopies(NamedTuple):
    """Which tensors are copied between main memory and the GPU.

    inputs, outputs: at every run. sent: by `TensorRtGraph.send`. is_repeated: whether the graph runs at every frame.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sent: tuple[str, ...] = ()
    is_repeated: bool = True


class TensorRtGraph:
    """A plan whose tensors have memory on the GPU, and pinned memory if they are copied to or from main memory.

    memory: the GPU's, by tensor name. A repeated graph is captured after its first run, copies included, and launched
    as one CUDA graph from then on. Nothing is allocated while it runs.
    """

    def __init__(self, library: Library, cuda: Cuda, entry: CachedPlan, copies: TensorCopies) -> None:
        """Load a plan. Raises EngineError if the library refuses it."""
        self._library = library
        self._cuda = cuda
        self._entry = entry
        self._copies = copies
        self._captured: Any = None
        self._is_capturable = copies.is_repeated
        self._runtime = library.create("Runtime")
        self._engine = self._runtime.deserialize_cuda_engine(entry.read())
        if self._engine is None:
            raise self._failure("load")
        self._kernels: Any = None
        self._context = self._make_context()
        if self._context is None:
            raise self._failure("start")
        self.memory: dict[str, DeviceMemory] = {}
        self._pinned: dict[str, np.ndarray[Any, Any]] = {}
        for name, own_name in entry.tensors.items():
            shape = tuple(self._engine.get_tensor_shape(own_name))
            kind = np.dtype(library.api.nptype(self._engine.get_tensor_dtype(own_name)))
            self.bind(name, cuda.memory(int(np.prod(shape)) * kind.itemsize))
            if name in (*copies.inputs, *copies.outputs, *copies.sent):
                self._pinned[name] = cuda.pinned(shape, kind)

    def _make_context(self) -> Any:
        """Return an execution context; TensorRT for RTX compiles its kernels now, unless an earlier run kept them."""
        if self._library.name != RTX:
            return self._engine.create_execution_context()
        config = self._engine.create_runtime_config()
        self._kernels = config.create_runtime_cache()
        with contextlib.suppress(OSError):
            self._kernels.deserialize(self._kernels_path.read_bytes())  # TensorRT refuses what does not fit
        config.set_runtime_cache(self._kernels)
        return self._engine.create_execution_context(config)

    @property
    def _kernels_path(self) -> Path:
        return self._entry.path.with_suffix(".kernels")

    def keep_kernels(self) -> None:
        """Save what TensorRT for RTX has compiled, so that the next start need not compile it again."""
        if self._kernels is None:
            return
        compiled = bytes(self._kernels.serialize())
        with contextlib.suppress(EngineError, OSError):  # then the next start is slow, too
            if not self._kernels_path.is_file() or self._kernels_path.read_bytes() != compiled:
                write_file(self._kernels_path, compiled)

    def close(self) -> None:
        """Release everything, each object before the one that it was made from."""
        if self._captured is not None:
            self._cuda.release(self._captured)
        self._captured = self._context = self._kernels = self._engine = self._runtime = None
        self.memory.clear()
        self._pinned.clear()

    def bind(self, name: str, memory: DeviceMemory) -> None:
        """Give a tensor other memory; not for repeated graphs, which are captured with their addresses."""
        if not self._context.set_tensor_address(self._entry.tensors[name], memory.address):
            raise self._failure(f"bind {name} of")
        self.memory[name] = memory

    def write(self, name: str, array: Any) -> None:
        """Write an array without its batch to where the next run, or `send`, reads it."""
        self._pinned[name][0] = array

    def write_batch(self, name: str, array: Any) -> None:
        """Write an array to where the next run reads it."""
        self._pinned[name][:] = array

    def send(self, name: str, array: Any) -> None:
        """Write an array and start its copy to the GPU."""
        self.write(name, array)
        self._cuda.upload(self.memory[name], self._pinned[name])

    def run(self) -> None:
        """Copy the inputs, compute, copy the outputs, and wait once until they are there."""
        if self._captured is None:
            self._enqueue()
        else:
            self._cuda.launch(self._captured)
        self._cuda.synchronize()
        if self._captured is None and self._is_capturable:
            self._captured = self._capture()

    def read(self, name: str) -> Any:
        """Return a copy of an output of the last run, without its batch."""
        return self.read_batch(name)[0]

    def read_batch(self, name: str) -> Any:
        """Return a copy of an output of the last run."""
        return self._pinned[name].copy()

    def _enqueue(self) -> None:
        for name in self._copies.inputs:
            self._cuda.upload(self.memory[name], self._pinned[name])
        if not self._context.execute_async_v3(self._cuda.stream):
            raise self._failure("run")
        for name in self._copies.outputs:
            self._cuda.download(self._pinned[name], self.memory[name])

    def _capture(self) -> Any:
        """Return a CUDA graph of a run; None, and never again, if the library cannot be captured."""
        try:
            return self._cuda.capture(self._enqueue)
        except EngineError as error:
            logger.info("%s runs without a CUDA graph: %s", self._entry.path.name, error)
            self._is_capturable = False
            return None

    def _failure(self, what: str) -> EngineError:
        return EngineError(
            f"{self._library} cannot {what} {self._entry.path}: {self._library.log.take_error()}; "
            f"run {build_command(self._entry.bundle)} --force"
        )
