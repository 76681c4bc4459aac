"""Keypoints as the graphs take them: the network's own, and the contours drawn from the points behind them."""

from __future__ import annotations

from typing import Any

import numpy as np

from avatarify_plus.engines.engine import Layers
from avatarify_plus.errors import EngineError
from avatarify_plus.face.contours import CONTOUR_POINTS, draw_contours
from avatarify_plus.motion.keypoints import first_keypoints
from avatarify_plus.network import tensor_names
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.types import FloatArray, Keypoints


def source_tensors(keypoints: Keypoints, config: NetworkConfig) -> dict[str, Any]:
    """Return what `animate` takes of the source's keypoints, by name, without the batch. Raises EngineError."""
    names = tensor_names.SOURCE_VALUE, tensor_names.SOURCE_JACOBIAN, tensor_names.SOURCE_CONTOURS
    return _tensors(keypoints, config, names)


def driving_tensors(keypoints: Keypoints, config: NetworkConfig) -> dict[str, Any]:
    """Return what `animate` takes of the driving keypoints, by name, without the batch. Raises EngineError."""
    names = tensor_names.DRIVING_VALUE, tensor_names.DRIVING_JACOBIAN, tensor_names.DRIVING_CONTOURS
    return _tensors(keypoints, config, names)


def contour_points_of(keypoints: Keypoints, config: NetworkConfig) -> FloatArray:
    """Return the contour points (117, 2) that come after the network's keypoints. Raises EngineError without them."""
    points: FloatArray = keypoints.value[config.keypoint_count :]
    if len(points) != len(CONTOUR_POINTS):
        raise EngineError(
            f"the model reads contours: it takes {config.keypoint_count} keypoints and then {len(CONTOUR_POINTS)} "
            f"contour points (motion.keypoints.with_points), found {len(keypoints.value)} in all"
        )
    return points


def resting_keypoints(config: NetworkConfig) -> Keypoints:
    """Return keypoints, and contour points if the model reads them, in the picture's middle."""
    count = config.keypoint_count + (len(CONTOUR_POINTS) if config.reads_contours else 0)
    return Keypoints(np.zeros((count, 2), np.float32), np.tile(np.eye(2, dtype=np.float32), (count, 1, 1)))


def animated(outputs: dict[str, Any]) -> Any:
    """Return what `Runtime.animate` returns for the graph's outputs, by name and without the batch."""
    if tensor_names.IMAGE in outputs:
        return outputs[tensor_names.IMAGE]
    kept = outputs[tensor_names.KEPT][..., 0]
    return Layers(outputs[tensor_names.PAINTED], kept, outputs[tensor_names.DEFORMATION])


def _tensors(keypoints: Keypoints, config: NetworkConfig, names: tuple[str, str, str]) -> dict[str, Any]:
    own = first_keypoints(keypoints, config.keypoint_count)
    tensors: dict[str, Any] = {name: np.asarray(part, np.float32) for name, part in zip(names[:2], own, strict=True)}
    if config.contour_width:
        tensors[names[2]] = draw_contours(contour_points_of(keypoints, config), config.contour_size)
    return tensors
