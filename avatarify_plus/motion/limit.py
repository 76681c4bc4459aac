"""Keeping motion within what training saw: beyond it, pictures are guesses, and a hand before the face tears them.

Knees are about the 99.9th percentile, ends the maximum, of what driving faces differ by from their sources in 24,000
training pairs (chosen by `training/data/pairs.py` with its usual options from 1,321 clips and 1,100 photos, seed 7);
those of learned keypoints are of 1,920 pairs seen by live-256. Of the 7,639 frames of the validation clips, seen from
each clip's first frame, none exceeds a knee; of the training clips' 73,855 frames 0.47 % do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from avatarify_plus.motion.keypoints import first_keypoints, invert
from avatarify_plus.types import FloatArray, Keypoints

ComplexArray = NDArray[np.complexfloating[Any, Any]]
"""Points of the picture as x + iy."""


class SoftLimit(NamedTuple):
    """A soft bound: what is below the knee passes unchanged, what is beyond it is bent to stay below the end."""

    knee: float
    end: float


TRAVEL = SoftLimit(0.97, 1.21)
"""The distance that the face's middle moves, in picture halves."""

ZOOM = SoftLimit(0.38, 0.51)
"""Logarithm of the face's size over the source's."""

TURN = SoftLimit(0.42, 0.66)
"""The face's rotation in the picture, in radians; also that of a keypoint's surroundings against the face's."""

OUTER = ("jaw", "cheek", "brow", "tip")
"""Endings of the names of keypoints that move farther when a head turns: sides of the face, tip of the nose."""

LOCAL_TRAVEL, OUTER_LOCAL_TRAVEL = SoftLimit(0.55, 0.68), SoftLimit(1.10, 1.34)
"""The distance that a keypoint moves beyond what the whole face does, in RMS radii of the source's keypoints."""

STRETCH, OUTER_STRETCH = SoftLimit(0.75, 1.09), SoftLimit(1.60, 2.14)
"""Logarithm of how a keypoint's surroundings grow or shrink along an axis, beyond what the whole face does."""

LEARNED_TRAVEL = SoftLimit(0.72, 0.83)
"""The distance that a learned keypoint moves, in picture halves."""

LEARNED_STRETCH = SoftLimit(1.08, 1.84)
"""Logarithm of how a learned keypoint's surroundings grow or shrink along an axis; it does not lie on one face."""

MIN_STRETCH = 1e-4
"""The smallest factor that is used, where a matrix turns inside out."""


