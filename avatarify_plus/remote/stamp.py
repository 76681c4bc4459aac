"""Numbers written into pictures that travel, so that it is seen how old a picture is when it comes back.

A stamp is a strip below the picture, which both ends cut off before anybody sees it. Its blocks are black or white:
four that say that it is one, the number's bits, and a check sum. All is measured in shares of the picture, because
encoders may send it in another size.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from avatarify_plus.types import FloatArray, Image

MARK = (1, 0, 1, 0)
NUMBER_BITS, CHECK_BITS = 16, 4
BLOCKS = len(MARK) + NUMBER_BITS + CHECK_BITS
NUMBERS = 1 << NUMBER_BITS
"""Numbers are counted modulo this."""

STRIP_PART = 30
"""The strip's height is the picture's over this, rounded to an even number."""

BLACK, WHITE = 24, 232
DARKEST_WHITE, LIGHTEST_BLACK = 160, 96
"""Levels that blocks keep through compression."""


class Stamped(NamedTuple):
    """A picture that came, without its strip. number: None if it bears none that can be read."""

    image: Image
    number: int | None


def stamp(image: Image, number: int) -> Image:
    """Return a picture (H, W, 3) uint8 RGB, H even, with a number below it, which is taken modulo NUMBERS."""
    height, width = image.shape[:2]
    strip_px = max(_even(height / STRIP_PART), 2)
    stamped = np.empty((height + strip_px, width, 3), np.uint8)
    stamped[:height] = image
    bits = np.array([*MARK, *_bits(number % NUMBERS)], bool)
    place = np.arange(width) * BLOCKS // width
    stamped[height:] = np.where(bits[place], WHITE, BLACK).astype(np.uint8)[None, :, None]
    return stamped


def read_stamp(image: Image) -> Stamped:
    """Return a picture without its strip, and the number in it; a picture without a strip is returned whole."""
    height, width = image.shape[:2]
    strip_px = _even(height / (STRIP_PART + 1))
    if strip_px < 2 or width < 2 * BLOCKS:
        return Stamped(image, None)
    levels = _block_levels(image[height - strip_px :])
    is_white, is_black = levels >= DARKEST_WHITE, levels <= LIGHTEST_BLACK
    if not np.all(is_white | is_black) or tuple(is_white[: len(MARK)]) != MARK:
        return Stamped(image, None)
    bits = is_white[len(MARK) :]
    number = int(sum(1 << place for place in np.flatnonzero(bits[:NUMBER_BITS][::-1])))
    is_right = _bits(number) == tuple(int(bit) for bit in bits)
    return Stamped(image[: height - strip_px], number if is_right else None)


def _even(length: float) -> int:
    """Round to an even number, halves up, as pages do."""
    return 2 * math.floor(length / 2 + 0.5)


def _bits(number: int) -> tuple[int, ...]:
    """Return a number's bits, the highest first, and those of its check sum."""
    check = (number ^ number >> 4 ^ number >> 8 ^ number >> 12) % 16 ^ 0b0110
    return tuple(
        value >> place & 1
        for value, count in ((number, NUMBER_BITS), (check, CHECK_BITS))
        for place in reversed(range(count))
    )


def _block_levels(strip: Image) -> FloatArray:
    """Return the mean level of each block's middle, (BLOCKS,)."""
    height, width = strip.shape[:2]
    rows = strip[height // 4 : max(height - height // 4, height // 4 + 1)]
    edges = np.linspace(0, width, BLOCKS + 1)
    inner = (edges[1:] - edges[:-1]) / 4
    return np.array(
        [
            rows[:, int(left + margin) : max(int(right - margin), int(left + margin) + 1)].mean()
            for left, right, margin in zip(edges[:-1], edges[1:], inner, strict=True)
        ],
        np.float32,
    )
