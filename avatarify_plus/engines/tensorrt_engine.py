"""TensorRT, or TensorRT for RTX, on an NVIDIA GPU: runs the engines that `export/trt.py` has built."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from avatarify_plus.bundle import Bundle
from avatarify_plus.config import Precision
from avatarify_plus.engines.cuda import GPU_REQUIREMENTS, Cuda
from avatarify_plus.engines.engine import (
    PartSquares,
    Runtime,
    Source,
    require_detector,
    require_picture,
    require_precision,
)
from avatarify_plus.engines.keypoint_tensors import animated, driving_tensors, source_tensors
from avatarify_plus.engines.tensorrt_choice import Target, choose_plans
from avatarify_plus.engines.tensorrt_graph import TensorCopies, TensorRtGraph
from avatarify_plus.engines.tensorrt_library import INSTALL_HINT, Library, installed_libraries, load_library
from avatarify_plus.engines.tensorrt_plans import PlanCache, build_command, bundle_argument
from avatarify_plus.engines.warm_up import warm_up
from avatarify_plus.errors import EngineError
from avatarify_plus.network import tensor_names
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.types import Image, Keypoints, PhotoRegion

logger = logging.getLogger(__name__)


class TensorRtEngine(Runtime):
    """Computes on an NVIDIA GPU, with the library that the model's engines were built with. See `Runtime`.

    An encoded source stays on the GPU. A frame is one CUDA graph (keypoints up, network, picture down) and one wait; it
    serves every source, since a source that is shown first is copied, on the GPU, to the memory that the graph reads.
    The precision "auto" is int8, float16 or float32, the first of them that was built. It applies to `animate`, except
    to the coordinates of its warps, and to `paint`, where int8 is float16.
    """

    def __init__(self, bundle: Bundle, precision: Precision, folder: Path | None = None, gpu: int = 0) -> None:
        """Load a bundle's engines from a cache folder, by default the user's.

        gpu: which one, see `Cuda`.

        Raises EngineError if there is no library, no GPU, or no engine of this model for this library and GPU.
        """
        self.name = "tensorrt"
        self.config = bundle.config
        self._bundle = bundle
        self._bound: Source | None = None
        require_precision(self.name, precision, ("auto", "fp32", "fp16", "int8"), bundle)
        libraries = _load_libraries(bundle)
        try:
            self._cuda = Cuda(gpu)
        except EngineError as error:
            raise EngineError(f"engine tensorrt needs {GPU_REQUIREMENTS}: {error}") from error
        self._graphs: dict[str, TensorRtGraph] = {}
        versions = {name: library.version for name, library in libraries.items()}
        target = Target(versions, self._cuda.capability, self._cuda.name)
        try:
            self.precision, entries = choose_plans(PlanCache(folder), bundle, precision, target)
            library = libraries[entries[tensor_names.ANIMATE].key.library]
            self.device = f"GPU ({self._cuda.name}, {library}, {self.precision})"
            for name, entry in entries.items():
                self._graphs[name] = TensorRtGraph(library, self._cuda, entry, _copies(name, self.config))
            warm_up(self)
        except EngineError:
            self.close()
            raise
        self._bound = None  # the avatar of the warm-up is not kept
        for graph in self._graphs.values():
            graph.keep_kernels()
        logger.info("%s on %s", library, self.device)

    def close(self) -> None:
        """Release the engines and the stream."""
        self._bound = None
        for graph in self._graphs.values():
            graph.close()
        self._graphs.clear()
        self._cuda.close()

    def detect(self, image: Image) -> Keypoints:
        """See `Engine.detect`."""
        require_detector(self._bundle)
        require_picture(image, self.config)
        graph = self._graphs[tensor_names.DETECT]
        graph.write(tensor_names.IMAGE, image)
        graph.run()
        return Keypoints(graph.read(tensor_names.VALUE), graph.read(tensor_names.JACOBIAN))

    def encode_source(self, image: Image, keypoints: Keypoints, photo: PhotoRegion | None = None) -> Source:
        """See `Engine.encode_source`."""
        require_picture(image, self.config)
        graph = self._graphs[tensor_names.ENCODE_SOURCE]
        tensors = {
            name: self._cuda.memory(graph.memory[name].size_bytes) for name in tensor_names.encoded_source(self.config)
        }
        for name, memory in tensors.items():
            graph.bind(name, memory)
        graph.write(tensor_names.IMAGE, image)
        graph.write(tensor_names.SOURCE_VALUE, source_tensors(keypoints, self.config)[tensor_names.SOURCE_VALUE])
        graph.run()
        return Source(keypoints, tensors)

    def animate(self, source: Source, keypoints: Keypoints) -> Any:
        """See `Runtime.animate`."""
        graph = self._graphs[tensor_names.ANIMATE]
        if source is not self._bound:
            for name, memory in source.tensors.items():
                self._cuda.duplicate(graph.memory[name], memory)
            for name, array in source_tensors(source.keypoints, self.config).items():
                graph.send(name, array)
            self._bound = source
        for name, array in driving_tensors(keypoints, self.config).items():
            graph.write(name, array)
        graph.run()
        outputs = {
            name: graph.read(name) for name in tensor_names.signatures(self.config)[tensor_names.ANIMATE].outputs
        }
        return animated(outputs)

    def paint(self, part: str, squares: PartSquares) -> Any:
        """See `Runtime.paint`."""
        graph = self._graphs[tensor_names.paint(part)]
        for name, pictures in squares._asdict().items():
            graph.write_batch(name, pictures)
        graph.run()
        return graph.read_batch(tensor_names.PART)


def _copies(graph: str, config: NetworkConfig) -> TensorCopies:
    """Return which tensors of a graph cross between main memory and the GPU; encoded sources stay there."""
    inputs, outputs = tensor_names.signatures(config)[graph]
    if graph == tensor_names.ENCODE_SOURCE:
        return TensorCopies(inputs, (), is_repeated=False)
    if graph != tensor_names.ANIMATE:
        return TensorCopies(inputs, outputs)
    driving = (tensor_names.DRIVING_VALUE, tensor_names.DRIVING_JACOBIAN, tensor_names.DRIVING_CONTOURS)
    source = (tensor_names.SOURCE_VALUE, tensor_names.SOURCE_JACOBIAN, tensor_names.SOURCE_CONTOURS)
    sent, copied = (tuple(name for name in inputs if name in names) for names in (source, driving))
    return TensorCopies(copied, outputs, sent)


def _load_libraries(bundle: Bundle) -> dict[str, Library]:
    """Return the installed libraries that load, by name. Raises EngineError if there are none."""
    found: dict[str, Library] = {}
    complaints: list[str] = []
    for name in installed_libraries():
        try:
            found[name] = load_library(name)
        except EngineError as error:
            complaints.append(str(error))
    if not found:
        reason = "; ".join(complaints) or f"no TensorRT is installed: {INSTALL_HINT}"
        raise EngineError(f"engine tensorrt: {reason}; then run {build_command(bundle_argument(bundle))}")
    return found
