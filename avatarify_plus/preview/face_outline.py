"""The lines of a face mesh that show whether it sits on the face."""

from __future__ import annotations

import cv2
import numpy as np

from avatarify_plus.pictures.text import Colour
from avatarify_plus.types import FloatArray, Image

LINES = (
    (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
     136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109, 10),
    (46, 53, 52, 65, 55),
    (70, 63, 105, 66, 107),
    (276, 283, 282, 295, 285),
    (300, 293, 334, 296, 336),
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7, 33),
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249, 263),
    (469, 470, 471, 472, 469),
    (474, 475, 476, 477, 474),
    (168, 6, 197, 195, 5, 4),
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146, 61),
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95, 78),
)  # fmt: skip
"""Numbers of landmarks along the jaw, brows, eyes, irises, nose, and lips: the connections that MediaPipe's own drawing
uses, put in order."""

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
