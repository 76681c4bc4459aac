"""Where a face is in space: the similarity that takes one face's skull to another's."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from avatarify_plus.face.landmarks import SKULL
from avatarify_plus.types import FloatArray

_SKULL = np.array(SKULL)


class Pose(NamedTuple):
    """A similarity of space: x becomes scale * rotation @ x + shift. rotation: (3, 3). shift: (3,)."""

    scale: float
    rotation: FloatArray
    shift: FloatArray

    def apply(self, points: FloatArray) -> FloatArray:
        """Move points (N, 3)."""
        return points @ (self.scale * self.rotation.T) + self.shift

    def undo(self, points: FloatArray) -> FloatArray:
        """Move points (N, 3) back."""
        return (points - self.shift) @ (self.rotation / self.scale)


def fit_pose(first: FloatArray, second: FloatArray) -> Pose:
    """Return what takes the skull of a first face mesh (478, 3) to that of a second, least squares.

    Method: Umeyama 1991.
    """
    source, target = first[_SKULL].astype(np.float64), second[_SKULL].astype(np.float64)
    source_middle, target_middle = source.mean(0), target.mean(0)
    source, target = source - source_middle, target - target_middle
    left, sizes, right = np.linalg.svd(target.T @ source)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])  # no mirror images
    rotation = (left * signs) @ right
    scale = float((sizes * signs).sum() / max(np.square(source).sum(), 1e-12))
    scale = max(scale, 1e-6)
    shift = target_middle - scale * rotation @ source_middle
    return Pose(scale, rotation.astype(np.float32), shift.astype(np.float32))


def skull_middle(mesh: FloatArray) -> FloatArray:
    """Return the middle (3,) of the skull's points of a mesh (478, 3)."""
    return np.asarray(mesh[_SKULL].mean(0), np.float32)


def rotation_vector(rotation: FloatArray) -> FloatArray:
    """Return the axis of a rotation (3, 3), as long as its angle in radians: (3,)."""
    return np.asarray(cv2.Rodrigues(rotation.astype(np.float64))[0][:, 0], np.float32)


def part_of_rotation(rotation: FloatArray, share: float) -> FloatArray:
    """Return a rotation (3, 3) about the same axis by a share of the angle."""
    if share == 1:
        return rotation
    return np.asarray(cv2.Rodrigues(share * rotation_vector(rotation).astype(np.float64))[0], np.float32)
