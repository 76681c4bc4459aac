"""A film that goes on for as long as it is wanted."""

from __future__ import annotations

from fractions import Fraction

from avatarify_plus.camera import PictureReader, open_reader
from avatarify_plus.errors import CameraError
from avatarify_plus.types import Image


class LoopedClip:
    """Read a video's or folder's pictures over and over, at a rate of one's own. See `PictureReader`."""

    is_live = False

    def __init__(self, clip: str, rate: Fraction) -> None:
        """Open it. Raises CameraError if it cannot be read, or is a webcam or stream, which cannot begin again."""
        self.name = clip
        self.rate = rate
        self.count: int | None = None
        self._reader = _open(clip, rate)

    def read(self) -> Image | None:
        """Return the next picture; after the last comes the first. Raises CameraError."""
        picture = self._reader.read()
        if picture is None:
            self._reader.close()
            self._reader = _open(self.name, self.rate)
            picture = self._reader.read()
        return picture

    def close(self) -> None:
        """Release the file."""
        self._reader.close()


def _open(clip: str, rate: Fraction) -> PictureReader:
    reader = open_reader(clip, float(rate))
    if reader.is_live:
        reader.close()
        raise CameraError(f"{reader.name} cannot be played over and over: give a video file or a folder of pictures")
    return reader
