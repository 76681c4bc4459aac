"""Squares cut out of pictures and put back, and the photo under a model's layers."""

import numpy as np
import pytest

from avatarify_plus.pictures.photo_layers import beyond_square, cut_square, lay_over, paste_square, warp_photo
from avatarify_plus.types import FloatArray, Image


def upright(side: float, x: float = 0.0, y: float = 0.0, angle: float = 0.0) -> FloatArray:
    """Return the matrix of a square of a side, in picture halves, around a place, turned."""
    cosine, sine = side / 2 * np.cos(angle), side / 2 * np.sin(angle)
    return np.array([[cosine, -sine, x], [sine, cosine, y]], np.float32)


def grainy(size: int) -> Image:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)


def still(size: int) -> FloatArray:
    line = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
    return np.stack(np.meshgrid(line, line), -1)


@pytest.mark.parametrize("size", [64, 100, 256, 258, 512])
def test_places_that_do_not_move_show_the_photo(size: int) -> None:
    photo = grainy(size)
    np.testing.assert_array_equal(warp_photo(photo, still(64), size), photo)


def test_a_square_that_lies_on_the_pixels_is_cut_exactly_and_put_back() -> None:
    picture = grainy(256)
    matrix = upright(1.0, 0.25, -0.125)  # 128 of 256 pixels, from (96, 48) on
    square = cut_square(picture, matrix, 256, 128)
    np.testing.assert_array_equal(square, picture[48:176, 96:224])
    pasted = np.zeros_like(picture)
    paste_square(pasted, np.dstack([square, np.full((128, 128), 255, np.uint8)]), matrix)
    np.testing.assert_array_equal(pasted[48:176, 96:224], square)
    pasted[48:176, 96:224] = 0
    assert not pasted.any()


def test_a_square_of_a_region_lies_where_it_lies_in_the_regions_middle() -> None:
    region = grainy(384)
    square = cut_square(region, upright(1.0, 0.25, -0.125), 256, 128)
    np.testing.assert_array_equal(square, region[64:-64, 64:-64][48:176, 96:224])


def test_squares_that_shrink_are_averaged() -> None:
    picture = grainy(512)
    square = cut_square(picture, upright(2.0), 512, 128)
    np.testing.assert_allclose(square, picture.reshape(128, 4, 128, 4, 3).mean((1, 3)), atol=1)


def test_turned_squares_come_back_to_their_place() -> None:
    y, x = np.mgrid[:256, :256] / 256
    picture = (128 + 100 * np.stack([np.sin(5 * x + y), np.cos(4 * y), np.sin(3 * x - 4 * y)], -1)).astype(np.uint8)
    matrix = upright(0.8, 0.1, 0.2, 0.4)
    square = cut_square(picture, matrix, 256, 128)
    pasted = picture.copy()
    paste_square(pasted, np.dstack([square, np.full((128, 128), 255, np.uint8)]), matrix)
    assert np.abs(pasted.astype(int) - picture).max() <= 2


def test_share_and_kept_blend() -> None:
    picture = np.full((64, 64, 3), 100, np.uint8)
    square = np.full((32, 32, 4), 200, np.uint8)
    square[..., 3] = 51
    paste_square(picture, square, upright(1.0))
    np.testing.assert_allclose(picture[20:44, 20:44], 120, atol=1)
    kept = np.repeat(np.array([0, 255], np.uint8), 16)[None].repeat(32, 0)
    blended = lay_over(np.full((64, 64, 3), 10, np.uint8), np.full((32, 32, 3), 210, np.uint8), kept)
    assert blended[:, :30].min() == 210 and blended[:, 34:].max() == 10


@pytest.mark.parametrize("goes_on", [True, False])
def test_beyond_the_square_the_photo_shows_only_if_it_goes_on(goes_on: bool) -> None:
    """The head moves right by a quarter: what comes in at the left lies beyond the square."""
    deformation = still(64) - np.array([0.5, 0], np.float32)
    kept = np.full((256, 256), 100, np.uint8)
    settled = beyond_square(kept, deformation, goes_on)
    assert (settled[8:-8, :62] == (255 if goes_on else 0)).all()
    np.testing.assert_array_equal(settled[8:-8, 70:], kept[8:-8, 70:])


def test_where_the_photo_leads_it_is_shown_alone_once_the_painting_is_enlarged() -> None:
    photo, painting = np.full((64, 64, 3), 10, np.uint8), np.full((32, 32, 3), 210, np.uint8)
    for share, expected in ((0.05, 210), (0.55, 10), (0.3, 110)):
        kept = np.full((32, 32), round(share * 255), np.uint8)
        assert lay_over(photo, painting, kept).mean() == pytest.approx(expected, abs=2)


def test_cubic_warps_keep_more_detail() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    moved = still(16) + np.float32(0.5 / 64)
    plain, fine = (warp_photo(photo, moved, 64, is_fine).astype(float).std() for is_fine in (False, True))
    assert plain < fine < 1.2 * photo.std()
