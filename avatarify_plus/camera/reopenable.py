"""The contract of what can be opened again after it has failed."""

from __future__ import annotations

from typing import Protocol

from avatarify_plus.camera.reader import PictureReader


class Reopenable(Protocol):
    """A webcam or stream.

    patience_s: how long it may be silent until it counts as failed.
    """

    patience_s: float

    @property
    def name(self) -> str:
        """What people call it; it may change with each opening."""
        ...

    def open(self) -> PictureReader:
        """Open it, wherever it is now. Raises CameraError."""
        ...

    def describe_outage(self) -> str:
        """Return what has happened to it, for people: the words that follow its name."""
        ...
