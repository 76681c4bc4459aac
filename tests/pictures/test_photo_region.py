"""What lies around the avatar's square: the photo itself, and beyond its edge nothing that looks drawn out."""

import numpy as np
import pytest

from avatarify_plus.pictures.images import Box, crop
from avatarify_plus.pictures.photo_region import (
    cut_region,
    on_grid,
    photo_side,
    region_px,
    square_of,
    square_px,
    surround,
)
from avatarify_plus.types import Image


def grainy(height: int = 300, width: int = 400) -> Image:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("reach", [1.0, 1.25, 1.5, 1.7, 2.0, 4.0])
def test_the_square_of_a_region_is_found_again(reach: float) -> None:
    for side in range(64, 1025):
        assert square_px(region_px(side, reach), reach) == side
    assert region_px(512, 1.5) == 768


def test_a_region_inside_the_photo_is_the_photo() -> None:
    photo = grainy()
    region = cut_region(photo, Box(100, 60, 128, 128), 128, 1.5)
    np.testing.assert_array_equal(region, photo[28:220, 68:260])
    np.testing.assert_array_equal(square_of(region, 1.5), photo[60:188, 100:228])


def test_the_square_is_what_crop_cuts_at_another_size_too() -> None:
    photo = grainy()
    box = Box(100, 60, 128, 128)
    region = cut_region(photo, box, 64, 1.5)
    assert region.shape == (96, 96, 3)
    np.testing.assert_array_equal(square_of(region, 1.5), crop(photo, box, 64))


def test_beyond_the_edge_there_are_no_streaks_and_less_and_less_detail() -> None:
    photo = grainy()
    region = cut_region(photo, Box(0, 60, 128, 128), 128, 1.5)  # 32 px lie left of the photo
    np.testing.assert_array_equal(region[:, 32:], photo[28:220, :160])
    beyond = region[:, :32].astype(int)
    assert np.all(np.abs(np.diff(beyond, axis=1)).max((0, 2)) > 0), "neighbouring columns differ"
    detail = beyond.std((0, 2))
    assert detail[31] > 1.5 * detail[16] > 1.5 * detail[0] > 0


def test_beyond_the_edge_there_is_no_second_face() -> None:
    """Colours go on from the edge; what lies farther inside, such as a face, is not seen again."""
    photo = np.full((300, 400, 3), 200, np.uint8)
    photo[:, 20:120] = 0
    region = cut_region(photo, Box(0, 60, 128, 128), 128, 1.5)
    beyond = region[:, :32].astype(int)
    assert beyond[:, 28:].min() > 190 and beyond.min() > 100
    assert np.abs(np.diff(beyond, axis=1)).max() < 12  # smoothly


@pytest.mark.parametrize(
    "box",
    [
        Box(-5000, 0, 100, 100),
        Box(0, 0, 3000, 3000),
        Box(398, 298, 4, 4),
        Box(-300, -200, 600, 600),
        Box(1, 1, 298, 298),
        Box(0, 0, 400, 300),
    ],
)
@pytest.mark.parametrize("shape", [(300, 400), (1, 400), (300, 1), (2, 2)])
def test_odd_places_are_filled(box: Box, shape: tuple[int, int]) -> None:
    assert cut_region(grainy(*shape), box, 64, 1.5).shape == (96, 96, 3)


def test_boxes_and_sides_fit_whole_pixels() -> None:
    assert on_grid(Box(10.4, 20.4, 103.0, 103.0)) == Box(12, 22, 100, 100)
    assert on_grid(Box(0, 0, 2, 2)).width == 4
    assert photo_side(303.7, 256, 512) == 300
    assert photo_side(100, 256, 512) == 256
    assert photo_side(2000, 256, 511) == 508
    assert photo_side(2000, 256, 64) == 256


def test_a_square_without_a_photo_is_mirrored_outwards() -> None:
    square = grainy(64, 64)
    region = surround(square, 1.5)
    np.testing.assert_array_equal(square_of(region, 1.5), square)
    np.testing.assert_array_equal(region[16:80, :16], square[:, 16:0:-1])
