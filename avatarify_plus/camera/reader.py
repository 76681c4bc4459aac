"""The contract of everything that pictures are read from."""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol, TypeGuard

from avatarify_plus.types import Image


class PictureReader(Protocol):
    """Give pictures one after the other.

    name: for people. rate: frames a second, the mean where it varies. count: number of pictures that will come, None if
    unknown. is_live: whether they arrive by themselves, at their own time.
    """

    name: str
    rate: Fraction
    count: int | None
    is_live: bool

    def read(self) -> Image | None:
        """Return the next (H, W, 3) uint8 RGB picture, or None after the last. Raises CameraError."""
        ...

    def close(self) -> None:
        """Release the device or file."""
        ...


class ClipReader(PictureReader, Protocol):
    """Give the pictures of a clip, each of which has its own time.

    time_s, end_s: from when until when the picture that was read last is shown, in seconds from the beginning; both 0
    before the first. time_base: length of the tick, in seconds, of which all times are multiples.
    """

    time_s: float
    end_s: float
    time_base: Fraction


def is_clip(reader: PictureReader) -> TypeGuard[ClipReader]:
    """Return whether a reader's pictures have times of their own, because they do not come by themselves."""
    return not reader.is_live
