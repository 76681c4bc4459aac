"""The contract of everything that pictures are read from."""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol

from avatarify_plus.types import Image


class PictureReader(Protocol):
    """Give pictures one after the other.

    name: for people. rate: frames a second. count: number of pictures that will come, None if unknown. is_live: whether
    they arrive by themselves, at their own time.
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
