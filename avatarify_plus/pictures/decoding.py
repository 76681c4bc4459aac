"""What is in a picture's file, within limits that are known before it is decoded. Pillow's home."""

from __future__ import annotations

import contextlib
import io
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL.JpegImagePlugin import JpegImageFile

from avatarify_plus.errors import SinkError
from avatarify_plus.native_log import hidden_native_messages
from avatarify_plus.pictures.heif import is_heif, read_heif
from avatarify_plus.program.whole_file import write_whole
from avatarify_plus.types import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM", "SUN")
"""What is read, by Pillow's names. Others that it knows are left out, such as EPS, for which it runs a program."""

MAX_MILLIONS = 128
"""More millions of pixels are not decoded: they take four bytes each, and more of some formats."""

MAX_REDUCED_MILLIONS = 256
"""The same of JPEG and HEIC, which can be shrunk while they are decoded; the largest phone cameras have 200."""

MAX_FILE_MB = 512
"""Larger files are not read."""

BAND_PX = 4_000_000
"""So many pixels at a time are made opaque and shrunk."""

UNDECODABLE = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What Pillow raises for damaged files, whatever is wrong with them."""

JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
MAX_STRAY_BYTES = 64
"""A JPEG may begin so late in a file that is mended."""

MISSING_LEVEL = 128
"""What a JPEG's decoder fills in for what the file does not hold, as grey level of 255."""

MISSING_MARGIN_PX = 16
"""Rows above what is missing that may be missing in part: the height of a JPEG's blocks."""

CORNER_PX = 4
"""What is missing begins with the lower right corner: so many pixels at each side of it, however shrunk."""

HEAD_BYTES = 64
"""So much of a file says what it is."""

BEHIND_ALPHA = 255
"""Grey level, of 255, that is seen through transparent pictures."""

ORIENTATION = 0x0112
"""EXIF's tag for how a camera was held."""


def decode(path: Path, max_px: int | None, remark: Callable[[str], None] | None) -> Image:
    """Return a file's picture (H, W, 3) uint8 RGB, shrunk by at most what keeps its longer side at `max_px`.

    remark: is given what is amiss with a damaged JPEG that is taken; None refuses it. See `images.read_picture`.
    """
    _require_file(path)
    with open(path, "rb") as file:
        return decode_file(file, max_px, remark)


def decode_file(file: IO[bytes], max_px: int | None, remark: Callable[[str], None] | None) -> Image:
    """Return the picture in an open file, which may be one in memory; see `decode`."""
    head = file.read(HEAD_BYTES)
    if not head:
        raise ValueError("the file is empty (copy or download it again)")
    file.seek(0)
    try:
        if is_heif(head):
            return read_heif(file.read(), max_px, MAX_REDUCED_MILLIONS * 1_000_000)
        try:
            return _turned(*_decoded(file, max_px))
        except RefusedError:
            raise
        except UNDECODABLE as error:
            start = head.find(JPEG_START)
            if start < 0 or (start and remark is None):
                raise ValueError("it is damaged or not a picture of a known format (save it as JPEG or PNG)") from error
            if remark is None:
                raise ValueError("it is cut short or damaged (copy or download it again)") from error
            file.seek(start)
            return _turned(*_mended(file.read(), max_px, remark))
    except (MemoryError, cv2.error) as error:
        raise ValueError("there is not enough memory for it (shrink it)") from error


_limit_lock = threading.RLock()


class RefusedError(ValueError):
    """A picture is whole and yet not taken."""


def write_png(path: Path, image: Image) -> None:
    """Write a picture (H, W, 3) uint8 RGB as PNG, whole or not at all. Raises SinkError."""
    data = io.BytesIO()
    Pillow.fromarray(image).save(data, "PNG")
    try:
        write_whole(path, data.getvalue())
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error}; choose another file") from error


def _require_file(path: Path) -> None:
    """Raise OSError if there is no file, ValueError if it is none that ends, such as a pipe, or a gigantic one."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # to open a folder says what it is
        raise ValueError("it is not a file but a pipe or a device (copy what it gives into a file)")
    if status.st_size > MAX_FILE_MB * 1_000_000:
        raise ValueError(f"the file has {status.st_size // 1_000_000} MB, more than {MAX_FILE_MB} (shrink the picture)")


@contextlib.contextmanager
def _opened(file: IO[bytes]) -> Iterator[Pillow.Image]:
    """Open the picture in a file; it is decoded when it is loaded."""
    with hidden_native_messages(), warnings.catch_warnings(), _without_pillows_limit():
        warnings.filterwarnings("ignore", module="PIL")  # odd EXIF blocks
        with Pillow.open(file, formats=FORMATS) as picture:
            yield picture


@contextlib.contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Leave it to `_decoded` to refuse large pictures: Pillow's limit knows nothing of shrinking while decoding."""
    with _limit_lock:
        limit, Pillow.MAX_IMAGE_PIXELS = Pillow.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Pillow.MAX_IMAGE_PIXELS = limit


