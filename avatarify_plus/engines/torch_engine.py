"""PyTorch, from the weights themselves: the yardstick of the other engines."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatarify_plus.bundle import Bundle
from avatarify_plus.config import Precision
from avatarify_plus.engines.engine import Source, require_detector, require_picture, require_precision
from avatarify_plus.errors import EngineError
from avatarify_plus.network import signatures as names
from avatarify_plus.network.graphs import build_graphs
from avatarify_plus.network.weights import read_model
from avatarify_plus.types import Image, Keypoints

logger = logging.getLogger(__name__)


class TorchEngine:
    """Computes on `device`, "cpu" or "cuda". The number of CPU threads holds for the whole process. See `Engine`."""

    def __init__(self, bundle: Bundle, threads: int | None, device: str, precision: Precision) -> None:
        self.name = "torch" if device == "cpu" else f"torch-{device}"
        require_precision(self.name, precision, ("auto", "fp32"), bundle)
        self.precision = "fp32"
        self.config = bundle.config
        self._bundle = bundle
        if device == "cuda" and not torch.cuda.is_available():
            raise EngineError(
                f"engine torch-cuda needs an NVIDIA GPU, torch {torch.__version__} finds none: install its CUDA build "
                "and the driver, or choose the engine torch"
            )
        if threads is not None:
            torch.set_num_threads(threads)
        self._device = torch.device(device)
        self._graphs = build_graphs(read_model(bundle.weights, self.config).to(self._device))
        self._signatures = names.signatures(self.config)
        self.device = (
            f"GPU ({torch.cuda.get_device_name()})" if device == "cuda" else f"CPU ({torch.get_num_threads()} threads)"
        )
        logger.info("PyTorch %s on %s", torch.__version__, self.device)

    def __enter__(self) -> TorchEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the network."""
        self._graphs.clear()

    def detect(self, image: Image) -> Keypoints:
        """See `Engine.detect`."""
        require_detector(self._bundle)
        require_picture(image, self.config)
        found = self._run(names.DETECT, {names.IMAGE: self._tensor(image, np.uint8)})
        return Keypoints(_array(found[names.VALUE]), _array(found[names.JACOBIAN]))

    def encode_source(self, image: Image, keypoints: Keypoints) -> Source:
        """See `Engine.encode_source`."""
        require_picture(image, self.config)
        value = self._tensor(keypoints.value, np.float32)
        jacobian = self._tensor(keypoints.jacobian, np.float32)
        encoded = self._run(
            names.ENCODE_SOURCE, {names.IMAGE: self._tensor(image, np.uint8), names.SOURCE_VALUE: value}
        )
        return Source(keypoints, encoded | {names.SOURCE_VALUE: value, names.SOURCE_JACOBIAN: jacobian})

    def animate(self, source: Source, keypoints: Keypoints) -> Image:
        """See `Engine.animate`."""
        driving = {
            names.DRIVING_VALUE: self._tensor(keypoints.value, np.float32),
            names.DRIVING_JACOBIAN: self._tensor(keypoints.jacobian, np.float32),
        }
        image: Image = _array(self._run(names.ANIMATE, source.tensors | driving)[names.IMAGE])
        return image

    def _run(self, graph: str, tensors: dict[str, Any]) -> dict[str, Tensor]:
        inputs, outputs = self._signatures[graph]
        with torch.inference_mode():
            results = self._graphs[graph](*(tensors[name] for name in inputs))
        return dict(zip(outputs, results, strict=True))

    def _tensor(self, array: Any, kind: type[np.generic]) -> Tensor:
        """Copy an array to the device, with a leading batch of one."""
        return torch.tensor(np.asarray(array, kind), device=self._device)[None]


def _array(tensor: Tensor) -> Any:
    """Return a tensor without its batch, as an array of its own."""
    return tensor[0].numpy(force=True).copy()
