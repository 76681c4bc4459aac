"""A clip that is played over and over."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction

from avatarify_plus.camera.camera_argument import open_reader
from avatarify_plus.camera.reader import ClipReader, is_clip
from avatarify_plus.camera.steady_time import SteadyTime
from avatarify_plus.errors import CameraError
from avatarify_plus.types import Image

Round = tuple[ClipReader, Image | None]
"""A clip that was opened again, and its first picture."""


class LoopedClip:
    """Read the pictures of a video or folder over and over. See `ClipReader`.

    While a round plays, a thread opens the next one and decodes its first picture, so that there is no pause between.
    """

    is_live = False

    def __init__(self, clip: str, rate: Fraction, first: ClipReader | None = None) -> None:
        """Open it, or take over its `first` round, whose pictures then keep their own times.

        rate: frames a second, where no first round is given. Raises CameraError if it cannot be read, or is a webcam or
        stream, which cannot start from the beginning.
        """
        self.name = clip
        self.rate = rate
        self.count: int | None = None
        self.time_s = self.end_s = 0.0
        self._reader = first or _open(clip, rate)
        self._steady = SteadyTime(rate) if first is None else None
        self.time_base = self._reader.time_base if self._steady is None else self._steady.time_base
        self._round_s = 0.0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="next round")
        self._next: Future[Round] | None = None

    def read(self) -> Image | None:
        """Return the next picture; after the last comes the first. Raises CameraError."""
        self._next = self._next or self._thread.submit(self._open_round)
        picture = self._reader.read()
        if picture is None:
            self._round_s += self._reader.end_s
            self._reader.close()
            self._reader, picture = self._next.result()
            self._next = None
        if self._steady is None:
            self.time_s, self.end_s = self._round_s + self._reader.time_s, self._round_s + self._reader.end_s
        else:
            self._steady.tick()
            self.time_s, self.end_s = self._steady.time_s, self._steady.end_s
        return picture

    def _open_round(self) -> Round:
        """Open the clip again and read its first picture. Raises CameraError."""
        reader = _open(self.name, self.rate)
        return reader, reader.read()

    def close(self) -> None:
        """Release the file."""
        self._reader.close()
        if self._next is not None:
            with contextlib.suppress(CameraError):
                self._next.result()[0].close()
        self._thread.shutdown()


def _open(clip: str, rate: Fraction) -> ClipReader:
    reader = open_reader(clip, float(rate))
    if is_clip(reader):
        return reader
    reader.close()
    raise CameraError(f"{reader.name} cannot be played over and over: give a video file or a folder of pictures")
