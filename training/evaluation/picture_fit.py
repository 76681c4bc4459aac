"""Pictures brought to one size, so that they can be compared."""

from __future__ import annotations

import cv2

from avatarify_plus.types import Image


def fit(image: Image, side_px: int) -> Image:
    """Return a square picture (S, S, 3) as (side_px, side_px, 3): cubic where it grows, averaged where it shrinks."""
    if image.shape[0] == side_px:
        return image
    method = cv2.INTER_AREA if image.shape[0] > side_px else cv2.INTER_CUBIC
    fitted: Image = cv2.resize(image, (side_px, side_px), interpolation=method).astype(image.dtype, copy=False)
    return fitted
