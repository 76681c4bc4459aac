"""Recording to an mp4 file."""

from __future__ import annotations

import logging
import queue
import threading
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarify_plus.errors import SinkError
from avatarify_plus.sinks.mp4_writer import Mp4Writer
from avatarify_plus.types import Image, Size

logger = logging.getLogger(__name__)

LIVE_TIME_BASE = Fraction(1, 90_000)
"""Length of a tick, in seconds, of a recording whose frames come irregularly."""

MAX_BACKLOG = 8
"""Number of pictures of a live recording that may wait for the encoder."""

CLOSE_S = 10.0
"""How long closing waits for the disk to take the rest."""


class Recorder:
    """Write an mp4 file.

    `is_constant` True: the frames are those of a file of this rate, and the recording has the same rate and count.
    False: frames keep the times that they are sent with, and the rate is only a hint. Encoder and disk then work in a
    thread of their own, so that they never hold up the session: pictures that they have no time for are left out.
    """

    name = "recording"

    def __init__(self, path: Path, size: Size, rate: Fraction, is_constant: bool) -> None:
        """Open the file for pictures of an even size; an existing one is replaced.

        rate: frames a second. Raises SinkError if the file cannot be written.
        """
        self._time_base = 1 / rate if is_constant else LIVE_TIME_BASE
        self._first_s: float | None = None
        self._last_tick = -1
        self._writer = Mp4Writer(path, size, rate, self._time_base, "small" if is_constant else "fast")
        self._background = None if is_constant else _Background(self._writer, path, size)

    def send(self, image: Image, time_s: float) -> None:
        """Append a picture, see `Sink.send`. Raises SinkError if the disk is full or gone."""
        if self._first_s is None:
            self._first_s = time_s
        tick = round((time_s - self._first_s) / self._time_base)
        self._last_tick = max(tick, self._last_tick + 1)
        if self._background is None:
            self._writer.write(image, self._last_tick)
        else:
            self._background.write(image, self._last_tick)

    def close(self) -> None:
        """Finish the file; a file without a single frame is deleted. Raises SinkError if it cannot be finished."""
        if self._background is not None:
            self._background.finish()
        self._writer.close()


class _Background:
    """Hand pictures to a writer that works in a thread of its own; while all buffers wait, pictures are left out."""

    def __init__(self, writer: Mp4Writer, path: Path, size: Size) -> None:
        self._writer = writer
        self._path = path
        self._failure: SinkError | None = None
        self._left_out_count = 0
        self._free: queue.SimpleQueue[NDArray[np.uint8]] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[tuple[NDArray[np.uint8], int] | None] = queue.SimpleQueue()
        for _ in range(MAX_BACKLOG):
            self._free.put(np.empty((size.height * 3 // 2, size.width), np.uint8))
        self._thread = threading.Thread(target=self._work, name="recording", daemon=True)
        self._thread.start()

    def write(self, image: Image, tick: int) -> None:
        """Copy a picture, as I420, which is half the bytes. Raises the SinkError that an earlier picture met."""
        if self._failure is not None:
            raise self._failure
        if not self._thread.is_alive():
            raise SinkError(f"cannot write {self._path}: the recording was closed")
        try:
            buffer = self._free.get_nowait()
        except queue.Empty:
            self._left_out_count += 1
            return
        cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420, dst=buffer)
        self._full.put((buffer, tick))

    def _work(self) -> None:
        """Write what is waiting, until None comes or writing fails."""
        while (item := self._full.get()) is not None:
            buffer, tick = item
            try:
                self._writer.write(buffer, tick, "yuv420p")
            except SinkError as error:
                self._failure = error
                return
            self._free.put(buffer)

    def finish(self) -> None:
        """Wait until everything is written. Raises SinkError if the disk does not answer."""
        self._full.put(None)
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            raise SinkError(f"cannot finish {self._path}: its disk does not answer; what it has taken until now plays")
        if self._left_out_count:
            logger.warning(
                "%d pictures are missing from %s: the processor or the disk was too slow",
                self._left_out_count,
                self._path,
            )
            self._left_out_count = 0
