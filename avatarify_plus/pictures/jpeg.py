"""Pictures as JPEG files, for a page."""

from __future__ import annotations

import base64
import io

from PIL import Image as Pillow

from avatarify_plus.pictures.images import size_within
from avatarify_plus.types import Image, Size

QUALITY = 85


def jpeg_of(image: Image, max_px: int | None = None, quality: int = QUALITY) -> bytes:
    """Return a picture (H, W, 3) uint8 RGB as the bytes of a JPEG file.

    max_px: it is reduced to at most so many pixels on its longer side; None keeps it as large as it is.
    """
    picture = Pillow.fromarray(image)
    if max_px is not None and max(picture.size) > max_px:
        size = size_within(Size(*picture.size), max_px)
        picture = picture.resize((size.width, size.height), Pillow.Resampling.BILINEAR, reducing_gap=2.0)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def jpeg_url(image: Image, max_px: int | None = None, quality: int = QUALITY) -> str:
    """Return a picture as a data URL, which holds all of it; see `jpeg_of`."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg_of(image, max_px, quality)).decode()
