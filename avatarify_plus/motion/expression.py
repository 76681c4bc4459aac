"""What people look at in a face is absolute: how far the lips are apart, how far the lids, and where the eyes look."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from avatarify_plus.face.landmarks import (
    FACE_HEIGHT,
    INNER_LIPS,
    LEFT_EYE,
    LEFT_IRIS,
    LIP_RINGS,
    NOSE_BASE,
    RIGHT_EYE,
    RIGHT_IRIS,
)
from avatarify_plus.types import FloatArray

LIP_PAIRS = 9
"""The pairs of lower and upper lip in a ring, between the corners."""

LID_PAIRS = 7
"""The pairs of lower and upper lid in a rim, between the corners."""

UPPER_LIP_SHARE, UPPER_LID_SHARE = 0.35, 0.85
"""The share of a change of the gap that the upper lip and the upper lid make; the lower ones make the rest."""

_LOWER_LIPS = np.array([ring[1 : LIP_PAIRS + 1] for ring in LIP_RINGS])  # (4, 9)
_UPPER_LIPS = np.array([ring[: -LIP_PAIRS - 1 : -1] for ring in LIP_RINGS])
_INNER_LOWER, _INNER_UPPER = _LOWER_LIPS[LIP_RINGS.index(INNER_LIPS)], _UPPER_LIPS[LIP_RINGS.index(INNER_LIPS)]

_EYES = (RIGHT_EYE, LEFT_EYE)
_LOWER_LIDS = np.array([eye.rim[1 : LID_PAIRS + 1] for eye in _EYES])  # (2, 7)
_UPPER_LIDS = np.array([eye.rim[: -LID_PAIRS - 1 : -1] for eye in _EYES])
_CORNERS = np.array([eye.corners for eye in _EYES])  # (2, 2): outer and inner
_IRISES = np.array([(min(ring) - 1, *ring) for ring in (RIGHT_IRIS, LEFT_IRIS)])  # (2, 5), the centre first


class Gaze(NamedTuple):
    """Where the irises are: the way from the middle between an eye's corners, over the eye's width, mean of both eyes.

    across: to the subject's left, along the line through the corners. up: square to it.
    """

    across: float
    up: float


def face_length(mesh: FloatArray) -> float:
    """Return the distance from the top of the forehead to the nose's base of a mesh (478, 3): no jaw changes it."""
    return max(float(np.linalg.norm(mesh[FACE_HEIGHT[0]] - mesh[NOSE_BASE])), 1e-6)


def upwards(mesh: FloatArray) -> FloatArray:
    """Return the direction (3,) from the nose's base to the top of the forehead of a mesh (478, 3)."""
    way = mesh[FACE_HEIGHT[0]] - mesh[NOSE_BASE]
    return np.asarray(way / max(float(np.linalg.norm(way)), 1e-6), np.float32)


def lip_gaps(mesh: FloatArray) -> FloatArray:
    """Return how far the inner lips of a mesh (478, 3) are apart, over `face_length`: (9,), right to left."""
    return np.asarray((mesh[_INNER_UPPER] - mesh[_INNER_LOWER]) @ upwards(mesh) / face_length(mesh), np.float32)


def set_lip_gaps(mesh: FloatArray, gaps: FloatArray) -> None:
    """Move the lips of a mesh (478, 3), in place, until they are as far apart as `lip_gaps` says."""
    missing = ((gaps - lip_gaps(mesh)) * face_length(mesh))[:, None] * upwards(mesh)  # (9, 3)
    mesh[_UPPER_LIPS] += UPPER_LIP_SHARE * missing
    mesh[_LOWER_LIPS] -= (1 - UPPER_LIP_SHARE) * missing


def lid_gaps(mesh: FloatArray) -> FloatArray:
    """Return how far the lids of a mesh (478, 3) are apart, over the eye's width: (2, 7), the right eye first."""
    _, up, width = _eye_frames(mesh)
    return np.asarray(np.einsum("epc,ec->ep", mesh[_UPPER_LIDS] - mesh[_LOWER_LIDS], up) / width[:, None], np.float32)


def set_lid_gaps(mesh: FloatArray, gaps: FloatArray) -> None:
    """Move the lids of a mesh (478, 3), in place, until they are as far apart as `lid_gaps` says."""
    _, up, width = _eye_frames(mesh)
    missing = ((gaps - lid_gaps(mesh)) * width[:, None])[..., None] * up[:, None]  # (2, 7, 3)
    mesh[_UPPER_LIDS] += UPPER_LID_SHARE * missing
    mesh[_LOWER_LIDS] -= (1 - UPPER_LID_SHARE) * missing


def gaze_of(mesh: FloatArray) -> Gaze:
    """Return where the eyes of a mesh (478, 3) look; the more open eye counts more."""
    places = iris_places(mesh)
    weights = np.maximum(lid_gaps(mesh).mean(1), 0.01)
    across, up = np.average(places, axis=0, weights=weights)
    return Gaze(float(across), float(up))


def iris_places(mesh: FloatArray) -> FloatArray:
    """Return where each iris is, see `Gaze`: (2, 2), the right eye first, across and up."""
    across, up, width = _eye_frames(mesh)
    ways = mesh[_IRISES[:, 0]] - mesh[_CORNERS].mean(1)
    places = np.stack([np.einsum("ec,ec->e", ways, across), np.einsum("ec,ec->e", ways, up)], 1)
    return np.asarray(places / width[:, None], np.float32)


def set_iris_places(mesh: FloatArray, places: FloatArray) -> None:
    """Move the irises of a mesh (478, 3), in place, to where `iris_places` says (2, 2)."""
    across, up, width = _eye_frames(mesh)
    missing = (places - iris_places(mesh)) * width[:, None]  # (2, 2)
    mesh[_IRISES] += (missing[:, :1] * across + missing[:, 1:] * up)[:, None]


def _eye_frames(mesh: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return for each eye: the direction to the subject's left (2, 3), that square to it and up (2, 3), width (2,)."""
    outer, inner = mesh[_CORNERS[:, 0]], mesh[_CORNERS[:, 1]]
    across = np.stack([inner[0] - outer[0], outer[1] - inner[1]])
    width = np.maximum(np.linalg.norm(across, axis=1), 1e-6)
    across = across / width[:, None]
    up = upwards(mesh)
    up = up - (across @ up)[:, None] * across
    return across, up / np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-6), width
