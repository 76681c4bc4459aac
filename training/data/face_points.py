"""What training weighs and measures in a face: lips and eyelids, and how far mouth and eyes are open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from avatarify_plus.face.landmarks import (
    ACROSS_MOUTH,
    FACE_HEIGHT,
    INNER_LIPS,
    LEFT_EYE,
    OUTER_LIPS,
    RIGHT_EYE,
)
from avatarify_plus.types import FloatArray

LIPS = (*OUTER_LIPS, *INNER_LIPS)
"""The mesh points of the lips' outer and inner rims."""

EYELIDS = (*RIGHT_EYE.rim, *LEFT_EYE.rim)
"""The mesh points of both eyes' rims."""

NEAR_LIPS = (0, 17, 61, 291, 37, 267, 84, 314)
"""Some points of the lips' outer rim, close enough together to cover the lips with Gaussians."""

NEAR_EYES = (33, 133, 159, 145, 158, 153, 160, 144, 362, 263, 386, 374, 385, 380, 387, 373)
"""Some points of the eyes' rims, close enough together to cover the eyes with Gaussians."""


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


def _distance(mesh: FloatArray, points: Sequence[int]) -> NDArray[np.floating[Any]]:
    first, second = points
    return np.linalg.norm(mesh[..., first, :2] - mesh[..., second, :2], axis=-1)
