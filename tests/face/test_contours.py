"""Contours are where the mesh says, and squares follow their part of the face."""

import numpy as np
import pytest

from avatarify_plus.face.contours import (
    CONTOUR_POINTS,
    CONTOURS,
    LEFT_EYE_PART,
    MOUTH,
    RIGHT_EYE_PART,
    contour_points,
    draw_contours,
    draw_part,
    part_squares,
)
from avatarify_plus.face.landmarks import INNER_LIPS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from avatarify_plus.types import FloatArray
from synthetic_cache import mean_face

HALF = 0.45


def face(opening: float = 0.0, roll_rad: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)) -> FloatArray:
    """Return a mesh (478, 2) in [-1, 1]; opening: how far the lower lip hangs, in picture halves."""
    mesh = mean_face().copy()
    mesh = HALF * (mesh - mesh.mean(0)) / np.abs(mesh - mesh.mean(0)).max()
    upper, lower = mesh[list(INNER_LIPS[11:20])], mesh[list(INNER_LIPS[1:10])]
    mesh[list(INNER_LIPS[1:10]), 1] = mesh[list(INNER_LIPS[11:20][::-1]), 1] + opening  # lips that touch, or hang
    assert len(upper) == len(lower) == 9
    mesh[list(OUTER_LIPS[1:10]), 1] += opening
    turn = np.array([[np.cos(roll_rad), np.sin(roll_rad)], [-np.sin(roll_rad), np.cos(roll_rad)]])
    return (mesh @ turn + shift).astype(np.float32)


def area(polygon: FloatArray) -> float:
    x, y = polygon.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def test_masks_cover_what_their_contours_enclose() -> None:
    points = contour_points(face(opening=0.15))
    assert points.shape == (len(CONTOUR_POINTS), 2)
    masks = dict(zip(CONTOURS, draw_contours(points, 128), strict=True))
    assert all(mask.shape == (128, 128) and mask.dtype == np.uint8 for mask in masks.values())
    lips, gap = points[:20], points[20:40]
    for name, polygon in (("lips", lips), ("gap", gap)):
        drawn = masks[name].astype(float).sum() / 255 * (2 / 128) ** 2
        assert drawn == pytest.approx(area(polygon), rel=0.12)
    inside = np.argwhere(masks["gap"] > 200).mean(0)
    assert (inside[::-1] + 0.5) * 2 / 128 - 1 == pytest.approx(gap.mean(0), abs=0.03)
    assert (masks["irises"] <= masks["eyes"]).all()
    assert masks["oval"].sum() > 5 * masks["lips"].sum()


def test_lips_that_touch_leave_no_gap() -> None:
    closed, opened = (draw_contours(contour_points(face(opening)), 128)[2].sum() for opening in (0.0, 0.1))
    assert closed < 0.25 * opened


def test_a_face_outside_the_picture_draws_nothing_and_does_not_fail() -> None:
    for shift in ((9.0, 0.0), (0.0, -1e6)):
        points = contour_points(face(shift=shift))
        assert draw_contours(points, 64).max() == 0
        for name, square in part_squares(points).items():
            assert draw_part(points, name, square, 64).shape == (2, 64, 64)


@pytest.mark.parametrize("roll", [0.0, 0.5, -1.2])
def test_squares_are_upright_in_the_face(roll: float) -> None:
    mesh = face(0.1, roll, (0.2, -0.1))
    squares = part_squares(contour_points(mesh))
    mouth = squares[MOUTH].inside(mesh[list(OUTER_LIPS)])
    assert np.abs(mouth.mean(0)).max() < 0.02 and np.abs(mouth).max() < 0.9
    corners = squares[MOUTH].inside(mesh[[61, 291]])
    assert corners[0, 0] < corners[1, 0] and corners[0, 1] == pytest.approx(corners[1, 1], abs=0.05)
    upper, lower = squares[MOUTH].inside(mesh[[0, 17]])
    assert upper[1] < lower[1]
    # the left eye's square is mirrored: the outer corner lies on the same side in both
    for name, eye in ((RIGHT_EYE_PART, RIGHT_EYE), (LEFT_EYE_PART, LEFT_EYE)):
        outer, inner = squares[name].inside(mesh[list(eye.corners)])
        assert outer[0] < 0 < inner[0]


def test_a_parts_contours_do_not_depend_on_where_its_face_is() -> None:
    drawn = []
    for roll, shift in ((0.0, (0.0, 0.0)), (0.7, (0.3, -0.2))):
        points = contour_points(face(0.12, roll, shift))
        squares = part_squares(points)
        drawn.append(
            {name: draw_part(points, name, squares[name], 64).astype(float) for name in (MOUTH, RIGHT_EYE_PART)}
        )
    for name in (MOUTH, RIGHT_EYE_PART):
        assert np.abs(drawn[0][name] - drawn[1][name]).mean() < 3
        assert drawn[0][name][0].sum() > drawn[0][name][1].sum() > 0
