"""ONNX Runtime: on the CPU, or on an NVIDIA GPU with the package onnxruntime-gpu."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnxruntime

from avatarify_plus.bundle import Bundle
from avatarify_plus.config import Precision
from avatarify_plus.engines.engine import Source, require_detector, require_picture, require_precision
from avatarify_plus.errors import EngineError
from avatarify_plus.network import signatures as names
from avatarify_plus.types import Image, Keypoints

logger = logging.getLogger(__name__)
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
ELEMENT_TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}


class OnnxRuntimeEngine:
    """Computes on `device`, "cpu" or "cuda", and refuses to start if ONNX Runtime chose another. See `Engine`."""

    def __init__(self, bundle: Bundle, threads: int | None, device: str, precision: Precision) -> None:
        self.name = "onnxruntime" if device == "cpu" else f"onnxruntime-{device}"
        require_precision(self.name, precision, ("auto", "fp32", "int8"), bundle)
        if precision == "auto":
            has_int8 = bundle.has_graph(names.quantized(names.ANIMATE))
            precision = "int8" if device == "cpu" and has_int8 else "fp32"
        self.precision: str = precision
        self.config = bundle.config
        self._bundle = bundle
        self._bound: Source | None = None
        files = {name: bundle.graph(name) for name in names.signatures(self.config)}
        if precision == "int8":
            files[names.ANIMATE] = bundle.graph(names.quantized(names.ANIMATE))
        self._graphs = {name: _Graph(path, threads, device) for name, path in files.items()}
        count = "automatic" if threads is None else str(threads)
        self.device = f"{self._graphs[names.ANIMATE].provider} ({count} threads)"
        logger.info("ONNX Runtime %s on %s", onnxruntime.__version__, self.device)

    def __enter__(self) -> OnnxRuntimeEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the graphs."""
        self._bound = None
        self._graphs.clear()

    def detect(self, image: Image) -> Keypoints:
        """See `Engine.detect`."""
        require_detector(self._bundle)
        require_picture(image, self.config)
        graph = self._graphs[names.DETECT]
        graph.fill(names.IMAGE, image)
        graph.run()
        return Keypoints(graph.copy(names.VALUE), graph.copy(names.JACOBIAN))

    def encode_source(self, image: Image, keypoints: Keypoints) -> Source:
        """See `Engine.encode_source`."""
        require_picture(image, self.config)
        graph = self._graphs[names.ENCODE_SOURCE]
        graph.fill(names.IMAGE, image)
        graph.fill(names.SOURCE_VALUE, keypoints.value)
        graph.renew_outputs()  # those of the avatar before may still be in use
        graph.run()
        encoded = {name: graph.tensors[name] for name in names.encoded_source(self.config)}
        animate = self._graphs[names.ANIMATE]
        value = animate.tensor_of(np.asarray(keypoints.value, np.float32)[None])
        jacobian = animate.tensor_of(np.asarray(keypoints.jacobian, np.float32)[None])
        return Source(keypoints, encoded | {names.SOURCE_VALUE: value, names.SOURCE_JACOBIAN: jacobian})

    def animate(self, source: Source, keypoints: Keypoints) -> Image:
        """See `Engine.animate`."""
        graph = self._graphs[names.ANIMATE]
        if source is not self._bound:
            for name, tensor in source.tensors.items():
                graph.bind(name, tensor)
            self._bound = source
        graph.fill(names.DRIVING_VALUE, keypoints.value)
        graph.fill(names.DRIVING_JACOBIAN, keypoints.jacobian)
        graph.run()
        image: Image = graph.copy(names.IMAGE)
        return image


class _Graph:
    """One loaded graph whose inputs and outputs are allocated once, on the device, and bound by name."""

    def __init__(self, path: Path, threads: int | None, device: str) -> None:
        asked = PROVIDERS[device]
        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = 1
        if threads is not None:
            options.intra_op_num_threads = threads
        available = onnxruntime.get_available_providers()
        if asked not in available:
            raise EngineError(
                f"engine onnxruntime-{device} needs {asked}, this installation has {', '.join(available)}: "
                "pip uninstall onnxruntime, then pip install onnxruntime-gpu"
            )
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=[asked])
        except Exception as error:  # ONNX Runtime's own exceptions have no public base class
            raise EngineError(f"ONNX Runtime {onnxruntime.__version__} cannot load {path}: {error}") from error
        self.provider = self._session.get_providers()[0]
        if self.provider != asked:
            raise EngineError(
                f"ONNX Runtime was asked for {asked} and chose {self.provider}: check the GPU driver and CUDA, or "
                "choose the engine onnxruntime for the CPU"
            )
        self._device = device
        self._binding = self._session.io_binding()
        self._outputs = {node.name: node for node in self._session.get_outputs()}
        self._inputs = {node.name: ELEMENT_TYPES[node.type] for node in self._session.get_inputs()}
        self.tensors: dict[str, Any] = {}
        for node in self._session.get_inputs():
            self.bind(node.name, self._allocate(node))
        self.renew_outputs()

    def _allocate(self, node: Any) -> Any:
        return self.tensor_of(np.zeros(node.shape, ELEMENT_TYPES[node.type]))

    def tensor_of(self, array: Any) -> Any:
        """Copy an array to the device."""
        return onnxruntime.OrtValue.ortvalue_from_numpy(array.copy(), self._device)

    def bind(self, name: str, tensor: Any) -> None:
        """Use a tensor as an input from now on."""
        self._binding.bind_ortvalue_input(name, tensor)
        self.tensors[name] = tensor

    def renew_outputs(self) -> None:
        """Write into fresh output tensors from now on."""
        for name, node in self._outputs.items():
            self.tensors[name] = self._allocate(node)
            self._binding.bind_ortvalue_output(name, self.tensors[name])

    def fill(self, name: str, array: Any) -> None:
        """Write an array without its batch into an input tensor."""
        self.tensors[name].update_inplace(np.ascontiguousarray(array[None], self._inputs[name]))

    def run(self) -> None:
        """Compute the outputs."""
        self._session.run_with_iobinding(self._binding)

    def copy(self, name: str) -> Any:
        """Return a copy of an output without its batch."""
        return np.array(self.tensors[name].numpy()[0])
