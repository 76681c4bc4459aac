"""Pictures as (H, W, 3) uint8 RGB: reading a photo, cutting a box out of a picture, resizing, mirroring."""

from __future__ import annotations

import io
import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarify_plus.errors import SourceError
from avatarify_plus.pictures.decoding import decode, decode_file
from avatarify_plus.types import FloatArray, Image, PhotoRegion, Size

logger = logging.getLogger(__name__)

PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"),
    *(".heic", ".heif", ".hif", ".avif"),
)
"""How the names of still pictures end, in lower case; the second row are those of phones and cameras."""

HIDDEN = "."
"""How the names of files begin that a folder does not show, ._photo.jpg among them, in which a Mac keeps what a foreign
disk cannot."""

MIN_PHOTO_PX = 64
"""Photos with a smaller side are refused."""

MAX_PHOTO_PX = 4096
"""Larger photos are shrunk to this longer side: faces do not gain by more, and memory and time stay small."""


class Box(NamedTuple):
    """A rectangle of a picture, in pixels; it may reach beyond the picture."""

    left: float
    top: float
    width: float
    height: float


class Adjustment(NamedTuple):
    """How a square is changed by hand: what it shows is enlarged by `zoom`, and the square is shifted.

    shift_x, shift_y: in sides of the square before the zoom. Positive ones move the square right and down, so that the
    face moves left and up in it.
    """

    zoom: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0


AS_FOUND = Adjustment()
"""The adjustment of a square that is not changed by hand."""


class View(NamedTuple):
    """What the model sees of a picture.

    image: (S, S, 3) uint8 RGB. landmarks: (478, 3) float32 face mesh, x and y in [0, 1] of `image` (beyond that where
    the face reaches out of it); None if a mesh was not asked for or a face not found. has_face: whether there is a face
    to follow, True if a mesh was not asked for. is_dark: whether it is too dark to see a face. has_new_square: whether
    the square has jumped to another place, and with it everything that is measured in it. adjustment: how the square
    was changed by hand. photo: of a photo for a model with `photo_reach`, what lies around the square, see
    `photo_region`.
    """

    image: Image
    landmarks: FloatArray | None
    has_face: bool
    is_dark: bool = False
    has_new_square: bool = False
    adjustment: Adjustment = AS_FOUND
    photo: PhotoRegion | None = None


def pictures_in(folder: Path, kind: str = "pictures") -> list[Path]:
    """Return a folder's pictures by name, 2 before 10. Raises ValueError if it has none.

    Hidden files are none, such as the ._photo.jpg that a Mac leaves beside each file on foreign disks. kind: what the
    message calls them.
    """
    pictures = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES]
    pictures = sorted((path for path in pictures if not path.name.startswith(HIDDEN)), key=_by_number)
    if not pictures:
        raise ValueError(f"the folder {folder} holds no {kind}; put {', '.join(PICTURE_SUFFIXES)} files there")
    return pictures


def _by_number(path: Path) -> tuple[list[str | int], str]:
    """Return what sorts names so that the numbers in them count as numbers."""
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], path.name


def load_photo(path: Path, warns: bool = True) -> Image:
    """Read the avatar photo as (H, W, 3) uint8 RGB, upright, its longer side at most MAX_PHOTO_PX.

    warns: whether to log a warning of a damaged one that is taken as far as it goes. Raises SourceError if it cannot be
    used.
    """
    name = f"the photo {path}"
    try:
        photo = read_picture(path, MAX_PHOTO_PX, _remark(name, warns))
    except OSError as error:
        raise SourceError(f"cannot read {name}: {error.strerror or error}; check the path") from error
    except ValueError as error:
        raise SourceError(f"cannot use {name}: {error}") from error
    return _large_enough(photo, name)


def photo_of(data: bytes, name: str, max_px: int = MAX_PHOTO_PX) -> Image:
    """Return the avatar photo whose file has this content, see `load_photo`. name: what errors call it."""
    try:
        photo = at_most(decode_file(io.BytesIO(data), max_px, _remark(name, False)), max_px)
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot use {name}: {error}") from error
    return _large_enough(photo, name)


