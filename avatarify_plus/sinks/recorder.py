"""Recording to a film."""

from __future__ import annotations

import logging
import queue
import threading
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarify_plus.camera.film_sound import FilmSound
from avatarify_plus.errors import SinkError
from avatarify_plus.sinks.film_format import Speed
from avatarify_plus.sinks.film_writer import FilmWriter
from avatarify_plus.sinks.own_file import OwnFile
from avatarify_plus.types import Image, Size

logger = logging.getLogger(__name__)

LIVE_TIME_BASE = Fraction(1, 90_000)
"""Length of a tick, in seconds, of a recording whose frames come irregularly."""

MAX_BACKLOG = 8
"""Number of pictures of a live recording that may wait for the encoder."""

CLOSE_S = 10.0
"""How long closing waits for the disk to take the rest."""


class Timeline(Protocol):
    """The times of a driver that is a file.

    time_base: length of the tick, in seconds, of which all times are multiples. end_s: when its newest picture ends.
    """

    time_base: Fraction

    @property
    def end_s(self) -> float: ...

    def open_sound(self) -> FilmSound | None:
        """Open its sound; None if it has none."""
        ...


class Recorder:
    """Write a film of the format that its suffix says.

    With a timeline, pictures have the times of a file and are all written, with its sound. Without one, pictures keep
    the times that they are sent with, counted from the first, and the rate is only a hint. Encoder and disk then work
    in a thread of their own, so that they never hold up the session: pictures that they have no time for are left out.
    path: the film.
    """

    name = "recording"

    def __init__(
        self,
        path: Path,
        size: Size,
        rate: Fraction,
        timeline: Timeline | None = None,
        has_sound: bool = False,
        file: OwnFile | None = None,
    ) -> None:
        """Open the file for pictures of an even size; an existing one is replaced once there is a picture.

        rate: frames a second. has_sound: whether the timeline's sound goes into the film. file: the path's, opened
        before. Raises SinkError if the file cannot be written.
        """
        self.path = path
        self._timeline = timeline
        self._time_base = LIVE_TIME_BASE if timeline is None else timeline.time_base
        self._first_s: float | None = None if timeline is None else 0.0
        self._last_tick = -1
        self._sound = timeline.open_sound() if timeline is not None and has_sound else None
        speed: Speed = "fast" if timeline is None else "small"
        try:
            self._writer = FilmWriter(path, size, rate, self._time_base, speed, self._sound, file)
        except SinkError:
            self._close_sound()
            raise
        self._background = _Background(self._writer, path, size) if timeline is None else None

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
        """Finish the file; without a single picture none is left. Raises SinkError if it cannot be finished."""
        try:
            if self._background is not None:
                self._background.finish()
            end_tick = None if self._timeline is None else round(self._timeline.end_s / self._time_base)
            self._writer.close(end_tick)
        finally:
            self._close_sound()

    def discard(self) -> None:
        """Leave no file, because nothing in it is worth keeping."""
        self._writer.discard()
        self._close_sound()

    def _close_sound(self) -> None:
        if self._sound is not None:
            self._sound.close()
            self._sound = None


class _Background:
    """Hand pictures to a writer that works in a thread of its own; while all buffers wait, pictures are left out."""

    def __init__(self, writer: FilmWriter, path: Path, size: Size) -> None:
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
