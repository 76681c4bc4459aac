"""What holds for the squares around faces, wherever the face is and however large."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarify_plus.face.driver_framing import DriverFraming, square_around, within
from avatarify_plus.face.photo_framing import INSIDE_SHARES, INSIDE_SHIFT, _moved_inside, tile_starts
from avatarify_plus.pictures.images import Box, centred_square
from avatarify_plus.types import FloatArray, Frame
from fakes import face_mesh, plain_picture
from properties import REPEATABLE, meshes, numbers

SIDES = st.integers(16, 200)


def corners(box: Box) -> list[float]:
    return [box.left, box.top, box.left + box.width, box.top + box.height]


@REPEATABLE
@given(meshes(), numbers(0.1, 1000), numbers(-1000, 1000), numbers(-1000, 1000))
def test_the_square_goes_with_the_face_and_holds_it(face: FloatArray, scale: float, x: float, y: float) -> None:
    box = square_around(face)
    moved = square_around(face * np.float32(scale) + np.array([x, y, 0], np.float32))
    wanted = [scale * place + shift for place, shift in zip(corners(box), (x, y, x, y), strict=True)]
    assert corners(moved) == pytest.approx(wanted, rel=1e-3, abs=1e-3 * (scale + abs(x) + abs(y)))
    assert box.width == box.height > 0
    inside = within(box, face)[:, :2]
    assert inside.min() >= 0 and inside.max() <= 1


@REPEATABLE
@given(SIDES, SIDES)
def test_the_middle_square_is_inside_and_tiles_cover_a_length(height: int, width: int) -> None:
    box = centred_square(plain_picture(0, height, width))
    assert box.width == box.height == min(height, width)
    assert box.left >= 0 and box.top >= 0 and corners(box)[2] <= width and corners(box)[3] <= height
    length, side = max(height, width), min(height, width)
    starts = tile_starts(length, side)
    assert starts[0] == 0 and starts[-1] + side == length
    assert all(0 < after - before <= side / 2 + 1 for before, after in itertools.pairwise(starts))


@REPEATABLE
@given(SIDES, SIDES, numbers(-100, 300), numbers(-100, 300), numbers(4, 400))
def test_a_photos_square_is_moved_and_shrunk_a_little_to_be_inside_the_photo(
    height: int, width: int, left: float, top: float, side: float
) -> None:
    wanted, photo = Box(left, top, side, side), plain_picture(0, height, width)
    box = _moved_inside(wanted, photo)
    assert INSIDE_SHARES[-1] * side <= box.width == box.height <= side
    for start, own, found in ((left, wanted.width, box.left), (top, wanted.height, box.top)):
        assert abs(found + box.width / 2 - start - own / 2) <= INSIDE_SHIFT * box.width * 1.001
    reach = (INSIDE_SHIFT + (1 - INSIDE_SHARES[-1]) / 2) * INSIDE_SHARES[-1] * side
    beyond = max(-left, -top, left + side - width, top + side - height)
    if beyond <= 0:
        assert box == wanted, "what is inside stays as it is"
    elif beyond < reach and side <= min(height, width):
        assert min(corners(box)) >= -1e-3 and corners(box)[2] <= width + 1e-3 and corners(box)[3] <= height + 1e-3


@REPEATABLE
@given(st.lists(st.tuples(numbers(0.1, 0.9), numbers(0.1, 0.9), numbers(0.2, 0.7)), min_size=2, max_size=8), SIDES)
def test_what_is_seen_of_a_driver_does_not_depend_on_the_pictures_size(
    places: list[tuple[float, float, float]], side: int
) -> None:
    """A following square in a picture of twice the size is twice as large, at twice the place."""
    seen = []
    for px in (side, 2 * side):
        remaining = [face_mesh((x * px, y * px), size * px, px, px) for x, y, size in places]
        framing = DriverFraming(lambda image, left=remaining: left.pop(0), 16, "auto", follows=True)
        frames = (Frame(plain_picture(90, px, px), index, index / 25) for index in range(len(places)))
        seen.append([framing.view(frame) for frame in frames])
    for small, large in zip(*seen, strict=True):
        assert small.has_face == large.has_face and small.has_new_square == large.has_new_square
        if small.landmarks is not None:
            np.testing.assert_allclose(small.landmarks, large.landmarks, atol=1e-3)
            assert np.isfinite(small.landmarks).all()
