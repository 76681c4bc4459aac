"""How a photo and the animated square lie along one axis of the picture that is sent."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from avatarify_plus.types import FloatArray

FACE_CENTRE = 0.52
"""Middle of a face in its square, from the top, as a share: `framing` puts it a little below the square's centre."""


class Span(NamedTuple):
    """Where something starts and ends, in pixels of the picture that is sent; it may reach beyond that picture."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Number of pixels from start to end."""
        return self.end - self.start

    @property
    def slice(self) -> slice:
        """The span as an index."""
        return slice(self.start, self.end)


class Axis(NamedTuple):
    """Places along one axis: pixel of the picture = scale * pixel of the photo + shift.

    square: where all of the animated square lies. room: what it may cover.
    """

    scale: float
    shift: float
    square: Span
    room: Span

    @property
    def seen(self) -> Span:
        """The part of the square that is seen, empty if it lies outside its room."""
        start = max(self.square.start, self.room.start)
        return Span(start, max(min(self.square.end, self.room.end), start))

    @property
    def seen_of_square(self) -> Span:
        """The part of the square that is seen, counted from the square's start."""
        return Span(self.seen.start - self.square.start, self.seen.end - self.square.start)

    def fade(self, seam_share: float) -> FloatArray:
        """Return how much of the square is shown at each seen pixel, (n,) float32 in [0, 1].

        It fades over `seam_share` of its side at the ends beyond which the room goes on.
        """
        length = self.square.length
        position = np.arange(length) + 0.5
        share = np.ones(length)
        if self.square.start > self.room.start:
            share = np.minimum(share, position / (seam_share * length))
        if self.square.end < self.room.end:
            share = np.minimum(share, (length - position) / (seam_share * length))
        smooth: FloatArray = (share * share * (3 - 2 * share)).astype(np.float32)
        return smooth[self.seen_of_square.slice]


def square_axis(start: float, side: float, square_px: int, length: int, centre: float) -> Axis:
    """Lay a photo's square alone along an axis.

    start, side: of the square, in pixels of the photo. square_px: its length along the axis. length: of the axis, in
    pixels. centre: which share of the square lies in the middle of the axis if the square is cut off.
    """
    first = round((length - square_px) / 2)
    if square_px > length:
        first = min(max(round(length / 2 - centre * square_px), length - square_px), 0)
    scale = square_px / side
    return Axis(scale, first - scale * start, Span(first, first + square_px), Span(0, length))


def photo_axis(photo_px: int, start: float, side: float, scale: float, length: int, covers: bool) -> Axis:
    """Lay a photo, and a square in it, along an axis.

    photo_px: length of the photo. start, side: of the square, in pixels of the photo. length: of the axis, in pixels.
    The square comes to lie on whole pixels, so that what does not move in it meets the photo exactly; for that the
    scale is changed a little, upwards if the photo `covers` the axis. A photo that is cut off keeps the square in the
    middle.
    """
    covers = covers or scale * photo_px > length - 1  # better to cut off a row of pixels than to show a bar of one
    square_px = max(math.ceil(scale * side - 1e-6) if covers else math.floor(scale * side + 1e-6), 1)
    scale = square_px / side
    slack = length - scale * photo_px
    shift = slack / 2 if slack >= 0 else min(max(length / 2 - scale * (start + side / 2), slack), 0.0)
    first = round(shift + scale * start)
    shift = first - scale * start
    room = Span(0, length) if covers else Span(max(round(shift), 0), min(round(shift + scale * photo_px), length))
    return Axis(scale, shift, Span(first, first + square_px), room)
