"""A thread that reads a camera, from opening to closing."""

from __future__ import annotations

import threading
from collections.abc import Callable

from avatarify_plus.camera.playback_clock import PlaybackClock
from avatarify_plus.camera.reader import PictureReader, is_clip
from avatarify_plus.errors import CameraError
from avatarify_plus.types import Image


class ReadThread:
    """Open, read and close a camera in a thread.

    It can be given up when it hangs. It is then left alone; when it wakes up, it closes what it has opened and ends. No
    other thread may close it, because closing a device during a read crashes.

    alive_at_s: when it last made progress. has_pictures: whether it has delivered any. is_done: whether it has closed
    everything and ended. failure: why it ended, None if there are no more pictures. outage: what has happened to the
    camera, for people.
    """

    def __init__(
        self,
        open_reader: Callable[[], PictureReader],
        deliver: Callable[[ReadThread, Image], None],
        finish: Callable[[ReadThread], None],
        describe_outage: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        """Prepare the thread; `start` starts it.

        deliver: called with each picture. finish: called at the end. Both are called in this thread. describe_outage:
        returns what has happened to the camera. clock: returns seconds.
        """
        self.alive_at_s = clock()
        self.has_pictures = False
        self.is_done = False
        self.failure: CameraError | None = None
        self.outage = ""
        self._open = open_reader
        self._deliver = deliver
        self._finish = finish
        self._describe_outage = describe_outage
        self._clock = clock
        self._unwanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def give_up(self, patience_s: float = 0.0) -> bool:
        """Ask it to end, wait for that up to `patience_s`, and return whether it has ended."""
        self._unwanted.set()
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        """Read, and keep how it ended."""
        failure: CameraError | None = CameraError("reading broke off unexpectedly; the lines above say where")
        try:
            try:
                self._read()
                failure = None
            except CameraError as error:
                failure = error
            if not self._unwanted.is_set():
                self.outage = self._describe_outage()
        finally:  # whatever has happened, nobody may wait for ever
            self.failure = failure
            self.is_done = True
            self._finish(self)

    def _read(self) -> None:
        """Deliver pictures until the reader ends or fails, or this thread was given up. Raises CameraError."""
        reader = self._open()
        try:
            playback = PlaybackClock()
            while not self._unwanted.is_set() and (image := reader.read()) is not None:
                if is_clip(reader):
                    self._unwanted.wait(playback.wait_s(reader.time_s))
                self.alive_at_s = self._clock()
                self.has_pictures = True
                self._deliver(self, image)
        finally:
            reader.close()
