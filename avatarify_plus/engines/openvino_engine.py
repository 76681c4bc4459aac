"""OpenVINO: the fastest CPU runtime."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any

import numpy as np
import openvino

from avatarify_plus.bundle import Bundle
from avatarify_plus.engines.engine import Precision, Source, require_detector, require_picture
from avatarify_plus.errors import EngineError
from avatarify_plus.network import signatures as names
from avatarify_plus.types import Image, Keypoints

logger = logging.getLogger(__name__)


class OpenVinoEngine:
    """Computes on the CPU, one picture at a time and as soon as possible. See `Engine`."""

    def __init__(self, bundle: Bundle, threads: int | None, precision: Precision) -> None:
        self.name = "openvino"
        self.config = bundle.config
        self._bundle = bundle
        self._bound: Source | None = None
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        if precision == "f32":
            options["INFERENCE_PRECISION_HINT"] = "f32"
        core = openvino.Core()
        self._requests: dict[str, Any] = {}
        for name in names.signatures(self.config):
            path = bundle.graph(name)
            try:
                compiled = core.compile_model(path, "CPU", options)
            except RuntimeError as error:
                raise EngineError(f"OpenVINO {openvino.__version__} cannot compile {path}: {error}") from error
            self._requests[name] = compiled.create_infer_request()
        used = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        cpu = core.get_property("CPU", "FULL_DEVICE_NAME")
        self.device = f"CPU ({cpu}, {used}, {compiled.get_property('INFERENCE_NUM_THREADS')} threads)"
        logger.info("OpenVINO %s on %s", openvino.__version__, self.device)

    def __enter__(self) -> OpenVinoEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the compiled graphs."""
        self._bound = None
        self._requests.clear()

    def detect(self, image: Image) -> Keypoints:
        """See `Engine.detect`."""
        require_detector(self._bundle)
        require_picture(image, self.config)
        request = self._requests[names.DETECT]
        _fill(request, names.IMAGE, image)
        request.infer()
        return Keypoints(_copy(request, names.VALUE), _copy(request, names.JACOBIAN))

    def encode_source(self, image: Image, keypoints: Keypoints) -> Source:
        """See `Engine.encode_source`."""
        require_picture(image, self.config)
        request = self._requests[names.ENCODE_SOURCE]
        _fill(request, names.IMAGE, image)
        _fill(request, names.SOURCE_VALUE, keypoints.value)
        request.infer()
        tensors = {name: request.get_tensor(name).data for name in names.encoded_source(self.config)}
        tensors[names.SOURCE_VALUE] = np.asarray(keypoints.value, np.float32)[None]
        tensors[names.SOURCE_JACOBIAN] = np.asarray(keypoints.jacobian, np.float32)[None]
        return Source(keypoints, {name: openvino.Tensor(array.copy()) for name, array in tensors.items()})

    def animate(self, source: Source, keypoints: Keypoints) -> Image:
        """See `Engine.animate`."""
        request = self._requests[names.ANIMATE]
        if source is not self._bound:
            for name, tensor in source.tensors.items():
                request.set_tensor(name, tensor)
            self._bound = source
        _fill(request, names.DRIVING_VALUE, keypoints.value)
        _fill(request, names.DRIVING_JACOBIAN, keypoints.jacobian)
        request.infer()
        return _copy(request, names.IMAGE)


def _fill(request: Any, name: str, array: Any) -> None:
    """Write an array into the request's own input tensor, which has a leading batch of one."""
    request.get_tensor(name).data[0] = array


def _copy(request: Any, name: str) -> Any:
    """Return a copy of an output without its batch; the request overwrites its own next time."""
    return request.get_tensor(name).data[0].copy()
