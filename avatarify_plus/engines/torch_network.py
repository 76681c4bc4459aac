"""A network's graphs on one device and in one precision: eager, compiled, or recorded as CUDA graphs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from avatarify_plus.engines.engine import PartSquares
from avatarify_plus.engines.keypoint_tensors import animated, driving_tensors, source_tensors
from avatarify_plus.face.contours import CONTOURS, PART_CONTOURS
from avatarify_plus.network import tensor_names
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.network.graphs import build_graphs
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.network.tensor_names import PAINTED_PARTS, PART_COUNTS, PART_PX
from avatarify_plus.types import Image, Keypoints

FloatingPrecision = Literal["fp32", "bf16", "fp16"]
TYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Compute: TypeAlias = Callable[[], tuple[Tensor, ...]]
WARM_UP_COUNT = 3
"""How often a computation runs before it is recorded: cuDNN and the compiler choose their kernels in the first runs."""


class TorchNetwork:
    """The verbs of `Runtime` on tensors with fixed addresses; all but `encode_source` wait for the device once.

    precision: of the convolutions of `animate` and `paint` and what lies between them; the coordinates of warps,
    sigmoids and the softmax stay float32, as do `detect` and `encode_source`. float32 is never TF32. compile_mode: one
    of torch.compile's. records: whether what runs for every frame is recorded as CUDA graphs when it first runs, and
    replayed; for CUDA only.
    """

    def __init__(
        self,
        model: AnimationModel,
        device: torch.device,
        precision: FloatingPrecision = "fp32",
        compile_mode: str | None = None,
        records: bool = False,
    ) -> None:
        self.config = model.config
        self._device = device
        self._type = TYPES[precision]
        self._signatures = tensor_names.signatures(self.config)
        self._graphs = build_graphs(model)
        self._parts = PAINTED_PARTS if self.config.part_width else ()
        for graph in self._graphs.values():
            graph.to(device)
            if device.type == "cuda" or self._type != torch.float32:
                graph.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's types
        if self._type != torch.float32:
            _narrow(self._graphs[tensor_names.ANIMATE].model, self._type)
            for part in self._parts:
                _narrow_all(self._graphs[tensor_names.paint(part)], self._type)
        if compile_mode:
            for name in set(self._graphs) - {tensor_names.ENCODE_SOURCE}:
                self._graphs[name].compile(mode=compile_mode, dynamic=False)
        size, count, found = self.config.image_size, self.config.keypoint_count, self.config.detected_count
        self._seen = _MirroredTensor((1, size, size, 3), torch.uint8, device)
        self._found = _MirroredTensor((6 * found,), torch.float32, device)
        self._driving = _MirroredTensor((6 * count,), torch.float32, device)
        drawn = (1, len(CONTOURS), self.config.contour_size, self.config.contour_size)
        self._contours = _MirroredTensor(drawn, torch.uint8, device)
        self._shapes = _animate_outputs(self.config)
        self._outputs = {name: _MirroredTensor(shape, kind, device) for name, (shape, kind) in self._shapes.items()}
        self._inputs = {
            tensor_names.DRIVING_VALUE: self._driving.device[: 2 * count].view(1, count, 2),
            tensor_names.DRIVING_JACOBIAN: self._driving.device[2 * count :].view(1, count, 2, 2),
        }
        if self.config.contour_width:
            self._inputs[tensor_names.DRIVING_CONTOURS] = self._contours.device
        self._shown: Mapping[str, Tensor] | None = None
        self._detect = _RecordableCall(self._compute_keypoints, records)
        self._animate = _RecordableCall(self._compute_picture, records)
        self._squares = {part: _part_inputs(part, device) for part in self._parts}
        self._painted = {
            part: _MirroredTensor((PART_COUNTS[part], PART_PX[part], PART_PX[part], 4), torch.uint8, device)
            for part in self._parts
        }
        self._paint = {part: _RecordableCall(partial(self._compute_part, part), records) for part in self._parts}

    def detect(self, image: Image) -> Keypoints:
        """Find the learned keypoints, see `Engine.detect`."""
        with self._arithmetic():
            self._seen.write(image)
            (found,) = self._detect()
            flat = self._found.read(found)
        count = self.config.detected_count
        return Keypoints(flat[: 2 * count].reshape(count, 2), flat[2 * count :].reshape(count, 2, 2))

    def encode_source(self, image: Image, keypoints: Keypoints) -> dict[str, Tensor]:
        """Return the tensors that `animate` needs of a source, by name, on the device, see `Engine.encode_source`."""
        own = {
            name: torch.tensor(np.asarray(array)).to(self._device)[None]
            for name, array in source_tensors(keypoints, self.config).items()
        }
        value = own[tensor_names.SOURCE_VALUE]
        with self._arithmetic():
            encoded = self._graphs[tensor_names.ENCODE_SOURCE](torch.tensor(image).to(self._device)[None], value)
        tensors = dict(zip(tensor_names.encoded_source(self.config), encoded, strict=True))
        for name in {tensor_names.FEATURE_QUARTER, tensor_names.FEATURE_HALF} & set(tensors):
            tensors[name] = tensors[name].to(self._type)
        return tensors | own

    def animate(self, source: Mapping[str, Tensor], keypoints: Keypoints) -> Any:
        """Return an encoded source in the pose of the keypoints, see `Runtime.animate`."""
        with self._arithmetic():
            if source is not self._shown:
                for name, tensor in source.items():
                    self._inputs.setdefault(name, torch.empty_like(tensor)).copy_(tensor)
                self._shown = source
            driving = driving_tensors(keypoints, self.config)
            self._driving.write(driving[tensor_names.DRIVING_VALUE], driving[tensor_names.DRIVING_JACOBIAN])
            if self.config.contour_width:
                self._contours.write(driving[tensor_names.DRIVING_CONTOURS])
            for tensor, output in zip(self._animate(), self._outputs.values(), strict=True):
                output.fetch(tensor)
            self._wait()
            outputs = {name: output.copy()[0] for name, output in self._outputs.items()}
        return animated(outputs)

    def paint(self, part: str, squares: PartSquares) -> Any:
        """Paint the squares of a part, see `Runtime.paint`."""
        with self._arithmetic():
            for tensor, pictures in zip(self._squares[part], squares, strict=True):
                tensor.write(pictures)
            (painted,) = self._paint[part]()
            return self._painted[part].read(painted)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.current_stream().synchronize()

    def close(self) -> None:
        """Release the graphs, their recordings and what they read."""
        self._graphs.clear()
        self._inputs.clear()
        self._shown = None
        self._detect.release()
        self._animate.release()
        for call in self._paint.values():
            call.release()

    def _compute_keypoints(self) -> tuple[Tensor, ...]:
        found = self._graphs[tensor_names.DETECT](self._seen.device)
        return (torch.cat([part.flatten() for part in found]),)  # (2 L + 4 L,)

    def _compute_picture(self) -> tuple[Tensor, ...]:
        inputs = (self._inputs[name] for name in self._signatures[tensor_names.ANIMATE].inputs)
        with self._rounding():
            outputs = self._graphs[tensor_names.ANIMATE](*inputs)
        return tuple(output.contiguous() for output in outputs)

    def _compute_part(self, part: str) -> tuple[Tensor, ...]:
        with self._rounding():
            (painted,) = self._graphs[tensor_names.paint(part)](*(square.device for square in self._squares[part]))
        return (painted.contiguous(),)

    def _rounding(self) -> contextlib.AbstractContextManager[object]:
        """Let convolutions cast their inputs to the weights' type."""
        if self._type == torch.float32:
            return contextlib.nullcontext()
        # No cache: the weights are narrow already, and a recording must not refer to copies that are freed.
        return torch.autocast(self._device.type, self._type, cache_enabled=False)

    @contextlib.contextmanager
    def _arithmetic(self) -> Iterator[None]:
        """Switch gradients off, let cuDNN choose among its kernels, and keep it from rounding to TF32."""
        with torch.inference_mode():
            if self._device.type == "cpu":
                yield
                return
            with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
                yield


