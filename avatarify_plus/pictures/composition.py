"""The picture that is sent: the animated square alone, or put back into its photo."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from avatarify_plus.config import Fit, FrameMode
from avatarify_plus.pictures.axis import FACE_CENTRE, Axis, Span, photo_axis, square_axis
from avatarify_plus.pictures.images import Box, size_within
from avatarify_plus.types import FloatArray, Image, Size

MAX_PX = 1920
"""Maximum of the longer side of a photo that is sent in its own size."""

PHOTO_SEAM = 0.12
"""Share of the square's side over which it fades into the still photo."""

BAR_SEAM = 0.04
"""Share of the square's side over which it fades into the bars beside it."""

BACKDROP_PX = 48
"""Width to which the backdrop is shrunk: bars are filled with what the photo shows there, its edge repeated."""

BACKDROP_BLUR = 3.5
"""Standard deviation of the backdrop's blur, in pixels of the shrunk backdrop."""

BACKDROP_LIGHT = 0.4
"""Share of its brightness that the backdrop keeps."""

DARK = 24
"""Grey level, of 255, of bars without a backdrop."""


class Seam(NamedTuple):
    """A rectangle of the seen part of the square, where it fades into the still photo.

    weight: how much of the square is shown, (h, w) float32. rest: how much of the photo. still: the photo, (h, w, 3).
    """

    rows: slice
    columns: slice
    weight: FloatArray
    rest: FloatArray
    still: Image


class Composition:
    """Turn animated squares into pictures to send. Whatever depends on the photo alone is drawn once.

    size: size of the pictures, width and height even.
    """

    def __init__(self, photo: Image, box: Box, frame: FrameMode, size: Size | None, fit: Fit, square_px: int) -> None:
        """Draw everything that does not move.

        photo: (H, W, 3). box: where the square was cut out of it, see `images.crop`. frame: head sends the square,
        photo the whole photo. size: rounded down to even numbers; None takes the square's own size, or the photo's.
        fit: letterbox shows everything, with bars beside it; crop fills the picture and cuts off what is far from the
        face. square_px: S of the squares to come.
        """
        box = Box(round(box.left), round(box.top), max(round(box.width), 1), max(round(box.height), 1))
        if frame == "head":
            self.size = _even(size or Size(square_px, square_px))
            across, down = _square_axes(box, self.size, fit)
            self._canvas, seam = _backdrop(photo, across, down, self.size), BAR_SEAM
        else:
            self.size = _even(size or size_within(Size(photo.shape[1], photo.shape[0]), MAX_PX))
            across, down = _photo_axes(photo, box, self.size, covers=fit == "crop" or size is None)
            self._canvas, seam = _backdrop(photo, across, down, self.size), PHOTO_SEAM
            room = down.room.slice, across.room.slice
            self._canvas[room] = _drawn(photo, across, down, self.size)[room]
        self._target = self._canvas[down.seen.slice, across.seen.slice]
        self._shown = down.seen_of_square.slice, across.seen_of_square.slice
        self._enlarged = np.empty((down.square.length, across.square.length, 3), np.uint8)
        self._seams = _seams(down.fade(seam), across.fade(seam), self._target)

    def compose(self, picture: Image) -> Image:
        """Return the picture to send, (height, width, 3), for an animated square, (S, S, 3).

        It is the same array every time, which the next call overwrites: copy it to keep it.
        """
        height, width = self._enlarged.shape[:2]
        # sharper than linear, without the jagged edges and the cost of Lanczos
        method = cv2.INTER_AREA if width * height < picture.shape[0] * picture.shape[1] else cv2.INTER_CUBIC
        cv2.resize(picture, (width, height), dst=self._enlarged, interpolation=method)
        shown = self._enlarged[self._shown]
        self._target[:] = shown
        for rows, columns, weight, rest, still in self._seams:
            cv2.blendLinear(shown[rows, columns], still, weight, rest, dst=self._target[rows, columns])
        return self._canvas


def fit_picture(image: Image, size: Size, fit: Fit) -> Image:
    """Return an (H, W, 3) picture in another size: whole between dark bars (letterbox), or cut to fill it (crop)."""
    height, width = image.shape[:2]
    shares = size.width / width, size.height / height
    scale = max(shares) if fit == "crop" else min(shares)
    inner = Size(max(round(scale * width), 1), max(round(scale * height), 1))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized: Image = cv2.resize(image, inner, interpolation=method).astype(np.uint8, copy=False)
    left, top = (size.width - inner.width) // 2, (size.height - inner.height) // 2
    if fit == "crop":
        return np.ascontiguousarray(resized[-top : size.height - top, -left : size.width - left])
    fitted: Image = np.full((size.height, size.width, 3), DARK, np.uint8)
    fitted[top : top + inner.height, left : left + inner.width] = resized
    return fitted