def _decoded(file: IO[bytes], max_px: int | None) -> tuple[Image, object]:
    """Decode an open file; return its picture, opaque, and its EXIF orientation, see `_turned`."""
    with _opened(file) as picture:
        can_shrink = isinstance(picture, JpegImageFile)
        millions = MAX_REDUCED_MILLIONS if can_shrink else MAX_MILLIONS
        if picture.width * picture.height > millions * 1_000_000:
            raise RefusedError(
                f"it has far too many pixels, {picture.width}x{picture.height} (shrink it to {MAX_MILLIONS} million)"
            )
        if picture.mode == "F":
            raise RefusedError("pictures of floating-point numbers have no known white (save it as JPEG or PNG)")
        if max_px is not None:  # JPEG is quickly read at a half, a quarter or an eighth of its size
            longer = max(picture.size)
            share = min(max_px / longer, 1)
            picture.draft(None, (max(round(share * picture.width), 1), max(round(share * picture.height), 1)))
        picture.load()
        image = _opaque(picture, max(max(picture.size) // max_px, 1) if max_px is not None else 1)
        orientation: object = None
        with contextlib.suppress(*UNDECODABLE):  # an odd EXIF block
            orientation = picture.getexif().get(ORIENTATION)
    return image, orientation


def _opaque(picture: Pillow.Image, divisor: int) -> Image:
    """Return a decoded picture as (H, W, 3) uint8 RGB, its sides divided by a whole number; band by band."""
    width, height = picture.width // divisor, picture.height // divisor
    if not width or not height:  # of one pixel's width
        divisor, width, height = 1, picture.width, picture.height
    image = np.empty((height, width, 3), np.uint8)
    rows = max(BAND_PX // (picture.width * divisor), 1)
    for top in range(0, height, rows):
        band = image[top : top + rows]
        stop = top + len(band)
        part = opaque(picture.crop((0, top * divisor, width * divisor, stop * divisor)))
        band[:] = part if divisor == 1 else cv2.resize(part, (width, len(band)), interpolation=cv2.INTER_AREA)
    return image


def opaque(picture: Pillow.Image) -> Image:
    """Return a decoded picture as (H, W, 3) uint8 RGB, transparency laid over white."""
    if picture.mode.startswith("I"):  # 16 bits, which Pillow's own conversion cuts off at 255
        levels = (np.clip(np.asarray(picture), 0, 65535) >> 8).astype(np.uint8)
        return np.repeat(levels[..., None], 3, axis=2)
    if picture.has_transparency_data:
        colours = picture.convert("RGBA")
        behind = Pillow.new("RGBA", picture.size, (BEHIND_ALPHA, BEHIND_ALPHA, BEHIND_ALPHA))
        picture = Pillow.alpha_composite(behind, colours)
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _turned(image: Image, orientation: object) -> Image:
    """Return a picture upright that was taken with the camera held as one of EXIF's eight orientations says."""
    if orientation in (2, 4, 5, 7):
        image = image[:, ::-1]
    turns = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0) if isinstance(orientation, int) else 0
    return np.ascontiguousarray(np.rot90(image, turns))


def _mended(data: bytes, max_px: int | None, remark: Callable[[str], None]) -> tuple[Image, object]:
    """Return as much as there is of a damaged JPEG, see `_decoded`, and remark what is amiss.

    Raises ValueError if that is nothing.
    """
    try:
        image, orientation = _decoded(io.BytesIO(data + JPEG_END), max_px)
    except RefusedError:
        raise
    except UNDECODABLE as error:
        raise ValueError("it is cut short or damaged (copy or download it again)") from error
    rows = _rows_there(image)
    if not rows:
        raise ValueError("it is cut short or damaged (copy or download it again)")
    missing = 100 * (len(image) - rows) / len(image)
    remark(f"its last {missing:.0f} % are missing and left out" if missing else "some of it may look wrong")
    return image[:rows], orientation


def _rows_there(image: Image) -> int:
    """Return how many rows of a JPEG that is cut short were in the file: the rest is grey."""
    is_grey: NDArray[np.bool_] = np.all(np.abs(image.astype(np.int16) - MISSING_LEVEL) <= 1, axis=2)
    if not is_grey[-CORNER_PX:, -CORNER_PX:].all():
        return len(image)
    there = np.flatnonzero(np.logical_not(np.all(is_grey, axis=1)))
    return max(int(there[-1]) + 1 - MISSING_MARGIN_PX, 0) if len(there) else 0
