"""The photo around the avatar's square: what moves into the square comes from there."""

from __future__ import annotations

import cv2
import numpy as np

from avatarify_plus.pictures.images import Box, cut, resize
from avatarify_plus.types import FloatArray, Image

STEP_PX = 4
"""Sides of squares in a photo are multiples of this, so that a region of one and a half sides has whole pixels."""

BLUR_LEVELS = 8
"""How many times what fills the region beyond the photo's edge is averaged twice as far."""

FIRST_BLUR = 1 / 256
"""Standard deviation of the first of these averages, in sides of the square; each fills what is twice as far away."""


def region_px(square_px: int, reach: float) -> int:
    """Return the side of the region of `reach` sides around a square, whose pixels are the square's."""
    return square_px + 2 * _margin(square_px, reach)


def square_px(region_px: int, reach: float) -> int:
    """Return the side of the square in the middle of a region, the inverse of the function `region_px`."""
    half = round((region_px / reach - region_px % 2) / 2)
    return 2 * half + region_px % 2


def photo_side(side: float, least_px: int, most_px: int) -> int:
    """Return how many pixels a square of this side in its photo has in the region: as many, within bounds."""
    wanted = int(side) // STEP_PX * STEP_PX
    return max(min(wanted, most_px // STEP_PX * STEP_PX), least_px)


def on_grid(box: Box) -> Box:
    """Return a square box of whole pixels with a side that is a multiple of STEP_PX, shrunk by less than that."""
    side = max(int(box.width) // STEP_PX * STEP_PX, STEP_PX)
    left, top = (round(start + (box.width - side) / 2) for start in box[:2])
    return Box(left, top, side, side)


def cut_region(photo: Image, box: Box, side_px: int, reach: float) -> Image:
    """Cut what lies around a box out of a photo (H, W, 3), so that the box becomes a square of a side.

    Beyond its edge, the photo goes on in the colours of that edge, the more blurred the farther it is: nothing there
    should be recognised, such as a mirrored face, and nothing should look drawn out. Returns (W, W, 3), W being
    `region_px` of the side.
    """
    width = region_px(side_px, reach)
    across, down = (_margin(round(length), reach) for length in (box.width, box.height))
    wide = Box(
        round(box.left) - across, round(box.top) - down, round(box.width) + 2 * across, round(box.height) + 2 * down
    )
    region = resize(cut(photo, wide), width)
    lines = [
        _beyond(start, length, photo_px, width)
        for start, length, photo_px in (
            (wide.top, wide.height, photo.shape[0]),
            (wide.left, wide.width, photo.shape[1]),
        )
    ]
    distance = np.maximum(lines[0][:, None], lines[1][None, :])
    return _filled(region, distance, side_px) if distance.any() else region


def surround(square: Image, reach: float) -> Image:
    """Return a square (P, P, 3) with as much around it, mirrored, as there is in a region of `reach` sides."""
    margin = _margin(square.shape[0], reach)
    bordered = cv2.copyMakeBorder(square, margin, margin, margin, margin, cv2.BORDER_REFLECT_101)
    return bordered.astype(np.uint8, copy=False)


def square_of(region: Image, reach: float) -> Image:
    """Return the square (P, P, 3) in the middle of a region."""
    side = square_px(region.shape[0], reach)
    margin = (region.shape[0] - side) // 2
    return np.ascontiguousarray(region[margin : margin + side, margin : margin + side])


def _margin(length: int, reach: float) -> int:
    """Return how far the region around a length reaches beyond each of its ends."""
    return round(length * (reach - 1) / 2)


def _beyond(start: float, length: float, photo_px: int, size: int) -> FloatArray:
    """Return how far each pixel of a region's line (size,) lies beyond the photo, in its own pixels; 0 inside.

    start, length: of the region, in pixels of the photo. photo_px: the photo's length.
    """
    places = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(length / size) + np.float32(start)
    outside = np.maximum(np.maximum(-places, places - photo_px), 0)
    return (outside * np.float32(size / length)).astype(np.float32)


def _filled(region: Image, distance: FloatArray, side_px: int) -> Image:
    """Fill what lies beyond the photo with what lies nearest in it, averaged over half as far as it is away.

    distance: (W, W), of each pixel from the photo, 0 inside. Source: normalised convolution (Knutsson and Westin 1993)
    over a pyramid.
    """
    first, width = FIRST_BLUR * side_px, region.shape[0]
    level = np.log2(np.maximum(distance, 1e-3) / (2 * first))
    known = (distance == 0).astype(np.float32)
    small, weight = region.astype(np.float32) * known[..., None], known
    result = region.astype(np.float32)
    for index in range(BLUR_LEVELS):
        small, weight = (cv2.GaussianBlur(x, (0, 0), first, borderType=cv2.BORDER_REFLECT_101) for x in (small, weight))
        mean = small / np.maximum(weight, 1e-6)[..., None]
        near = cv2.resize(mean, (width, width), interpolation=cv2.INTER_LINEAR)
        share = np.clip(level - index + 1, 0, 1).astype(np.float32)
        result = cv2.blendLinear(near, result, share, 1 - share)
        half = max(width >> (index + 1), 1)
        small, weight = (cv2.resize(x, (half, half), interpolation=cv2.INTER_AREA) for x in (small, weight))
    filled: Image = np.clip(np.rint(result), 0, 255).astype(np.uint8)
    return np.where(distance[..., None] > 0, filled, region)
