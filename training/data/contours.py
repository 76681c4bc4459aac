"""The contours of a batch's meshes, drawn as the app draws them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatarify_plus.engines.photo_engine import PLACES, draw_squares
from avatarify_plus.face.contours import (
    contour_points,
    draw_contours,
    part_squares,
)
from avatarify_plus.network.dense_motion import Contours
from avatarify_plus.types import FloatArray, Mask


class PartContours(NamedTuple):
    """The squares around a part in B pictures, n each: matrices (B n, 2, 3), contours (B n, 2, s, s) in [0, 1]."""

    matrix: Tensor
    contours: Tensor


class BatchContours(NamedTuple):
    """The contours of a batch: of the whole pictures, and of each part in source and driving picture, by its name."""

    whole: Contours
    source: dict[str, PartContours]
    driving: dict[str, PartContours]


class _Drawn(NamedTuple):
    """What one mesh gives: contours (5, S, S); by part, matrices (n, 2, 3) and contours (n, 2, s, s)."""

    whole: Mask
    parts: dict[str, tuple[FloatArray, Mask]]


class ContourDrawer:
    """Draw the contours of whole batches, on several threads. size: side of the whole pictures' contours in px."""

    def __init__(self, size: int, threads: int) -> None:
        self._size = size
        self._executor = ThreadPoolExecutor(threads, "contours")

    def draw(self, source_mesh: Tensor, driving_mesh: Tensor) -> BatchContours:
        """Return the contours of meshes (B, 478, 2) in [0, 1], on their device."""
        device = source_mesh.device
        meshes = torch.cat([source_mesh, driving_mesh]).cpu().numpy() * 2 - 1
        drawn = list(self._executor.map(self._draw, contour_points(meshes)))
        half = len(drawn) // 2
        first, second = drawn[:half], drawn[half:]
        whole = Contours(*(_on_device(np.stack([d.whole for d in side]), device) for side in (first, second)))
        return BatchContours(whole, _parts(first, device), _parts(second, device))

    def close(self) -> None:
        """End the threads."""
        self._executor.shutdown()

    def _draw(self, points: FloatArray) -> _Drawn:
        squares = part_squares(points)
        parts = {}
        for part, names in PLACES.items():
            matrices = np.stack([squares[name].matrix for name in names])
            parts[part] = matrices, draw_squares(part, points, squares)
        return _Drawn(draw_contours(points, self._size), parts)


def _parts(drawn: list[_Drawn], device: torch.device) -> dict[str, PartContours]:
    parts = {}
    for part in PLACES:
        matrices, masks = (np.concatenate([d.parts[part][index] for d in drawn]) for index in (0, 1))
        parts[part] = PartContours(torch.from_numpy(matrices).to(device, non_blocking=True), _on_device(masks, device))
    return parts


def _on_device(masks: Mask, device: torch.device) -> Tensor:
    return torch.from_numpy(masks).to(device, non_blocking=True).float() / 255
