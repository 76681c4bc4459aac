"""OpenVINO: the fastest CPU runtime."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as operations

from avatarify_plus.bundle import Bundle
from avatarify_plus.config import Precision
from avatarify_plus.engines.engine import Source, require_detector, require_picture, require_precision
from avatarify_plus.errors import EngineError
from avatarify_plus.network import signatures as names
from avatarify_plus.types import Image, Keypoints

logger = logging.getLogger(__name__)


class OpenVinoEngine:
    """Computes on the CPU, one picture at a time and as soon as possible. See `Engine`.

    The precision concerns `animate`, and there not the coordinates of the warps. `detect`, where small errors would
    tremble, and `encode_source`, computed once, are float32 always. "auto" is int8 where the model has it, otherwise
    what OpenVINO prefers on this CPU. What an int8 model keeps in floating point is computed in that too.
    """

    def __init__(self, bundle: Bundle, threads: int | None, precision: Precision) -> None:
        self.name = "openvino"
        self.config = bundle.config
        self._bundle = bundle
        self._bound: Source | None = None
        require_precision(self.name, precision, ("auto", "fp32", "bf16", "int8"), bundle)
        if precision == "auto" and bundle.has_graph(names.quantized(names.ANIMATE)):
            precision = "int8"
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        self._requests: dict[str, Any] = {}
        for name in names.signatures(self.config):  # animate is the last
            is_animate = name == names.ANIMATE
            path = bundle.graph(names.quantized(name) if is_animate and precision == "int8" else name)
            is_exact = precision == "fp32" or not is_animate
            hint = {"INFERENCE_PRECISION_HINT": "f32"} if is_exact else {}
            if is_animate and precision == "bf16":
                hint = {"INFERENCE_PRECISION_HINT": "bf16"}
            try:
                model = core.read_model(path)
                if not is_exact:
                    keep_coordinates_exact(model)
                compiled = core.compile_model(model, "CPU", options | hint)
            except RuntimeError as error:
                raise EngineError(f"OpenVINO {openvino.__version__} cannot compile {path}: {error}") from error
            self._requests[name] = compiled.create_infer_request()
        floating = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        used = {"f32": "fp32", "f16": "fp16"}.get(floating, floating)
        self.precision = f"int8 and {used}" if precision == "int8" else used
        cpu = core.get_property("CPU", "FULL_DEVICE_NAME")
        self.device = f"CPU ({cpu}, {self.precision}, {compiled.get_property('INFERENCE_NUM_THREADS')} threads)"
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
        image: Image = _copy(request, names.IMAGE)
        return image


def keep_coordinates_exact(model: openvino.Model) -> None:
    """Have a model's warps read float32 coordinates even where the rest is computed in bfloat16.

    bfloat16 coordinates are off by up to half a pixel. OpenVINO's CPU plugin leaves in float32 whatever lies between
    an output and the last convolution or interpolation before it. So the coordinates become outputs too, and where
    they are interpolated, a GridSample at the pixels' centres, which gives the same numbers, takes its place.
    """
    warps = [node for node in model.get_ordered_ops() if node.get_type_name() == "GridSample"]
    for warp in warps:
        reader = warp.input(1)
        while (resize := reader.get_source_output().get_node()).get_type_name() == "Transpose":
            reader = resize.input(0)  # (1, 2, S, S) to (1, S, S, 2)
        if resize.get_type_name() != "Interpolate":
            continue
        line = (2 * np.arange(resize.output(0).shape[-1], dtype=np.float32) + 1) / resize.output(0).shape[-1] - 1
        centres = operations.constant(np.stack(np.meshgrid(line, line), -1)[None])  # (1, S, S, 2), (x, y)
        bilinear = {"mode": "bilinear", "padding_mode": "border", "align_corners": False}
        exact = operations.grid_sample(resize.input_value(0), centres, bilinear)
        reader.replace_source_output(exact.output(0))
    if warps:
        model.add_outputs([warp.input_value(1) for warp in warps])
    model.validate_nodes_and_infer_types()


def _fill(request: Any, name: str, array: Any) -> None:
    """Write an array into the request's own input tensor, which has a leading batch of one."""
    request.get_tensor(name).data[0] = array


def _copy(request: Any, name: str) -> Any:
    """Return a copy of an output without its batch; the request overwrites its own next time."""
    return request.get_tensor(name).data[0].copy()
