"""The contract of the classes that build TensorRT engines."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from avatarify_plus.engines.tensorrt_library import Library
from avatarify_plus.errors import EngineError
from avatarify_plus.network.config import NetworkConfig


class TargetGpu(NamedTuple):
    """The GPU of this machine; without one, name and capability are empty and `lack` says why."""

    name: str
    capability: str
    lack: str = ""


class Built(NamedTuple):
    """A serialized engine. tensors: our names to the engine's. read_s, build_s: seconds to read the model, to build."""

    blob: bytes
    tensors: dict[str, str]
    read_s: float
    build_s: float


class Builder(Protocol):
    """Builds the engines of one model, with one library, for one kind of GPU.

    model: how a command line names it. capability, gpu: see `tensorrt_plans.PlanKey`. precisions: what is built
    by default.
    """

    model: str
    config: NetworkConfig
    library: Library
    capability: str
    gpu: str
    precisions: tuple[str, ...]

    def digest(self, graph: str, precision: str) -> str:
        """Return what identifies the graph that an engine is built from, see `PlanKey.model`."""
        ...

    def build(self, graph: str, precision: str) -> Built:
        """Build the engine of a graph. Raises EngineError if the library refuses it."""
        ...


def require_own_gpu(title: str, gpu: TargetGpu, capability: str | None) -> None:
    """Raise EngineError unless this machine has a GPU, and of the compute capability if one is given."""
    if not gpu.name or capability not in (None, gpu.capability):
        found = f"a GPU of {gpu.capability} ({gpu.name})" if gpu.name else gpu.lack
        raise EngineError(
            f"{title} builds on the GPU that is to run the engine, found {found}: "
            "--backend tensorrt-rtx builds for other GPUs, and without one"
        )
