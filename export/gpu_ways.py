"""The ways to compute a frame that `gpu_benchmark` measures, and the networks that they compute."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from avatarify_plus.bundle import Bundle, Manifest, open_bundle
from avatarify_plus.config import EngineName, Precision
from avatarify_plus.engines import open_engine, require_parts
from avatarify_plus.engines.engine import PartSquares, Runtime
from avatarify_plus.engines.keypoint_tensors import driving_tensors
from avatarify_plus.engines.photo_engine import PhotoEngine
from avatarify_plus.engines.torch_network import FloatingPrecision, TorchNetwork
from avatarify_plus.errors import EngineError
from avatarify_plus.face.contours import CONTOUR_POINTS, PART_CONTOURS
from avatarify_plus.motion.keypoints import with_points
from avatarify_plus.network import tensor_names
from avatarify_plus.network.config import NetworkConfig, network_config
from avatarify_plus.network.graphs import build_graphs
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.types import Image, Keypoints
from export.gpu_floor import Work, count_work

TORCH_WAYS = ("eager", "compiled", "graph", "compiled-graph")
"""PyTorch as it is, with torch.compile, recorded as a CUDA graph, and both."""

WAYS = (*TORCH_WAYS, "onnxruntime", "tensorrt")
COMPILE_MODES = ("default", "max-autotune-no-cudagraphs", "reduce-overhead")
PARTS = "parts"
"""The part of a frame that paints mouth and eyes, beside those that are graphs of their own."""

WARM_UP_COUNT = 3
"""Runs that do not count."""


class Scene(NamedTuple):
    """Two (S, S, 3) uint8 RGB pictures, their keypoints, and, for painters of parts, their squares by part."""

    source: Image
    driving: Image
    source_keypoints: Keypoints
    driving_keypoints: Keypoints
    squares: dict[str, PartSquares]


class BenchmarkNetwork:
    """The network of a size: `live` is a bundle, the others are preset `ours` with random weights.

    weights: where they come from, for people. scratch: the folder that it was exported to, if it was.
    """

    def __init__(self, size: str, name: str) -> None:
        """Raise ModelError if the bundle, by this name, cannot be read."""
        torch.manual_seed(0)
        self.size = size
        self.scratch: Path | None = None
        self._bundle = open_bundle(name) if size == "live" else None
        self.config = self._bundle.config if self._bundle else network_config("ours", size)
        self.scene = make_scene(self.config)
        if self._bundle and importlib.util.find_spec("safetensors"):
            from avatarify_plus.network.weights import read_model

            self.model = read_model(self._bundle.weights, self.config)
            self.weights = f"weights of {name}"
        else:
            self.model = AnimationModel(self.config).eval()
            self.weights = f"random weights{', safetensors is not installed' if self._bundle else ''}"

    def bundle(self, stack: ExitStack) -> Bundle:
        """Return the network as a bundle, which is exported the first time and lives as long as the stack.

        Raises EngineError if the export's packages are missing.
        """
        if self._bundle is None:
            try:
                from export.onnx_bundle import export_bundle, quiet_exporter
            except ImportError as error:
                raise EngineError(f"no ONNX graphs of size {self.size}, the export lacks {error.name}") from error
            quiet_exporter()
            self.scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            export_bundle(self.model, self.scratch / self.size, Manifest(f"ours-{self.size}", self.config))
            self._bundle = open_bundle(self.scratch / self.size)
        return self._bundle

    def work(self) -> dict[str, Work]:
        """Count what animating, detecting and painting parts must do."""
        graphs = build_graphs(self.model)
        encoded = TorchNetwork(self.model, torch.device("cpu")).encode_source(
            self.scene.source, self.scene.source_keypoints
        )
        driving = driving_tensors(self.scene.driving_keypoints, self.config)
        tensors = encoded | {name: torch.from_numpy(array)[None] for name, array in driving.items()}
        tensors[tensor_names.IMAGE] = torch.from_numpy(self.scene.driving)[None]
        signatures = tensor_names.signatures(self.config)
        counted = {
            name: count_work(graphs[name], *(tensors[each] for each in signatures[name].inputs))
            for name in (tensor_names.DETECT, tensor_names.ANIMATE)
            if name in graphs
        }
        painters = [
            count_work(graphs[tensor_names.paint(part)], *map(torch.from_numpy, squares))
            for part, squares in self.scene.squares.items()
        ]
        return counted | ({PARTS: Work(*map(sum, zip(*painters, strict=True)))} if painters else {})


def make_scene(config: NetworkConfig) -> Scene:
    """Return two pictures of noise with keypoints that differ by a little motion; seeded."""
    random = np.random.default_rng(0)
    size, count = config.image_size, config.keypoint_count
    source, driving = random.integers(0, 256, (2, size, size, 3), np.uint8)
    value = random.uniform(-0.6, 0.6, (count, 2))
    jacobian = (0.5 * np.eye(2) + random.normal(0, 0.05, (count, 2, 2))).astype(np.float32)
    moved = value + random.normal(0, 0.03, value.shape)
    first, second = (Keypoints(each.astype(np.float32), jacobian) for each in (value, moved))
    if config.reads_contours:
        angle = np.linspace(0, 2 * np.pi, len(CONTOUR_POINTS), endpoint=False)
        oval = np.stack([0.4 * np.cos(angle), 0.5 * np.sin(angle)], -1).astype(np.float32)
        first, second = with_points(first, oval), with_points(second, oval + np.float32(0.03))
    squares = {part: make_squares(part, random) for part in (tensor_names.PAINTED_PARTS if config.part_width else ())}
    return Scene(source, driving, first, second, squares)


def make_squares(part: str, random: np.random.Generator) -> PartSquares:
    """Return squares of noise for the painter of a part."""
    count, size = tensor_names.PART_COUNTS[part], tensor_names.PART_PX[part]
    given, reference = random.integers(0, 256, (2, count, size, size, 3), np.uint8)
    contours, own = random.integers(0, 256, (2, count, PART_CONTOURS, size, size), np.uint8)
    return PartSquares(given, contours, reference, own)


class OpenedWay(NamedTuple):
    """One way to compute, ready to run.

    name: one of WAYS. device: as the way itself names it. parts: what runs "animate" and, where there is such a thing,
    "detect" and "parts".
    """

    name: str
    precision: str
    device: str
    parts: dict[str, Callable[[], object]]


def open_way(
    stack: ExitStack, network: BenchmarkNetwork, way: str, precision: str, device: torch.device, compile_mode: str
) -> OpenedWay:
    """Open one way, closed with the stack, and warm it up. Raises EngineError if it cannot run.

    Detecting is float32 in all precisions, so that only the float32 one does it.
    """
    scene = network.scene
    try:
        if way in TORCH_WAYS:
            runner: Any = open_torch(network, way, precision, device, compile_mode)
            stack.callback(runner.close)
            where = device.type
        else:
            open_engine_of = open_tensorrt if way == "tensorrt" else open_onnxruntime
            runner = stack.enter_context(open_engine_of(stack, network, precision, device))
            where, precision = runner.device, runner.precision
        source = runner.encode_source(scene.source, scene.source_keypoints)
        parts: dict[str, Callable[[], object]] = {
            tensor_names.ANIMATE: lambda: runner.animate(source, scene.driving_keypoints)
        }
        if network.config.detected_count and precision == "fp32":
            parts[tensor_names.DETECT] = lambda: runner.detect(scene.driving)
        if scene.squares:
            parts[PARTS] = lambda: [runner.paint(part, squares) for part, squares in scene.squares.items()]
        for part in parts.values():
            for _ in range(WARM_UP_COUNT):
                part()
    except EngineError:
        raise
    except Exception as error:  # compilers and runtimes raise many kinds
        reason = (str(error).strip() or "it does not say why").splitlines()[0]
        raise EngineError(f"{type(error).__name__}: {reason}") from error
    return OpenedWay(way, precision, where, parts)


def open_torch(
    network: BenchmarkNetwork, way: str, precision: str, device: torch.device, compile_mode: str
) -> TorchNetwork:
    """Open PyTorch on the device. Raises EngineError for a CUDA graph on the CPU."""
    records = way.endswith("graph")
    if records and device.type == "cpu":
        raise EngineError("a CUDA graph needs --device cuda")
    mode = compile_mode if way.startswith("compiled") else None
    return TorchNetwork(network.model, device, cast(FloatingPrecision, precision), mode, records)


def open_onnxruntime(stack: ExitStack, network: BenchmarkNetwork, precision: str, device: torch.device) -> Runtime:
    """Open ONNX Runtime on the device; TF32 is what its "auto" is. Raises EngineError if it cannot."""
    name: EngineName = "onnxruntime-cuda" if device.type == "cuda" else "onnxruntime"
    require_parts(name)
    from avatarify_plus.engines.onnxruntime_provider import PROVIDERS, require_available

    require_available(PROVIDERS[device.type])  # before a network is exported for nothing
    asked = cast(Precision, "auto" if precision == "tf32" else precision)
    engine = open_engine(network.bundle(stack), name, precision=asked)
    return engine.runtime if isinstance(engine, PhotoEngine) else cast(Runtime, engine)


def open_tensorrt(stack: ExitStack, network: BenchmarkNetwork, precision: str, device: torch.device) -> Runtime:
    """Open TensorRT, after building missing engines; those of an exported network are not kept.

    Raises EngineError if something is missing, or the engines cannot be built.
    """
    if device.type == "cpu" or precision == "bf16":
        raise EngineError("TensorRT computes on a GPU, here in fp32 and fp16")
    require_parts("tensorrt")
    from avatarify_plus.engines.tensorrt_engine import TensorRtEngine
    from avatarify_plus.engines.tensorrt_plans import bundle_argument
    from export import trt

    bundle = network.bundle(stack)
    folder = network.scratch and network.scratch / "engines"
    arguments = [bundle_argument(bundle), "--precision", precision, *(["--cache", str(folder)] if folder else [])]
    with redirect_stdout(sys.stderr):
        if trt.main(arguments):
            raise EngineError("its engines cannot be built, see above")
    return TensorRtEngine(bundle, cast(Precision, precision), folder)