class _MirroredTensor:
    """A tensor on the device and its copy in pinned main memory; on the CPU they are the same tensor."""

    def __init__(self, shape: tuple[int, ...], kind: torch.dtype, device: torch.device) -> None:
        self._is_cpu = device.type == "cpu"
        self._host = torch.zeros(shape, dtype=kind, pin_memory=not self._is_cpu)
        self.device = self._host.to(device)

    def write(self, *arrays: Any) -> None:
        """Fill both with the arrays' values, one after the other; the device has them before its next computation."""
        np.concatenate([np.ravel(array) for array in arrays], out=self._host.numpy().reshape(-1))
        if not self._is_cpu:
            self.device.copy_(self._host, non_blocking=True)

    def read(self, tensor: Tensor) -> Any:
        """Wait for a tensor of this shape from the device and return it as an array that nothing overwrites."""
        if self._is_cpu:
            return tensor.numpy()
        self.fetch(tensor)
        torch.cuda.current_stream().synchronize()
        return self.copy()

    def fetch(self, tensor: Tensor) -> None:
        """Start copying a tensor of this shape from the device."""
        self._host.copy_(tensor, non_blocking=True)

    def copy(self) -> Any:
        """Return what is in main memory as an array that nothing overwrites."""
        return self._host.numpy().copy()


