"""The contract of everything that takes pictures."""

from __future__ import annotations

from typing import Protocol

from avatarify_plus.types import Image


class Sink(Protocol):
    """Take pictures one after the other, all of one size, width and height even. name: what people call it."""

    name: str

    def send(self, image: Image, time_s: float) -> None:
        """Take an (H, W, 3) uint8 RGB picture that belongs to a time in seconds; times must not go backwards.

        Does not keep the picture: the sender may draw the next one into the same array. Raises SinkError.
        """
        ...

    def close(self) -> None:
        """Finish and release everything; called once. Raises SinkError."""
        ...
