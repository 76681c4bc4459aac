"""Pictures as (H, W, 3) uint8 RGB: reading a photo, cutting a box out of a picture, mirroring."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarify_plus.errors import SourceError
from avatarify_plus.native_log import hidden_native_messages
from avatarify_plus.types import FloatArray, Image

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
LEAST_PHOTO_PX = 64
BEHIND_ALPHA = 255
"""What is seen through a transparent picture: white."""


class Box(NamedTuple):
    """A rectangle of a picture in pixels; it may reach out of the picture."""

    left: float
    top: float
    width: float
    height: float


class View(NamedTuple):
    """What the model sees of a picture.

    image: (S, S, 3) uint8 RGB. landmarks: (478, 3) float32 face mesh, x and y in [0, 1] of `image` (beyond where the
    face reaches out of it), or None if no mesh was asked for or no face found. `has_face` False: there is nobody to
    follow in this picture.
    """

    image: Image
    landmarks: FloatArray | None
    has_face: bool


def load_photo(path: Path) -> Image:
    """Read the avatar photo as (H, W, 3) uint8 RGB, upright. Raises SourceError if it cannot be used."""
    try:
        photo = read_picture(path)
    except OSError as error:
        raise SourceError(f"cannot read the photo {path}: {error.strerror or error}; check the path") from error
    except ValueError as error:
        raise SourceError(f"cannot use the photo {path}: {error}; save it as JPEG or PNG") from error
    height, width = photo.shape[:2]
    if min(height, width) < LEAST_PHOTO_PX:
        raise SourceError(
            f"the photo {path} is too small: {width}x{height} pixels; use one of at least "
            f"{LEAST_PHOTO_PX}x{LEAST_PHOTO_PX}, better 512x512"
        )
    return photo


def read_picture(path: Path) -> Image:
    """Read any still picture as (H, W, 3) uint8 RGB.

    EXIF orientation is applied, grey becomes RGB, 16 bits become 8, transparency is laid over white.
    Raises OSError if the file cannot be read and ValueError if it holds no picture that OpenCV knows.
    """
    data = np.fromfile(path, np.uint8)  # cv2.imread cannot open every path on Windows
    if not data.size:
        raise ValueError("the file is empty")
    try:
        with hidden_native_messages():
            stored = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)  # keeps transparency, ignores orientation
            upright = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ValueError("it is damaged or too large") from error
    if stored is None or upright is None:
        raise ValueError("it is damaged or not a picture of a known format")
    if stored.ndim == 3 and stored.shape[2] == 4 and stored.dtype != np.float32:
        return _lay_over_background(stored)
    return from_bgr(upright)


def from_bgr(picture: NDArray[np.generic]) -> Image:
    """Return OpenCV's (H, W, 3) BGR uint8 picture as RGB."""
    image: Image = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    return image


def _lay_over_background(stored: NDArray[np.generic]) -> Image:
    """Blend (H, W, 4) BGRA of 8 or 16 bits over the background."""
    full = np.float32(255 if stored.dtype == np.uint8 else 65535)
    colour = cv2.cvtColor(stored, cv2.COLOR_BGRA2RGB).astype(np.float32) / full
    alpha = stored[..., 3:].astype(np.float32) / full  # (H, W, 1)
    blended = colour * alpha + (1 - alpha) * (BEHIND_ALPHA / 255)
    image: Image = np.rint(blended * 255).astype(np.uint8)
    return image


def crop(image: Image, box: Box, size_px: int, quick: bool = False) -> Image:
    """Cut a box out of a picture and resize it to (size_px, size_px, 3), see `resize`.

    The box is rounded to whole pixels; where it reaches out of the picture, the picture's edge is repeated.
    """
    height, width = image.shape[:2]
    left, top = round(box.left), round(box.top)
    right, bottom = left + max(round(box.width), 1), top + max(round(box.height), 1)
    inside = image[_clamp(top, height) : _clamp(bottom, height, 1), _clamp(left, width) : _clamp(right, width, 1)]
    missing = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
    if any(missing):
        inside = cv2.copyMakeBorder(inside, *missing, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
        inside = inside[: bottom - top, : right - left]  # a box wholly outside is larger by the one edge pixel kept
    return resize(inside, size_px, quick)


def _clamp(position: int, length: int, least: int = 0) -> int:
    """Return a slice bound inside the picture that leaves at least one pixel between start and stop."""
    return min(max(position, least), length - 1 + least)


def resize(image: Image, size_px: int, quick: bool = False) -> Image:
    """Resize to (size_px, size_px, 3), averaging when the picture shrinks. The aspect ratio is not kept.

    quick: interpolate to the nearest whole multiple of the size, then average; several times faster, a little less
    smooth.
    """
    height, width = image.shape[:2]
    if (height, width) == (size_px, size_px):
        return np.ascontiguousarray(image)
    shrinks = height * width > size_px * size_px
    if shrinks and quick:
        multiple = max(min(height, width) // size_px, 1) * size_px
        image = cv2.resize(image, (multiple, multiple), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
        if multiple == size_px:
            return image
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: Image = cv2.resize(image, (size_px, size_px), interpolation=method).astype(np.uint8, copy=False)
    return resized


def mirror(image: Image) -> Image:
    """Return the picture flipped left to right."""
    return np.ascontiguousarray(image[:, ::-1])


def centred_square(image: Image) -> Box:
    """Return the largest square in the picture's middle."""
    height, width = image.shape[:2]
    side = min(height, width)
    return Box(math.floor((width - side) / 2), math.floor((height - side) / 2), side, side)


def whole(image: Image) -> Box:
    """Return the box of the whole picture."""
    height, width = image.shape[:2]
    return Box(0, 0, width, height)
