"""Contours of a face mesh as masks: lips, the gap between them, lids, irises and the face's outline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarify_plus.face.landmarks import (
    FACE_HEIGHT,
    FACE_OVAL,
    INNER_LIPS,
    LEFT_EYE,
    LEFT_IRIS,
    NOSE_BASE,
    OUTER_LIPS,
    RIGHT_EYE,
    RIGHT_IRIS,
)
from avatarify_plus.types import FloatArray, Mask

_RINGS = (OUTER_LIPS, INNER_LIPS, RIGHT_EYE.rim, LEFT_EYE.rim, RIGHT_IRIS, LEFT_IRIS, FACE_OVAL, (NOSE_BASE,))

CONTOUR_POINTS = tuple(point for ring in _RINGS for point in ring)
"""The mesh points that contours are drawn from, in the order in which functions here take them."""

_ENDS = np.cumsum([len(ring) for ring in _RINGS])
_OUTER_LIPS, _INNER_LIPS, _RIGHT_RIM, _LEFT_RIM, _RIGHT_IRIS, _LEFT_IRIS, _OVAL, _NOSE = (
    slice(int(end) - len(ring), int(end)) for ring, end in zip(_RINGS, _ENDS, strict=True)
)
_FOREHEAD = _OVAL.start + FACE_OVAL.index(FACE_HEIGHT[0])

EYE_RIMS = (_RIGHT_RIM, _LEFT_RIM)
"""Where the rims of the right and the left eye are among the contour points, see `landmarks.Eye.rim`."""

CONTOURS = ("oval", "lips", "gap", "eyes", "irises")
"""The channels of `draw_contours`."""

PART_CONTOURS = 2
"""The channels of a part's contours: lips and gap, or an eye's opening and its iris."""

MOUTH, RIGHT_EYE_PART, LEFT_EYE_PART = "mouth", "right eye", "left eye"

MOUTH_SIDE, EYE_SIDE = 1.0, 0.5
"""Sides of the squares around mouth and eyes, in distances from the top of the forehead to the nose's base."""

FINER = 2
"""Contours are drawn this much finer and averaged, so that half a pixel counts as half."""

SHIFT = 4
"""Fractional bits of the coordinates that OpenCV draws with."""


class PartSquare(NamedTuple):
    """A square around a part of the face, upright in the face.

    matrix: (2, 3), from the square's coordinates in [-1, 1] to the picture's. A left eye's square is mirrored, so that
    it looks like a right one.
    """

    matrix: FloatArray

    def inside(self, points: FloatArray) -> FloatArray:
        """Return points of the picture (N, 2) in the square's coordinates."""
        linear, shift = self.matrix[:, :2], self.matrix[:, 2]
        return ((points - shift) @ np.linalg.inv(linear).T).astype(np.float32)


def contour_points(mesh: FloatArray) -> FloatArray:
    """Return the points (117, 2) of a mesh (478, 2 or 3) that contours are drawn from; coordinates stay as they are."""
    return mesh[..., CONTOUR_POINTS, :2]


def draw_contours(points: FloatArray, size: int) -> Mask:
    """Draw the contours (5, size, size) of `contour_points` in [-1, 1], see CONTOURS."""
    eyes, irises = _draw_eyes(points, (_RIGHT_RIM, _LEFT_RIM), (_RIGHT_IRIS, _LEFT_IRIS), size)
    rings = (_OVAL, _OUTER_LIPS, _INNER_LIPS)
    return np.stack([*(_fill([points[ring]], size) for ring in rings), eyes, irises])


def part_squares(points: FloatArray) -> dict[str, PartSquare]:
    """Return the squares around mouth, right eye and left eye of `contour_points` in [-1, 1]."""
    down = points[_NOSE.start] - points[_FOREHEAD]
    length = max(float(np.linalg.norm(down)), 1e-3)
    down = down / length
    across = np.array([down[1], -down[0]], np.float32)
    squares = {}
    for name, ring, side, sign in (
        (MOUTH, _OUTER_LIPS, MOUTH_SIDE, 1),
        (RIGHT_EYE_PART, _RIGHT_RIM, EYE_SIDE, 1),
        (LEFT_EYE_PART, _LEFT_RIM, EYE_SIDE, -1),
    ):
        half, middle = side * length / 2, points[ring].mean(0)
        squares[name] = PartSquare(np.stack([sign * half * across, half * down, middle], 1).astype(np.float32))
    return squares


def draw_part(points: FloatArray, name: str, square: PartSquare, size: int) -> Mask:
    """Draw the contours (2, size, size) of a part in its square, see PART_CONTOURS."""
    inside = square.inside(points)
    if name == MOUTH:
        return np.stack([_fill([inside[_OUTER_LIPS]], size), _fill([inside[_INNER_LIPS]], size)])
    rim, iris = (_RIGHT_RIM, _RIGHT_IRIS) if name == RIGHT_EYE_PART else (_LEFT_RIM, _LEFT_IRIS)
    return np.stack(_draw_eyes(inside, (rim,), (iris,), size))


def _draw_eyes(points: FloatArray, rims: Sequence[slice], irises: Sequence[slice], size: int) -> tuple[Mask, Mask]:
    """Draw the openings of eyes and what can be seen of their irises in them, each (size, size)."""
    eyes = _canvas([points[rim] for rim in rims], size)
    discs = np.zeros_like(eyes)
    for iris in irises:
        middle = points[iris].mean(0)
        radius = float(np.linalg.norm(points[iris] - middle, axis=-1).mean())
        x, y = _fixed(middle[None], size)[0]
        reach = min(max(round(radius * size * FINER / 2 * (1 << SHIFT)), 0), 1 << 14)
        cv2.circle(discs, (int(x), int(y)), reach, 255, -1, cv2.LINE_8, SHIFT)
    return _averaged(eyes), _averaged(np.minimum(eyes, discs))


def _fill(polygons: Sequence[FloatArray], size: int) -> Mask:
    return _averaged(_canvas(polygons, size))


def _canvas(polygons: Sequence[FloatArray], size: int) -> Mask:
    canvas = np.zeros((FINER * size, FINER * size), np.uint8)
    for polygon in polygons:
        cv2.fillPoly(canvas, [_fixed(polygon, size)], 255, cv2.LINE_8, SHIFT)
    return canvas


def _fixed(points: FloatArray, size: int) -> NDArray[np.int32]:
    """Return points in [-1, 1] in OpenCV's fixed-point pixels of the finer canvas; far ones are kept near it."""
    pixels = (np.clip(points, -4, 4) + 1) * (FINER * size / 2) - 0.5
    return np.rint(pixels * (1 << SHIFT)).astype(np.int32)


def _averaged(canvas: Mask) -> Mask:
    size = canvas.shape[0] // FINER
    averaged: Mask = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return averaged
