"""Places on the face by their numbers in MediaPipe's mesh of 478 points, and how far mouth and eyes are open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from avatarify_plus.types import FloatArray

LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
)
"""The lips: outer rim, inner rim."""

EYELIDS = (
    *(33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    *(263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
"""The eyelids' rims: the subject's right eye, left eye."""

OUTER_LIPS = (0, 17, 61, 291, 37, 267, 84, 314)
EYE_RIMS = (33, 133, 159, 145, 158, 153, 160, 144, 362, 263, 386, 374, 385, 380, 387, 373)
"""Some points of the rims, close enough together to cover lips and eyes with Gaussians."""

ACROSS_MOUTH = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318))
"""The upper and the lower lip's inner edge, one above the other, the middle of the mouth first."""

FACE_HEIGHT = (10, 152)
EYES = (((160, 144), (159, 145), (158, 153)), (33, 133)), (((385, 380), (386, 374), (387, 373)), (263, 362))
"""Per eye: the pairs across its opening, and the corners."""


class Openings(NamedTuple):
    """Gap between the lips over the face's height; gap between the lids over the eye's width, mean of both eyes."""

    mouth: NDArray[np.floating[Any]]
    eyes: NDArray[np.floating[Any]]


def openings(mesh: FloatArray) -> Openings:
    """Measure how far mouth and eyes of meshes (..., 478, 2 or 3) are open, each (...).

    Method: Soukupova and Cech 2016, for the eyes.
    """
    eyes = [
        np.mean([_distance(mesh, pair) for pair in across], axis=0) / np.maximum(_distance(mesh, corners), 1e-6)
        for across, corners in EYES
    ]
    mouth = _distance(mesh, ACROSS_MOUTH[0]) / np.maximum(_distance(mesh, FACE_HEIGHT), 1e-6)
    return Openings(mouth, np.mean(eyes, axis=0))


def _distance(mesh: FloatArray, points: Sequence[int]) -> NDArray[np.floating[Any]]:
    first, second = points
    return np.linalg.norm(mesh[..., first, :2] - mesh[..., second, :2], axis=-1)
