"""Squares lie where the mesh says, upright in the face, at one size whatever the picture's."""

import cv2
import numpy as np
import pytest

from avatarify_plus.types import FloatArray, Image
from fakes import plain_picture
from training.evaluation.face_squares import EYE_PX, MOUTH_PX, FaceSquare, face_squares
from training.evaluation.picture_fit import fit


def smooth_picture(side_px: int = 256) -> Image:
    y, x = np.mgrid[:side_px, :side_px] / side_px
    return np.stack([255 * x, 255 * y, 127 + 120 * np.sin(9 * x + 5 * y)], -1).astype(np.uint8)


def test_squares_are_placed_by_the_mesh(face: FloatArray) -> None:
    height = float(face[152, 1] - face[10, 1])
    mouth, (right, left) = face_squares(face)
    assert mouth.side == pytest.approx(0.6 * height) and right.side == left.side == pytest.approx(0.3 * height)
    assert mouth.centre[0] == pytest.approx(0.5, abs=1e-3) and face[0, 1] < mouth.centre[1] < face[17, 1]
    assert right.centre[0] < 0.5 < left.centre[0] and face[159, 1] < right.centre[1] < face[145, 1]  # the subject's own


def test_a_square_is_cut_exactly(face: FloatArray) -> None:
    picture = smooth_picture()
    np.testing.assert_array_equal(FaceSquare((0.5, 0.5), 0.375).cut(picture, 96), picture[80:176, 80:176])
    assert face_squares(face).mouth.cut(picture, MOUTH_PX).shape == (96, 96, 3)
    assert face_squares(face).eyes[0].cut(picture, EYE_PX).shape == (48, 48, 3)
    beyond = FaceSquare((0.0, 0.0), 0.5).cut(plain_picture(70, 64, 64), 32)
    assert (beyond == 70).all()  # the edge is repeated


def test_a_turned_face_gives_the_same_square(face: FloatArray) -> None:
    matrix = cv2.getRotationMatrix2D((127.5, 127.5), -25, 1)
    picture = smooth_picture()
    turned_picture = cv2.warpAffine(picture, matrix, (256, 256), flags=cv2.INTER_CUBIC).astype(np.uint8)
    places = (face[:, :2] * 256 - 0.5) @ matrix[:, :2].T + matrix[:, 2]
    turned = np.column_stack([(places + 0.5) / 256, face[:, 2]]).astype(np.float32)
    upright, found = (face_squares(mesh) for mesh in (face, turned))
    assert found.mouth.roll_deg == pytest.approx(25, abs=0.01)
    difference = cv2.absdiff(upright.mouth.cut(picture, 96), found.mouth.cut(turned_picture, 96))
    assert difference.mean() < 1


def test_fine_patterns_are_averaged_when_a_square_shrinks() -> None:
    board = np.repeat((np.indices((512, 512)).sum(0) % 2 * 255)[..., None], 3, 2).astype(np.uint8)
    cut = FaceSquare((0.5, 0.5), 1.0).cut(board, 128)
    assert abs(int(cut.min()) - 127) < 3 and abs(int(cut.max()) - 127) < 3
    large, square = smooth_picture(512), FaceSquare((0.5, 0.5), 0.4)
    assert cv2.absdiff(square.cut(large, 96), square.cut(fit(large, 256), 96)).mean() < 1


def test_pictures_are_fitted_both_ways() -> None:
    picture = smooth_picture(64)
    assert fit(picture, 64) is picture
    larger, smaller = fit(picture, 128), fit(picture, 32)
    assert larger.shape == (128, 128, 3) and smaller.shape == (32, 32, 3) and larger.dtype == np.uint8
    assert cv2.absdiff(fit(larger, 64), picture).mean() < 1
