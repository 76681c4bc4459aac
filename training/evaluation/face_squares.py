"""Squares of a face, placed by its mesh: around the mouth and around each eye, upright in the face."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from avatarify_plus.face.landmarks import FACE_HEIGHT, LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from avatarify_plus.types import FloatArray, Image
from training.evaluation.metrics import angles_deg

MOUTH_SIDE = 0.6
EYE_SIDE = 0.3
"""Sides of the squares as shares of the face's height."""

MOUTH_PX = 96
EYE_PX = 48
"""Sides of the squares in px once they are cut, whatever the picture's size."""


class FaceSquare(NamedTuple):
    """A square of a square picture: centre and side in [0, 1] of the picture, and how far it is turned clockwise."""

    centre: tuple[float, float]
    side: float
    roll_deg: float = 0.0

    def cut(self, image: Image, size_px: int) -> Image:
        """Cut the square out of a picture (S, S, 3), (size_px, size_px, 3).

        A square that shrinks is averaged, so that no fine pattern becomes a coarse one. Beyond the picture its edge is
        repeated.
        """
        picture_px = image.shape[0]
        multiple = max(1, math.ceil(self.side * picture_px / size_px))
        cut_px = size_px * multiple
        scale, roll = self.side * picture_px / cut_px, np.radians(self.roll_deg)
        turn = scale * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        start = np.array(self.centre) * picture_px - 0.5 + turn @ np.full(2, 0.5 - cut_px / 2)
        cut = cv2.warpAffine(
            image,
            np.column_stack([turn, start]),
            (cut_px, cut_px),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if multiple > 1:
            cut = cv2.resize(cut, (size_px, size_px), interpolation=cv2.INTER_AREA)
        found: Image = cut.astype(np.uint8, copy=False)
        return found


class FaceSquares(NamedTuple):
    """The squares of one face; the eyes' are the right one's and the left one's."""

    mouth: FaceSquare
    eyes: tuple[FaceSquare, FaceSquare]


def face_squares(mesh: FloatArray) -> FaceSquares:
    """Place the squares of a (478, 3) mesh.

    The mouth's is centred on the outer rim of the lips, an eye's on the rim of its lids.
    """
    height = float(np.linalg.norm(mesh[FACE_HEIGHT[0], :2] - mesh[FACE_HEIGHT[1], :2]))
    roll_deg = angles_deg(mesh)[2]

    def around(points: tuple[int, ...], side: float) -> FaceSquare:
        x, y = mesh[list(points), :2].mean(0)
        return FaceSquare((float(x), float(y)), side * height, roll_deg)

    right, left = (around(eye.rim, EYE_SIDE) for eye in (RIGHT_EYE, LEFT_EYE))
    return FaceSquares(around(OUTER_LIPS, MOUTH_SIDE), (right, left))