class MotionLimit:
    """Keep keypoints within reach of the source's.

    The first keypoints lie on one face and have the names `face_names`: what they do together and what each does beyond
    that are limited separately. Points are complex numbers here, so that a factor turns and zooms; a keypoint's matrix
    is that of z -> a z + b z*. Contour points behind the keypoints are moved as the nearest keypoint of the face is.
    """

    def __init__(self, source: Keypoints, face_names: Sequence[str], count: int | None = None) -> None:
        """count: how many keypoints are limited; contour points follow them. None: all."""
        self._count = count
        points, source = source.value[count:] if count else source.value[:0], first_keypoints(source, count)
        ways = points[:, None] - source.value[None, : len(face_names)]  # (N, K, 2)
        self._nearest = np.square(ways).sum(-1).argmin(1) if len(points) else np.zeros(0, np.intp)
        self._source = _complex(source.value)  # (K,)
        self._source_jacobian = source.jacobian
        self._inverse = invert(source.jacobian)
        self._is_face = np.arange(len(self._source)) < len(face_names)
        self._middle = self._middle_of(self._source)
        self._places = np.where(self._is_face, self._source - self._middle, 0)  # (K,) on the face
        radius = float(np.sqrt(np.square(np.abs(self._places)).sum() / max(len(face_names), 1)))
        local_travels, stretches = [LEARNED_TRAVEL] * len(self._source), [LEARNED_STRETCH] * len(self._source)
        for index, name in enumerate(face_names):
            is_outer = name.endswith(OUTER)
            knee, end = OUTER_LOCAL_TRAVEL if is_outer else LOCAL_TRAVEL
            local_travels[index] = SoftLimit(knee * radius, end * radius)
            stretches[index] = OUTER_STRETCH if is_outer else STRETCH
        self._local_travel, self._stretch = np.array(local_travels).T, np.array(stretches).T  # (2, K): knees and ends

    def apply(self, keypoints: Keypoints) -> Keypoints:
        """Return keypoints, (K, 2) and (K, 2, 2), within reach: the same object if they already are."""
        own = first_keypoints(keypoints, self._count)
        limited = self._limited(own)
        if limited is own:
            return keypoints
        if not len(self._nearest):
            return limited
        count = len(own.value)
        points = keypoints.value[count:] + (limited.value - own.value)[self._nearest]
        return Keypoints(
            np.concatenate([limited.value, points]), np.concatenate([limited.jacobian, keypoints.jacobian[count:]])
        )

    def _limited(self, keypoints: Keypoints) -> Keypoints:
        # what the face does as a whole, and each keypoint beyond that
        moved = _complex(keypoints.value)
        middle = self._middle_of(moved)
        travel = middle - self._middle
        factor = self._factor(moved - middle)
        local_travel = moved - self._carried(travel, factor)
        alike, mirrored = _split(keypoints.jacobian @ self._inverse)
        alike, mirrored = (np.where(self._is_face, part / factor, part) for part in (alike, mirrored))
        longer, shorter = np.abs(alike) + np.abs(mirrored), np.abs(alike) - np.abs(mirrored)  # singular values
        stretches = np.log(np.maximum([longer, shorter], MIN_STRETCH))  # (2, K)

        # what exceeds its reach: zero, to the last bit, for what does not
        excesses = (
            _excess(np.abs(travel), TRAVEL),
            _excess(np.log(np.abs(factor)), ZOOM),
            _excess(np.angle(factor), TURN),
            _excess(np.abs(local_travel), self._local_travel),
            _excess(np.angle(alike), TURN),
            _excess(stretches, self._stretch),
        )
        if not any(np.any(excess) for excess in excesses):
            return keypoints

        # the same motion without it
        travel_excess, zoom_excess, turn_excess, local_travel_excess, angles, stretch_excess = excesses
        factor = factor * np.exp(-zoom_excess - 1j * turn_excess)
        carried = self._carried(_shorter(travel, travel_excess), factor)
        longer, shorter = np.exp(stretches - stretch_excess)
        factors = np.where(self._is_face, factor, 1) * np.exp(-1j * angles)
        alike = factors * _direction(alike) * (longer + shorter) / 2
        mirrored = factors * _direction(mirrored) * (longer - shorter) / 2
        value = carried + _shorter(local_travel, local_travel_excess)
        return Keypoints(
            np.stack([value.real, value.imag], -1).astype(np.float32),
            (_join(alike, mirrored) @ self._source_jacobian).astype(np.float32),
        )

    def _middle_of(self, points: ComplexArray) -> complex:
        """Return the mean of the points on the face; 0 without a face."""
        return complex(points[self._is_face].mean()) if self._is_face.any() else 0j

    def _factor(self, moved: ComplexArray) -> complex:
        """Return what turns and zooms the source's face onto centred points, least squares; 1 without a face."""
        if not self._is_face.any():
            return 1 + 0j
        factor = complex(np.vdot(self._places, moved) / np.vdot(self._places, self._places))
        return factor if abs(factor) > MIN_STRETCH else MIN_STRETCH + 0j

    def _carried(self, travel: complex, factor: complex) -> ComplexArray:
        """Return where the source's points lie (K,) if the face moves as a whole; the others stay."""
        return np.where(self._is_face, self._middle + travel + factor * self._places, self._source)


def _excess(amount: Any, limit: Any) -> Any:
    """Return what must be taken off an amount of either sign, so that it bends at the knee and stays below the end."""
    knee, end = limit
    beyond = np.maximum(np.abs(amount) - knee, 0)
    return np.copysign(beyond - (end - knee) * np.tanh(beyond / (end - knee)), amount)


def _shorter(way: Any, by: Any) -> Any:
    """Return ways, complex, shortened by lengths that are less than theirs."""
    return way * (1 - by / np.maximum(np.abs(way), MIN_STRETCH))


def _complex(points: FloatArray) -> ComplexArray:
    """Return (K, 2) as (K,)."""
    wide = points.astype(np.float64)
    return wide[:, 0] + 1j * wide[:, 1]


def _split(matrices: FloatArray) -> tuple[ComplexArray, ComplexArray]:
    """Return a and b (K,) of z -> a z + b z* for (K, 2, 2) matrices."""
    (p, q), (r, s) = matrices.astype(np.float64).transpose(1, 2, 0)
    return (p + s + 1j * (r - q)) / 2, (p - s + 1j * (r + q)) / 2


def _join(alike: ComplexArray, mirrored: ComplexArray) -> FloatArray:
    """Return the matrices (K, 2, 2) of z -> a z + b z*."""
    total, difference = alike + mirrored, alike - mirrored
    rows = [[total.real, -difference.imag], [total.imag, difference.real]]
    return np.asarray(rows).transpose(2, 0, 1)


def _direction(numbers: ComplexArray) -> ComplexArray:
    """Return complex numbers of length 1."""
    return np.exp(1j * np.angle(numbers))