def _animate_outputs(config: NetworkConfig) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Return shapes and types of what `animate` returns, by name and in order."""
    size, small = config.image_size, config.motion_size
    known = {
        tensor_names.IMAGE: ((1, size, size, 3), torch.uint8),
        tensor_names.PAINTED: ((1, size, size, 3), torch.uint8),
        tensor_names.KEPT: ((1, size, size, 1), torch.uint8),
        tensor_names.DEFORMATION: ((1, small, small, 2), torch.float32),
    }
    return {name: known[name] for name in tensor_names.signatures(config)[tensor_names.ANIMATE].outputs}


def _part_inputs(part: str, device: torch.device) -> tuple[_MirroredTensor, ...]:
    """Return what `paint` takes, in the order of `PartSquares`."""
    count, size = PART_COUNTS[part], PART_PX[part]
    shapes = (count, size, size, 3), (count, PART_CONTOURS, size, size)
    return tuple(_MirroredTensor(shape, torch.uint8, device) for shape in (*shapes, *shapes))


class _RecordableCall:
    """A computation on fixed tensors; with `records` its first run is recorded as a CUDA graph, then replayed."""

    def __init__(self, compute: Compute, records: bool) -> None:
        self._compute = compute
        self._run: Compute | None = None if records else compute

    def __call__(self) -> tuple[Tensor, ...]:
        if self._run is None:
            self._run = _record(self._compute)
        return self._run()

    def release(self) -> None:
        """Release the recording."""
        self._run = self._compute


def _narrow(model: Any, kind: torch.dtype) -> None:
    """Store the convolutions that `animate` runs in a narrower type; those that encode the source stay as they are."""
    encoder = {*model.generator.first.modules(), *model.generator.down_blocks.modules()}
    for layer in (*model.dense_motion.modules(), *model.generator.modules()):
        if isinstance(layer, nn.Conv2d) and layer not in encoder:
            layer.to(kind)


def _narrow_all(graph: nn.Module, kind: torch.dtype) -> None:
    """Store all convolutions of a graph in a narrower type."""
    for layer in graph.modules():
        if isinstance(layer, nn.Conv2d):
            layer.to(kind)


def _record(compute: Compute) -> Compute:
    """Record a computation as a CUDA graph; return a function that runs it again, into the same outputs."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP_COUNT):
            compute()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = compute()

    def replay() -> tuple[Tensor, ...]:
        graph.replay()
        return outputs

    return replay
