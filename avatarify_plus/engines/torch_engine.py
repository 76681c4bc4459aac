"""PyTorch, from the weights themselves: the reference for the other engines on the CPU, and fast on NVIDIA GPUs."""

from __future__ import annotations

import logging
from typing import Any, cast

import torch

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
from avatarify_plus.engines.torch_network import FloatingPrecision, TorchNetwork
from avatarify_plus.engines.warm_up import warm_up
from avatarify_plus.errors import EngineError, ModelError
from avatarify_plus.network.weights import read_model
from avatarify_plus.types import Image, Keypoints, PhotoRegion

logger = logging.getLogger(__name__)
PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "cpu": ("auto", "fp32", "bf16"),
    "cuda": ("auto", "fp32", "bf16", "fp16"),
}


class TorchEngine(Runtime):
    """Computes on `device`, "cpu" or "cuda", on the latter in a CUDA graph. See `Runtime`.

    The precision "auto" is float32 on the CPU and float16 on a GPU. The number of CPU threads is that of the process.
    """

    def __init__(self, bundle: Bundle, threads: int | None, device: str, precision: Precision, gpu: int = 0) -> None:
        self.name = "torch" if device == "cpu" else f"torch-{device}"
        require_precision(self.name, precision, PRECISIONS[device], bundle)
        if precision == "auto":
            precision = "fp16" if device == "cuda" else "fp32"
        self.precision: str = precision
        self.config = bundle.config
        self._bundle = bundle
        try:
            weights = bundle.weights
        except ModelError as error:
            raise EngineError(f"engine {self.name} cannot be loaded: {error}") from error
        if device == "cuda" and not torch.cuda.is_available():
            raise EngineError(
                f"engine torch-cuda needs an NVIDIA GPU, torch {torch.__version__} finds none: install its CUDA build "
                "and the driver, or choose the engine torch"
            )
        if device == "cuda":
            if gpu >= torch.cuda.device_count():
                raise EngineError(f"there is no GPU {gpu}: torch finds {torch.cuda.device_count()}, counted from 0")
            torch.cuda.set_device(gpu)
        if threads is not None:
            torch.set_num_threads(threads)
        where = (
            f"GPU ({torch.cuda.get_device_name(gpu)}" if device == "cuda" else f"CPU ({torch.get_num_threads()} threads"
        )
        self.device = f"{where}, {precision})"
        model, kind = read_model(weights, self.config), cast(FloatingPrecision, precision)
        try:
            self._network = TorchNetwork(
                model,
                torch.device(device, gpu) if device == "cuda" else torch.device(device),
                kind,
                records=device == "cuda",
            )
        except RuntimeError as error:  # of CUDA, such as when the GPU's memory is full
            reason = str(error).splitlines()[0]
            raise EngineError(f"engine {self.name} cannot load the model on {self.device}: {reason}") from error
        warm_up(self)
        logger.info("PyTorch %s on %s", torch.__version__, self.device)

    def close(self) -> None:
        """Release the network."""
        self._network.close()

    def detect(self, image: Image) -> Keypoints:
        """See `Engine.detect`."""
        require_detector(self._bundle)
        require_picture(image, self.config)
        return self._network.detect(image)

    def encode_source(self, image: Image, keypoints: Keypoints, photo: PhotoRegion | None = None) -> Source:
        """See `Engine.encode_source`."""
        require_picture(image, self.config)
        return Source(keypoints, self._network.encode_source(image, keypoints))

    def animate(self, source: Source, keypoints: Keypoints) -> Any:
        """See `Runtime.animate`."""
        return self._network.animate(source.tensors, keypoints)

    def paint(self, part: str, squares: PartSquares) -> Any:
        """See `Runtime.paint`."""
        return self._network.paint(part, squares)
