"""Pictures that move, as a video."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from avatarify_plus.errors import CameraError
from avatarify_plus.pictures.moving_picture import MovingPicture
from avatarify_plus.types import Image

TICK = Fraction(1, 1000)
"""What delays are multiples of, in seconds."""


class MovingPictureReader:
    """The pictures of a GIF, or an animated WebP, PNG or AVIF, with their delays, once. See `ClipReader`."""

    is_live = False
    time_base = TICK

    def __init__(self, path: Path, pictures: MovingPicture) -> None:
        """Take over an opened file. Raises CameraError if its first picture is damaged."""
        self.name = str(path)
        self.count: int | None = pictures.count
        self.time_s = self.end_s = 0.0
        self._pictures = pictures
        self._read_count = 0
        self._first: tuple[Image, float] | None = self._next()
        self.rate = Fraction(1 / self._first[1]).limit_denominator(1001)

    def read(self) -> Image | None:
        """Return the next picture, or None after the last. Raises CameraError if one is damaged."""
        if self._read_count == self.count:
            return None
        (image, delay_s), self._first = self._first or self._next(), None
        self._read_count += 1
        self.time_s, self.end_s = self.end_s, self.end_s + delay_s
        return image

    def _next(self) -> tuple[Image, float]:
        try:
            return self._pictures.read(self._read_count)
        except ValueError as error:
            raise CameraError(
                f"{self.name} breaks off at picture {self._read_count + 1} of {self.count}: {error}; copy or download "
                "it again"
            ) from error

    def close(self) -> None:
        """Release the file."""
        self._pictures.close()
