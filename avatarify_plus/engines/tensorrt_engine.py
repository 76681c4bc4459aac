"""TensorRT, or TensorRT for RTX, on an NVIDIA GPU: runs the engines that `export/trt.py` has built."""

from __future__ import annotations

import logging
from pathlib import Path

from avatarify_plus.bundle import Bundle
from avatarify_plus.config import Precision
from avatarify_plus.engines.cuda import GPU_REQUIREMENTS, Cuda
from avatarify_plus.engines.engine import Engine, Source, require_detector, require_picture, require_precision
from avatarify_plus.engines.tensorrt_choice import Target, choose_plans
from avatarify_plus.engines.tensorrt_graph import TensorCopies, TensorRtGraph
from avatarify_plus.engines.tensorrt_library import INSTALL_HINT, Library, installed_libraries, load_library
from avatarify_plus.engines.tensorrt_plans import PlanCache, build_command, bundle_argument
from avatarify_plus.engines.warm_up import warm_up
from avatarify_plus.errors import EngineError
from avatarify_plus.network import tensor_names
from avatarify_plus.types import Image, Keypoints

logger = logging.getLogger(__name__)

COPIES = {
    tensor_names.DETECT: TensorCopies((tensor_names.IMAGE,), (tensor_names.VALUE, tensor_names.JACOBIAN)),
    tensor_names.ENCODE_SOURCE: TensorCopies((tensor_names.IMAGE, tensor_names.SOURCE_VALUE), (), is_repeated=False),
    tensor_names.ANIMATE: TensorCopies(
        (tensor_names.DRIVING_VALUE, tensor_names.DRIVING_JACOBIAN),
        (tensor_names.IMAGE,),
        (tensor_names.SOURCE_VALUE, tensor_names.SOURCE_JACOBIAN),
    ),
}


class TensorRtEngine(Engine):
    """Computes on the first NVIDIA GPU, with the library that the model's engines were built with. See `Engine`.

    An encoded source stays on the GPU. A frame is one CUDA graph (keypoints up, network, picture down) and one wait; it
    serves every source, since a source that is shown first is copied, on the GPU, to the memory that the graph reads.
    The precision "auto" is int8, float16 or float32, the first of them that was built. It applies to `animate`, except
    to the coordinates of its warps.
    """

    def __init__(self, bundle: Bundle, precision: Precision, folder: Path | None = None) -> None:
        """Load a bundle's engines from a cache folder, by default the user's.

        Raises EngineError if there is no library, no GPU, or no engine of this model for this library and GPU.
        """
        self.name = "tensorrt"
        self.config = bundle.config
        self._bundle = bundle
        self._bound: Source | None = None
        require_precision(self.name, precision, ("auto", "fp32", "fp16", "int8"), bundle)
        libraries = _load_libraries(bundle)
        try:
            self._cuda = Cuda()
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
                self._graphs[name] = TensorRtGraph(library, self._cuda, entry, COPIES[name])
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

    def encode_source(self, image: Image, keypoints: Keypoints) -> Source:
        """See `Engine.encode_source`."""
        require_picture(image, self.config)
        graph = self._graphs[tensor_names.ENCODE_SOURCE]
        tensors = {
            name: self._cuda.memory(graph.memory[name].size_bytes) for name in tensor_names.encoded_source(self.config)
        }
        for name, memory in tensors.items():
            graph.bind(name, memory)
        graph.write(tensor_names.IMAGE, image)
        graph.write(tensor_names.SOURCE_VALUE, keypoints.value)
        graph.run()
        return Source(keypoints, tensors)

    def animate(self, source: Source, keypoints: Keypoints) -> Image:
        """See `Engine.animate`."""
        graph = self._graphs[tensor_names.ANIMATE]
        if source is not self._bound:
            for name, memory in source.tensors.items():
                self._cuda.duplicate(graph.memory[name], memory)
            graph.send(tensor_names.SOURCE_VALUE, source.keypoints.value)
            graph.send(tensor_names.SOURCE_JACOBIAN, source.keypoints.jacobian)
            self._bound = source
        graph.write(tensor_names.DRIVING_VALUE, keypoints.value)
        graph.write(tensor_names.DRIVING_JACOBIAN, keypoints.jacobian)
        graph.run()
        image: Image = graph.read(tensor_names.IMAGE)
        return image


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
