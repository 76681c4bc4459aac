"""OpenVINO: the fastest CPU runtime."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
import openvino

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
from avatarify_plus.engines.openvino_graph import keep_coordinates_exact, rows_of, warp_by_rows
from avatarify_plus.engines.signal_stack import kept_signal_stack
from avatarify_plus.engines.warm_up import warm_up
from avatarify_plus.errors import EngineError
from avatarify_plus.network import tensor_names
from avatarify_plus.types import Image, Keypoints, PhotoRegion

logger = logging.getLogger(__name__)

MAX_REASON = 400
"""So many characters of OpenVINO's own words are shown."""


class OperatorTime(NamedTuple):
    """How long an operator took. kind: its type. kernel: what computed it, with its precision at the end."""

    name: str
    kind: str
    kernel: str
    milliseconds: float


class OpenVinoEngine(Runtime):
    """Computes on the CPU, one picture at a time, for low latency. See `Runtime`.

    The precision applies to `animate`, except to the coordinates of its warps, and to `paint`. "auto" is int8 where the
    model has it, otherwise what OpenVINO prefers on this CPU. What an int8 graph keeps in floating point is float32:
    between int8 convolutions bfloat16 gains nothing; a painter without an int8 twin is computed in what OpenVINO
    prefers. `detect`, where rounding would make pictures tremble, and `encode_source`, computed once, are float32; with
    int8, `detect` is computed in what OpenVINO prefers: on live-256, bfloat16 moves keypoints by 0.03 px.
    """

    def __init__(self, bundle: Bundle, threads: int | None, precision: Precision, profiles: bool = False) -> None:
        """Load the graphs. profiles: whether to measure for `operator_times`."""
        self.name = "openvino"
        self.config = bundle.config
        self._bundle = bundle
        self._bound: Source | None = None
        self._outputs = tensor_names.signatures(self.config)[tensor_names.ANIMATE].outputs
        require_precision(self.name, precision, ("auto", "fp32", "bf16", "int8"), bundle)
        if precision == "auto" and bundle.has_graph(tensor_names.quantized(tensor_names.ANIMATE)):
            precision = "int8"
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "PERF_COUNT": profiles}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        with kept_signal_stack():
            core = openvino.Core()
            preferred = core.get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()
        self._rows: set[str] = set()
        self._requests: dict[str, Any] = {}
        asked = {"fp32": "f32", "bf16": "bf16"}.get(precision, preferred)
        is_int8 = precision == "int8"
        floats = {
            tensor_names.DETECT: preferred if is_int8 else "f32",
            tensor_names.ENCODE_SOURCE: "f32",
        }
        for name in tensor_names.signatures(self.config):
            follows = name not in floats
            has_twin = follows and is_int8 and bundle.has_graph(tensor_names.quantized(name))
            path = bundle.graph(tensor_names.quantized(name) if has_twin else name)
            if follows:
                floats[name] = "f32" if has_twin else asked
            try:
                model = core.read_model(path)
                if floats[name] != "f32":
                    keep_coordinates_exact(model)
                elif name == tensor_names.ANIMATE:
                    self._rows = warp_by_rows(model)
                compiled = core.compile_model(model, "CPU", options | {"INFERENCE_PRECISION_HINT": floats[name]})
            except RuntimeError as error:
                reason = " ".join(str(error).split())[:MAX_REASON]  # it names its source files, a line each
                raise EngineError(f"OpenVINO {openvino.__version__} cannot compile {path}: {reason}") from error
            self._requests[name] = compiled.create_infer_request()
        used = floats[tensor_names.ANIMATE]
        self.precision = "int8" if is_int8 else {"f32": "fp32", "f16": "fp16"}.get(used, used)
        cpu = core.get_property("CPU", "FULL_DEVICE_NAME")
        threads_used = compiled.get_property("INFERENCE_NUM_THREADS")
        self.device = f"CPU ({cpu}, {self.precision}, {threads_used} threads)"
        warm_up(self)
        self._bound = None  # the avatar of the warm-up is not kept
        logger.info("OpenVINO %s on %s", openvino.__version__, self.device)

    def close(self) -> None:
        """Release the compiled graphs."""
        self._bound = None
        self._requests.clear()

    def detect(self, image: Image) -> Keypoints:
        """See `Engine.detect`."""
        require_detector(self._bundle)
        require_picture(image, self.config)
        request = self._requests[tensor_names.DETECT]
        _fill(request, tensor_names.IMAGE, image)
        request.infer()
        return Keypoints(_copy(request, tensor_names.VALUE), _copy(request, tensor_names.JACOBIAN))

    def encode_source(self, image: Image, keypoints: Keypoints, photo: PhotoRegion | None = None) -> Source:
        """See `Engine.encode_source`."""
        require_picture(image, self.config)
        request = self._requests[tensor_names.ENCODE_SOURCE]
        own = source_tensors(keypoints, self.config)
        _fill(request, tensor_names.IMAGE, image)
        _fill(request, tensor_names.SOURCE_VALUE, own[tensor_names.SOURCE_VALUE])
        request.infer()
        tensors = {name: request.get_tensor(name).data for name in tensor_names.encoded_source(self.config)}
        tensors |= {name: rows_of(tensors[name]) for name in self._rows}
        for name, array in own.items():
            tensors[name] = np.asarray(array, np.uint8 if name == tensor_names.SOURCE_CONTOURS else np.float32)[None]
        return Source(keypoints, {name: openvino.Tensor(array.copy()) for name, array in tensors.items()})

    def animate(self, source: Source, keypoints: Keypoints) -> Any:
        """See `Runtime.animate`."""
        request = self._requests[tensor_names.ANIMATE]
        if source is not self._bound:
            for name, tensor in source.tensors.items():
                request.set_tensor(name, tensor)
            self._bound = source
        for name, array in driving_tensors(keypoints, self.config).items():
            _fill(request, name, array)
        request.infer()
        outputs = {name: _copy(request, name) for name in self._outputs}
        return animated(outputs)

    def paint(self, part: str, squares: PartSquares) -> Any:
        """See `Runtime.paint`."""
        request = self._requests[tensor_names.paint(part)]
        for name, pictures in squares._asdict().items():
            request.get_tensor(name).data[:] = pictures
        request.infer()
        return request.get_tensor(tensor_names.PART).data.copy()

    def operator_times(self, graph: str) -> list[OperatorTime]:
        """Return what each operator of a graph's last run took, in the order of computation. Needs `profiles`."""
        return [
            OperatorTime(entry.node_name, entry.node_type, entry.exec_type, entry.real_time.total_seconds() * 1000)
            for entry in self._requests[graph].get_profiling_info()
        ]


def _fill(request: Any, name: str, array: Any) -> None:
    """Write an array into the request's own input tensor, which has a leading batch of one."""
    request.get_tensor(name).data[0] = array


def _copy(request: Any, name: str) -> Any:
    """Return a copy of an output without its batch; the request overwrites its own next time."""
    return request.get_tensor(name).data[0].copy()