def _remark(name: str, warns: bool) -> Callable[[str], None]:
    def remark(text: str) -> None:
        if warns:
            logger.warning("%s is damaged, %s; copy or download it again", name, text)

    return remark


def _large_enough(photo: Image, name: str) -> Image:
    """Return a photo. Raises SourceError if it is too small."""
    height, width = photo.shape[:2]
    if min(height, width) < MIN_PHOTO_PX:
        raise SourceError(
            f"{name} is too small: {width}x{height} pixels; use one of at least "
            f"{MIN_PHOTO_PX}x{MIN_PHOTO_PX}, better 512x512"
        )
    return photo


def read_picture(path: Path, max_px: int | None = None, remark: Callable[[str], None] | None = None) -> Image:
    """Read any still picture, the first of several in a file, as (H, W, 3) uint8 RGB.

    Orientation is applied, grey and CMYK become RGB, 16 bits become 8, transparency is laid over white, colour
    profiles are ignored; a picture with a side longer than `max_px` is shrunk to that. remark: takes a JPEG that is cut
    short or begins oddly as far as it goes, and is given what is amiss; None refuses it. Raises OSError if the file
    cannot be read and ValueError if it holds no whole picture of a known format, or one that is too large.
    """
    image = decode(path, max_px, remark)
    return image if max_px is None else at_most(image, max_px)


def size_within(size: Size, max_px: int) -> Size:
    """Return a size, shrunk so that its longer side is at most `max_px`."""
    scale = min(max_px / max(size), 1.0)
    return Size(max(round(scale * size.width), 1), max(round(scale * size.height), 1))


def at_most(image: Image, max_px: int) -> Image:
    """Return a picture, shrunk so that its longer side is at most `max_px`."""
    height, width = image.shape[:2]
    size = size_within(Size(width, height), max_px)
    if size == (width, height):
        return image
    shrunk: Image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return shrunk


def from_bgr(picture: NDArray[np.generic]) -> Image:
    """Return a picture of OpenCV's, (H, W, 3) uint8 BGR, as RGB."""
    image: Image = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    return image


def crop(image: Image, box: Box, size_px: int, quick: bool = False) -> Image:
    """Cut a box out of a picture and resize it to (size_px, size_px, 3), see `cut` and `resize`."""
    return resize(cut(image, box), size_px, quick)


def cut(image: Image, box: Box) -> Image:
    """Cut a box, rounded to whole pixels, out of a picture, whose edge is repeated where it reaches beyond it."""
    height, width = image.shape[:2]
    left, top = round(box.left), round(box.top)
    right, bottom = left + max(round(box.width), 1), top + max(round(box.height), 1)
    inside = image[_clamp(top, height) : _clamp(bottom, height, 1), _clamp(left, width) : _clamp(right, width, 1)]
    missing = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
    if any(missing):
        inside = cv2.copyMakeBorder(inside, *missing, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
        inside = inside[: bottom - top, : right - left]  # a box wholly outside is larger by the one edge pixel kept
    return inside


def _clamp(position: int, length: int, min_position: int = 0) -> int:
    """Return a slice bound inside the picture; min_position 1 is for the stop, so that a pixel lies before it."""
    return min(max(position, min_position), length - 1 + min_position)


def resize(image: Image, size_px: int, quick: bool = False) -> Image:
    """Resize to (size_px, size_px, 3), averaging when the picture shrinks. The aspect ratio is not kept.

    quick: interpolate to the next smaller whole multiple of the size, then average: several times faster, a little
    less smooth.
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


def brighten(image: Image, factor: float) -> Image:
    """Return the picture with all levels multiplied by a factor, and cut off at white."""
    brighter: Image = cv2.convertScaleAbs(image, alpha=factor).astype(np.uint8, copy=False)
    return brighter


def centred_square(image: Image) -> Box:
    """Return the largest square in the picture's middle."""
    height, width = image.shape[:2]
    side = min(height, width)
    return Box(math.floor((width - side) / 2), math.floor((height - side) / 2), side, side)


def whole(image: Image) -> Box:
    """Return the box of the whole picture."""
    height, width = image.shape[:2]
    return Box(0, 0, width, height)
