"""Build engines from a bundle's ONNX files with TensorRT or TensorRT for RTX."""

from __future__ import annotations

import time
from typing import Any

import onnx
from tqdm import tqdm

from avatarify_plus.bundle import Bundle
from avatarify_plus.engines.tensorrt_library import RTX, Library
from avatarify_plus.engines.tensorrt_plans import PORTABLE, bundle_argument, model_digests
from avatarify_plus.errors import EngineError
from avatarify_plus.network import tensor_names
from export.trt_builder import Built, TargetGpu, require_own_gpu
from export.trt_graph import prepare


class OnnxBuilder:
    """Builds with either library; the libraries differ in what GPUs they build for. See `Builder`."""

    def __init__(
        self, bundle: Bundle, library: Library, gpu: TargetGpu, capability: str | None, workspace_mb: int | None
    ) -> None:
        """Prepare to build for a compute capability such as "8.6", or PORTABLE; None is that of this machine's GPU.

        Without a GPU TensorRT for RTX builds portable engines. workspace_mb: GPU memory that one layer may use,
        None for all. Raises EngineError if the library does not build for such a GPU, or not here.
        """
        if library.name != RTX:
            require_own_gpu(str(library), gpu, capability)
        self.model = bundle_argument(bundle)
        self.config = bundle.config
        self.library = library
        self.capability = capability or gpu.capability or PORTABLE
        self.gpu = "" if library.name == RTX else gpu.name
        has_int8 = bundle.has_graph(tensor_names.quantized(tensor_names.ANIMATE))
        self.precisions: tuple[str, ...] = ("fp16", "int8") if has_int8 else ("fp16",)
        self._bundle = bundle
        self._workspace_mb = workspace_mb
        is_chosen = library.name == RTX and self.capability != PORTABLE
        self._target = _compute_capability(library, self.capability) if is_chosen else None
        self._builder = library.create("Builder")

    def digest(self, graph: str, precision: str) -> str:
        """See `Builder.digest`."""
        return model_digests(self._bundle, graph, precision)[0]

    def build(self, graph: str, precision: str) -> Built:
        """See `Builder.build`. Raises ModelError if the bundle has no such graph."""
        api = self.library.api
        path = self._bundle.graph(tensor_names.quantized(graph) if precision == "int8" else graph)
        start = time.perf_counter()
        try:
            model = prepare(onnx.load(path), half=precision != "fp32")
        except onnx.shape_inference.InferenceError as error:
            raise EngineError(f"{path} cannot be computed in {precision}: {' '.join(str(error).split())}") from error
        network = self._builder.create_network(1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = api.OnnxParser(network, self.library.log)
        if not parser.parse(model.SerializeToString()):
            raise EngineError(f"{self.library} cannot parse {path}: {self.library.log.take_error()}")
        parsed = time.perf_counter()
        config = self._builder.create_builder_config()
        config.clear_flag(api.BuilderFlag.TF32)  # where float32 is wanted, TF32 is too coarse
        if self._workspace_mb is not None:
            config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, self._workspace_mb << 20)
        if self._target is not None:
            config.num_compute_capabilities = 1
            config.set_compute_capability(self._target, 0)
        with tqdm(desc=f"{graph} {precision}", leave=False, disable=None, unit="step") as bar:
            monitor = _make_monitor(api, bar)
            config.progress_monitor = monitor
            engine = self._builder.build_serialized_network(network, config)
        if monitor.is_stopped:
            raise KeyboardInterrupt
        if engine is None:
            raise EngineError(f"{self.library} cannot build {path}: {self.library.log.take_error()}")
        self.library.log.errors.clear()  # without a GPU it complains, and builds
        tensors = {value.name: value.name for value in (*model.graph.input, *model.graph.output)}
        return Built(bytes(engine), tensors, parsed - start, time.perf_counter() - parsed)


def _compute_capability(library: Library, capability: str) -> Any:
    """Return the library's name of a compute capability. Raises EngineError if it does not build for it."""
    known = {
        f"{name[2:-1]}.{name[-1]}": value
        for name, value in library.api.ComputeCapability.__members__.items()
        if name.startswith("SM")
    }
    if capability not in known:
        raise EngineError(
            f"{library} builds for the compute capabilities {', '.join(known)} and {PORTABLE}, not for {capability}: "
            "choose one with --compute-capability, or build with --backend tensorrt"
        )
    return known[capability]


def _make_monitor(api: Any, bar: Any) -> Any:
    class Monitor(api.IProgressMonitor):  # type: ignore[misc]
        """Moves a progress bar, and lets Ctrl-C end a build."""

        def __init__(self) -> None:
            api.IProgressMonitor.__init__(self)
            self.is_stopped = False

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            bar.set_postfix_str(name, refresh=False)

        def phase_finish(self, name: str) -> None: ...

        def step_complete(self, name: str, step: int) -> bool:
            try:
                bar.update()
            except KeyboardInterrupt:  # it must not travel through the library
                self.is_stopped = True
            return not self.is_stopped

    return Monitor()
