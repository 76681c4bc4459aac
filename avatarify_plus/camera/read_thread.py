"""One attempt at reading a camera, from opening to closing."""

from __future__ import annotations

import threading
from collections.abc import Callable

from avatarify_plus.camera.playback_clock import PlaybackClock
from avatarify_plus.camera.reader import PictureReader
from avatarify_plus.errors import CameraError
from avatarify_plus.types import Image


class ReadThread:
    """Read in a thread of its own. It can be given up when it hangs: nobody waits for it then, and whenever it wakes up
    it closes what it has opened and ends. Nobody else may: closing a device under a read crashes.

    alive_at_s: when it last came forward. has_pictures: whether it has given any. is_done: whether it has closed all
    and ended. failure: why, None if there are no more pictures. loss: what has become of the camera, for people.
    """

    def __init__(
        self,
        open_reader: Callable[[], PictureReader],
        deliver: Callable[[ReadThread, Image], None],
        finish: Callable[[ReadThread], None],
        tell_loss: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        """deliver: called with each picture. finish: called at the end. Both in the attempt's own thread."""
        self.alive_at_s = clock()
        self.has_pictures = False
        self.is_done = False
        self.failure: CameraError | None = None
        self.loss = ""
        self._open = open_reader
        self._deliver = deliver
        self._finish = finish
        self._tell_loss = tell_loss
        self._clock = clock
        self._unwanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def give_up(self, patience_s: float = 0.0) -> bool:
        """Ask it to end, wait for that so long, and return whether it has ended."""
        self._unwanted.set()
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        failure: CameraError | None = CameraError("reading broke off unexpectedly; the lines above tell where")
        try:
            try:
                self._read()
                failure = None
            except CameraError as error:
                failure = error
            if not self._unwanted.is_set():
                self.loss = self._tell_loss()
        finally:  # whatever happened, nobody must wait for ever
            self.failure = failure
            self.is_done = True
            self._finish(self)

    def _read(self) -> None:
        """Deliver until the reader ends, fails or is not wanted any more."""
        reader = self._open()
        try:
            playback = None if reader.is_live else PlaybackClock(reader.rate)
            while not self._unwanted.is_set() and (image := reader.read()) is not None:
                if playback is not None:
                    self._unwanted.wait(playback.wait_s())
                self.alive_at_s = self._clock()
                self.has_pictures = True
                self._deliver(self, image)
        finally:
            reader.close()
