"""ONNX Runtime: on the CPU, or on a GPU through CUDA, DirectML or CoreML."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import onnxruntime

from avatarify_plus.bundle import Bundle
from avatarify_plus.config import Precision
from avatarify_plus.engines.engine import (
    PartSquares,
    Runtime,
    Source,
    require_detector,
    require_picture,
    require_precision,
)
from avatarify_plus.engines.keypoint_tensors import animated, driving_tensors, source_tensors
from avatarify_plus.engines.nvidia import find_gpu
from avatarify_plus.engines.onnxruntime_provider import PROVIDERS, load_cuda, open_inference_session, require_available
from avatarify_plus.engines.warm_up import warm_up
from avatarify_plus.errors import EngineError
from avatarify_plus.network import tensor_names
from avatarify_plus.types import Image, Keypoints, PhotoRegion

logger = logging.getLogger(__name__)
ELEMENT_TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}


class OnnxRuntimeEngine(Runtime):
    """Computes on `device`, one of PROVIDERS, and refuses to start if ONNX Runtime computes elsewhere. See `Runtime`.

    The precision "auto" is TF32 on NVIDIA GPUs that have it, otherwise float32: ONNX Runtime has no fast CPU kernels
    for the symmetric int8 that all runtimes understand. A source waits in main memory and is copied to the device when
    it is first shown: the device's inputs and outputs keep their addresses, as a CUDA graph needs.
    """

    def __init__(self, bundle: Bundle, threads: int | None, device: str, precision: Precision, gpu: int = 0) -> None:
        provider = PROVIDERS[device]
        self.name = provider.engine
        known: tuple[Precision, ...] = ("auto", "fp32") if provider.is_gpu else ("auto", "fp32", "int8")
        require_precision(self.name, precision, known, bundle)
        require_available(provider)
        self.config = bundle.config
        self._bundle = bundle
        self._bound: Source | None = None
        complaint = load_cuda() if device == "cuda" else ""
        self._graphs: dict[str, _Graph] = {}
        self._outputs = tensor_names.signatures(self.config)[tensor_names.ANIMATE].outputs
        for name in tensor_names.signatures(self.config):
            follows = name not in (tensor_names.DETECT, tensor_names.ENCODE_SOURCE)  # the precision
            has_twin = follows and precision == "int8" and bundle.has_graph(tensor_names.quantized(name))
            path = bundle.graph(tensor_names.quantized(name) if has_twin else name)
            choices = _choices(device, name != tensor_names.ENCODE_SOURCE, follows and precision == "auto", gpu)
            session = open_inference_session(provider, path, threads, choices, complaint)
            try:
                self._graphs[name] = _Graph(session, provider.memory, gpu)
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                raise EngineError(f"engine {self.name} has no memory for {path.name}: {reason}") from error
        self.precision = "fp32" if precision == "auto" else str(precision)
        where = f"{'automatic' if threads is None else threads} threads"
        if device == "cuda":
            found = find_gpu(gpu)
            where = found.name
            if precision == "auto" and found.has_tf32:
                self.precision = "tf32"
        self.device = f"{provider.name} ({where}, {self.precision})"
        warm_up(self)
        self._bound = None  # the avatar of the warm-up is not kept
        logger.info("ONNX Runtime %s on %s", onnxruntime.__version__, self.device)

    def close(self) -> None:
        """Release the graphs."""
        self._bound = None
        self._graphs.clear()

    def detect(self, image: Image) -> Keypoints:
        """See `Engine.detect`."""
        require_detector(self._bundle)
        require_picture(image, self.config)
        graph = self._graphs[tensor_names.DETECT]
        graph.fill(tensor_names.IMAGE, image)
        graph.run()
        return Keypoints(graph.read(tensor_names.VALUE), graph.read(tensor_names.JACOBIAN))

    def encode_source(self, image: Image, keypoints: Keypoints, photo: PhotoRegion | None = None) -> Source:
        """See `Engine.encode_source`."""
        require_picture(image, self.config)
        graph = self._graphs[tensor_names.ENCODE_SOURCE]
        graph.fill(tensor_names.IMAGE, image)
        own = {name: array.copy() for name, array in source_tensors(keypoints, self.config).items()}
        graph.fill(tensor_names.SOURCE_VALUE, own[tensor_names.SOURCE_VALUE])
        graph.run()
        encoded = {name: graph.read(name) for name in tensor_names.encoded_source(self.config)}
        return Source(keypoints, encoded | own)

    def animate(self, source: Source, keypoints: Keypoints) -> Any:
        """See `Runtime.animate`."""
        graph = self._graphs[tensor_names.ANIMATE]
        if source is not self._bound:
            for name, array in source.tensors.items():
                graph.fill(name, array)
            self._bound = source
        for name, array in driving_tensors(keypoints, self.config).items():
            graph.fill(name, array)
        graph.run()
        outputs = {name: graph.read(name) for name in self._outputs}
        return animated(outputs)

    def paint(self, part: str, squares: PartSquares) -> Any:
        """See `Runtime.paint`."""
        graph = self._graphs[tensor_names.paint(part)]
        for name, pictures in squares._asdict().items():
            graph.fill_batch(name, pictures)
        graph.run()
        return graph.read_batch(tensor_names.PART)


class _Graph:
    """One loaded graph whose inputs and outputs are allocated once, in one memory, and bound by name."""

    def __init__(self, session: Any, memory: str, gpu: int) -> None:
        self._session = session
        self._is_on_cpu = memory == "cpu"
        self._binding = session.io_binding()
        self._tensors: dict[str, Any] = {}
        self._kinds: dict[str, Any] = {}
        inputs, outputs = session.get_inputs(), session.get_outputs()
        for node in (*inputs, *outputs):
            self._kinds[node.name] = ELEMENT_TYPES[node.type]
            zeros = np.zeros(node.shape, self._kinds[node.name])
            self._tensors[node.name] = onnxruntime.OrtValue.ortvalue_from_numpy(
                zeros, memory, 0 if self._is_on_cpu else gpu
            )
        for node in inputs:
            self._binding.bind_ortvalue_input(node.name, self._tensors[node.name])
        for node in outputs:
            self._binding.bind_ortvalue_output(node.name, self._tensors[node.name])

    def fill(self, name: str, array: Any) -> None:
        """Write an array without its batch into an input."""
        self.fill_batch(name, array[None])

    def fill_batch(self, name: str, array: Any) -> None:
        """Write an array into an input."""
        self._tensors[name].update_inplace(np.ascontiguousarray(array, self._kinds[name]))

    def run(self) -> None:
        """Compute the outputs."""
        self._session.run_with_iobinding(self._binding)

    def read(self, name: str) -> Any:
        """Return an output without its batch, as an array that the next run does not overwrite."""
        return self.read_batch(name)[0]

    def read_batch(self, name: str) -> Any:
        """Return an output as an array that the next run does not overwrite."""
        array = self._tensors[name].numpy()
        return array.copy() if self._is_on_cpu else array  # on the CPU it is the output itself


def _choices(device: str, is_frame: bool, may_round: bool, gpu: int) -> dict[str, str]:
    """Return a provider's options for one graph.

    is_frame: whether it runs for every frame. may_round: whether it may compute in TF32. gpu: which one, from 0.
    """
    if device == "cuda":
        return {
            "device_id": str(gpu),
            "enable_cuda_graph": "1" if is_frame else "0",
            "use_tf32": "1" if may_round else "0",
        }
    if device == "directml":
        return {"device_id": str(gpu)}
    return {"ModelFormat": "MLProgram"} if device == "coreml" else {}
