"""The lines of a face mesh that show whether it sits on the face."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from avatarify_plus.face.landmarks import (
    FACE_OVAL,
    INNER_LIPS,
    LEFT_EYE,
    LEFT_IRIS,
    OUTER_LIPS,
    RIGHT_EYE,
    RIGHT_IRIS,
)
from avatarify_plus.pictures.text import Colour
from avatarify_plus.types import FloatArray, Image

BROWS = ((46, 53, 52, 65, 55), (70, 63, 105, 66, 107), (276, 283, 282, 295, 285), (300, 293, 334, 296, 336))
NOSE = (168, 6, 197, 195, 5, 4)


def _closed(ring: Sequence[int]) -> tuple[int, ...]:
    """Return a ring's points once round, from the first back to it."""
    return ring[0], *reversed(ring)


LINES = (
    _closed(FACE_OVAL),
    *BROWS,
    *map(_closed, (RIGHT_EYE.rim, LEFT_EYE.rim, RIGHT_IRIS, LEFT_IRIS)),
    NOSE,
    *map(_closed, (OUTER_LIPS, INNER_LIPS)),
)
"""Numbers of landmarks along the face's outline, brows, eyes, irises, nose and lips: the connections that MediaPipe's
own drawing uses, put in order."""

FRACTION_BITS = 3
"""OpenCV draws at eighths of a pixel."""


def draw_face(image: Image, landmarks: FloatArray, is_mirrored: bool, colour: Colour) -> None:
    """Draw the lines into an (H, W, 3) picture.

    landmarks: (478, 2 or more), x and y in [0, 1] of the picture, or of what it was before it was mirrored.
    """
    height, width = image.shape[:2]
    eighths = np.array([width, height], np.float32) * (1 << FRACTION_BITS)
    places = np.clip(landmarks[:, :2], -2, 3)
    if is_mirrored:
        places[:, 0] = 1 - places[:, 0]
    points = np.rint(places * eighths).astype(np.int32)
    lines = [points[list(line)] for line in LINES]
    cv2.polylines(image, lines, False, colour, 1, cv2.LINE_AA, FRACTION_BITS)
