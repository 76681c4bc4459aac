"""Where pictures come from."""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol

from avatarify_plus.types import Image


class PictureReader(Protocol):
    """Where pictures come from, one after the other.

    name: for people. rate: frames a second. count: how many there will be, or None if that is not known.
    is_live: they arrive by themselves, at their own time.
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
