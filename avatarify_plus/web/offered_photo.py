"""How a photo that comes in is named and shown on a page."""

from __future__ import annotations

import re
from pathlib import Path

from avatarify_plus.pictures.images import centred_square, crop
from avatarify_plus.pictures.jpeg import jpeg_url
from avatarify_plus.types import Image

THUMBNAIL_PX = 144


def harmless_name(name: str) -> str:
    """Return a file's name without folders and without anything that is special to a system."""
    return re.sub(r"[^\w.-]+", "_", Path(name.replace("\\", "/")).name)[-80:].lstrip("._") or "photo"


def thumbnail_of(photo: Image) -> str:
    """Return the middle of a photo (H, W, 3) uint8 RGB, small, as a data URL."""
    small = crop(photo, centred_square(photo), THUMBNAIL_PX)
    return jpeg_url(small)