def _even(size: Size) -> Size:
    """Return a size rounded down to even numbers, at least 2."""
    return Size(max(size.width // 2 * 2, 2), max(size.height // 2 * 2, 2))


def _square_axes(box: Box, size: Size, fit: Fit) -> tuple[Axis, Axis]:
    """Lay a photo's square alone into a picture of a size: return the axes across and down."""
    side = min(size) if fit == "letterbox" else max(size)
    across = square_axis(box.left, box.width, side, size.width, 0.5)
    down = square_axis(box.top, box.height, side, size.height, FACE_CENTRE)
    return across, down


def _photo_axes(photo: Image, box: Box, size: Size, covers: bool) -> tuple[Axis, Axis]:
    """Lay a photo into a picture of a size: return the axes across and down."""
    height, width = photo.shape[:2]
    shares = size.width / width, size.height / height
    scale = max(shares) if covers else min(shares)
    across = photo_axis(width, box.left, box.width, scale, size.width, covers)
    down = photo_axis(height, box.top, box.height, scale, size.height, covers)
    return across, down


def _drawn(photo: Image, across: Axis, down: Axis, size: Size) -> Image:
    """Draw a photo into a picture of a size as its axes say, its edge repeated beyond it."""
    height, width = photo.shape[:2]
    scale_x, scale_y = across.scale, down.scale
    if min(scale_x, scale_y) < 1:  # averaged first, because a warp picks single pixels
        smaller = Size(max(round(scale_x * width), 1), max(round(scale_y * height), 1))
        photo = cv2.resize(photo, smaller, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        scale_x, scale_y = scale_x * width / smaller.width, scale_y * height / smaller.height
    # our places are pixel edges, OpenCV's are pixel centres
    matrix = np.array([[scale_x, 0, across.shift + (scale_x - 1) / 2], [0, scale_y, down.shift + (scale_y - 1) / 2]])
    drawn = cv2.warpAffine(photo, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return drawn.astype(np.uint8, copy=False)


def _backdrop(photo: Image, across: Axis, down: Axis, size: Size) -> Image:
    """Draw a photo as its axes say, its edge repeated far beyond it, blurred and darkened."""
    small = Size(BACKDROP_PX, max(round(BACKDROP_PX * size.height / size.width), 1))
    less_x, less_y = small.width / size.width, small.height / size.height
    across = across._replace(scale=less_x * across.scale, shift=less_x * across.shift)
    down = down._replace(scale=less_y * down.scale, shift=less_y * down.shift)
    drawn = _drawn(photo, across, down, small).astype(np.float32)
    blurred = cv2.GaussianBlur(drawn, (0, 0), BACKDROP_BLUR, borderType=cv2.BORDER_REPLICATE)
    smooth = cv2.resize(BACKDROP_LIGHT * blurred, size, interpolation=cv2.INTER_CUBIC)
    backdrop: Image = np.clip(np.rint(smooth), 0, 255).astype(np.uint8)
    return backdrop


def _seams(down: FloatArray, across: FloatArray, still: Image) -> list[Seam]:
    """Return where a square that fades along both axes is not fully shown, in as few rectangles as possible.

    still: the photo there, (len(down), len(across), 3).
    """
    rows, columns = _solid(down), _solid(across)
    places = (
        (slice(0, rows.start), slice(0, len(across))),
        (slice(rows.end, len(down)), slice(0, len(across))),
        (rows.slice, slice(0, columns.start)),
        (rows.slice, slice(columns.end, len(across))),
    )
    seams = []
    for place in places:
        weight = np.outer(down[place[0]], across[place[1]])
        if weight.size:
            seams.append(Seam(place[0], place[1], weight, 1 - weight, still[place].copy()))
    return seams


def _solid(fade: FloatArray) -> Span:
    """Return the span in which a fade is 1."""
    solid = np.flatnonzero(fade == 1)
    return Span(int(solid[0]), int(solid[-1]) + 1) if solid.size else Span(0, 0)
