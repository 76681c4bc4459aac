"""What can be opened again when it fails."""

from __future__ import annotations

from typing import Protocol

from avatarify_plus.camera.reader import PictureReader


class Reopenable(Protocol):
    """A webcam or stream.

    patience_s: silent for longer, it has failed.
    """

    patience_s: float

    @property
    def name(self) -> str:
        """Its name for people; it may change with each opening."""
        ...

    def open(self) -> PictureReader:
        """Open it, wherever it is by now. Raises CameraError."""
        ...

    def loss(self) -> str:
        """Return what has become of it, for people: the words that follow its name."""
        ...
