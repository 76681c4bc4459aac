"""What training weighs and measures in a face: lips and eyelids, how far mouth and eyes are open, where they look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from avatarify_plus.errors import DataError
from avatarify_plus.face.landmarks import (
    ACROSS_MOUTH,
    FACE_HEIGHT,
    INNER_LIPS,
    LEFT_EYE,
    LEFT_IRIS,
    OUTER_LIPS,
    RIGHT_EYE,
    RIGHT_IRIS,
)
from avatarify_plus.types import FloatArray

FARTHEST = 100.0
"""No landmark of a face that was found lies so many sides of its picture away."""

LIPS = (*OUTER_LIPS, *INNER_LIPS)
"""The mesh points of the lips' outer and inner rims."""

EYELIDS = (*RIGHT_EYE.rim, *LEFT_EYE.rim)
"""The mesh points of both eyes' rims."""

NEAR_LIPS = (0, 17, 61, 291, 37, 267, 84, 314)
"""Some points of the lips' outer rim, close enough together to cover the lips with Gaussians."""

NEAR_EYES = (33, 133, 159, 145, 158, 153, 160, 144, 362, 263, 386, 374, 385, 380, 387, 373)
"""Some points of the eyes' rims, close enough together to cover the eyes with Gaussians."""


def require_face(mesh: FloatArray) -> None:
    """Raise DataError if landmarks (478, 2 or 3) in [0, 1] of the frame are no face's, but numbers of a damaged file.

    Nothing that was computed with them would mean anything.
    """
    if not np.abs(mesh).max() <= FARTHEST:
        raise DataError("landmarks in the decoded cache are no face's: it is damaged, delete it to have it made again")


class Openings(NamedTuple):
    """Gap between the lips over the face's height; gap between the lids over the eye's width, mean of both eyes."""

    mouth: NDArray[np.floating[Any]]
    eyes: NDArray[np.floating[Any]]


def openings(mesh: FloatArray) -> Openings:
    """Measure how far mouth and eyes of meshes (..., 478, 2 or 3) are open, each (...).

    Method: Soukupova and Cech 2016, for the eyes.
    """
    eyes = [
        np.mean([_distance(mesh, pair) for pair in eye.across], axis=0) / np.maximum(_distance(mesh, eye.corners), 1e-6)
        for eye in (RIGHT_EYE, LEFT_EYE)
    ]
    mouth = _distance(mesh, ACROSS_MOUTH[0]) / np.maximum(_distance(mesh, FACE_HEIGHT), 1e-6)
    return Openings(mouth, np.mean(eyes, axis=0))


def lip_gap_px(mesh: FloatArray) -> float:
    """Return how far the inner lips of a mesh (478, 2 or 3) are apart in their middle, in px of a 256 px picture."""
    return 256 * float(_distance(mesh, ACROSS_MOUTH[0]))


def looks_aside(mesh: FloatArray) -> float:
    """Return how far the irises of a mesh (478, 2 or 3) are from the middle between the eye's corners.

    It is measured along the line through the corners, as a share of half the eye's width, mean of both eyes: 0 looks
    ahead, 1 puts the iris on a corner. Positive looks to the picture's right.
    """
    offsets = []
    for iris, (first, second) in ((RIGHT_IRIS, RIGHT_EYE.corners), (LEFT_IRIS, LEFT_EYE.corners[::-1])):
        across = mesh[second, :2] - mesh[first, :2]
        offset = mesh[iris[0] - 1, :2] - (mesh[first, :2] + mesh[second, :2]) / 2  # the centre is before the ring
        offsets.append(2 * float(offset @ across) / max(float(across @ across), 1e-12))
    return float(np.mean(offsets))


def _distance(mesh: FloatArray, points: Sequence[int]) -> NDArray[np.floating[Any]]:
    first, second = points
    return np.linalg.norm(mesh[..., first, :2] - mesh[..., second, :2], axis=-1)
