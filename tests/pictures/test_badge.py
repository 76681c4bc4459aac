"""What is written on the pictures that are sent."""

import numpy as np
import pytest

from avatarify_plus.pictures.badge import Badge, still_card
from avatarify_plus.types import Size
from fakes import plain_picture


@pytest.mark.parametrize("level", [0, 127, 255])
@pytest.mark.parametrize("size", [Size(256, 256), Size(1280, 720), Size(720, 1280)])
def test_the_badge_is_small_in_the_corner_and_readable_on_any_picture(size: Size, level: int) -> None:
    image = plain_picture(level, size.height, size.width)
    badge = Badge(size)
    badge.stamp(image)
    rows, columns = np.nonzero((image != level).any(-1))
    assert badge.box.left <= columns.min() <= columns.max() < badge.box.left + badge.box.width
    assert badge.box.top <= rows.min() <= rows.max() < badge.box.top + badge.box.height
    marked = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1, 0].astype(int)
    assert columns.min() > 0.7 * size.width
    assert rows.min() > 0.85 * size.height
    assert max(columns) < size.width - 1  # not glued to the edge
    assert max(rows) < size.height - 1
    assert marked.size < 0.02 * size.width * size.height
    assert marked.shape[0] >= 7  # the height of a capital
    paper, ink = np.median(marked), marked.max() if level < 255 else np.percentile(marked, 98)
    assert ink - paper > 90
    assert np.count_nonzero(marked > paper + 60) > 0.05 * marked.size


def test_the_badge_lets_the_picture_through() -> None:
    dark, light = plain_picture(40, 256, 256), plain_picture(200, 256, 256)
    badge = Badge(Size(256, 256))
    for image in (dark, light):
        badge.stamp(image)
    changed = (dark != 40).any(-1) & (light != 200).any(-1)
    assert np.median(light[changed].astype(int) - dark[changed]) > 40


@pytest.mark.parametrize("size", [Size(64, 64), Size(20, 10), Size(2, 2)])
def test_tiny_pictures_get_as_much_of_it_as_fits(size: Size) -> None:
    image = plain_picture(200, size.height, size.width)
    Badge(size).stamp(image)
    assert (image != 200).any()
    assert still_card(size).shape == image.shape


@pytest.mark.parametrize("size", [Size(256, 256), Size(1280, 720), Size(360, 640)])
def test_the_card_is_calm_and_says_its_text_in_the_middle(size: Size) -> None:
    card = still_card(size)
    assert card.shape == (size.height, size.width, 3)
    assert card.dtype == np.uint8
    rows, columns = np.nonzero(card.min(-1) > 120)
    assert columns.mean() == pytest.approx(size.width / 2, rel=0.03)
    assert rows.mean() == pytest.approx(size.height / 2, rel=0.1)
    assert columns.max() - columns.min() < 0.85 * size.width
    border = np.concatenate([card[0], card[-1], card[:, 0], card[:, -1]])
    assert border.max() < 80
    assert not np.array_equal(card, still_card(size, "Coffee"))
