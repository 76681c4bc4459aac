"""A driver's camera, of which only the newest frame counts."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType

from avatarify_plus.camera.read_thread import ReadThread
from avatarify_plus.camera.reader import PictureReader
from avatarify_plus.camera.reopenable import Reopenable
from avatarify_plus.errors import CameraError
from avatarify_plus.types import Frame, Image

logger = logging.getLogger(__name__)

IDLE_S = 0.1
"""How long `frames` waits for a new frame before it yields None."""

STALL_S = 8.0
"""How long a camera may take to its first picture, or be silent if it cannot be opened again, until it is given up."""

RETRY_S = 1.0
"""How often a lost camera is looked for."""

MAX_HANGING = 3
"""Maximum number of hanging read threads; with as many, no other is started."""

CLOSE_S = 2.0
"""How long closing waits for a read thread that hangs."""


class LiveCamera:
    """Read in a thread of its own and keep only the newest frame; a file is played at its own rate. See `FrameSource`.

    With a `reopenable`, a camera that has given a picture is opened again and again after it has failed, until it gives
    pictures. Takes over the reader. The thread starts with the first call of `frames` or `latest`: before that, nothing
    is captured or counted as skipped. All methods must be called from one thread, except the callbacks of `ReadThread`.
    """

    is_live = True

    def __init__(
        self,
        reader: PictureReader,
        reopenable: Reopenable | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """reopenable: what opened the reader and can open it again; None if the end of the reader is the end."""
        self.name = reader.name
        self.rate = reader.rate
        self.count = reader.count
        self.trouble: str | None = None
        self._unread: PictureReader | None = reader
        self._reopenable = reopenable
        self._clock = clock
        self._changed = threading.Condition()  # guards the four below
        self._read_thread: ReadThread | None = None
        self._slot: Frame | None = None
        self._frame_count = 0
        self._skipped_count = 0
        self._hanging: list[ReadThread] = []
        self._retry_at_s = 0.0

    def __enter__(self) -> LiveCamera:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._unread is not None:
            self._unread.close()
        elif self._read_thread is not None and not self._read_thread.give_up(CLOSE_S):
            logger.warning("%s hangs and is left to the operating system", self.name)

    @property
    def skipped_count(self) -> int:
        """Number of frames that were replaced by a newer one before they were taken."""
        with self._changed:
            return self._skipped_count

    @property
    def has_ended(self) -> bool:
        """Whether the last frame was taken and no more will come."""
        with self._changed:
            is_over = self._read_thread is not None and self._read_thread.is_done and not self._reconnects
            return is_over and self._slot is None

    @property
    def _reconnects(self) -> bool:
        """Whether the camera is opened again if it fails now."""
        return self._reopenable is not None and self._frame_count > 0

    def frames(self, stop: threading.Event) -> Iterator[Frame | None]:
        """Yield the newest frame each time, or None after IDLE_S without one, until there are no more or `stop` is set.

        Raises CameraError.
        """
        while not stop.is_set():
            frame = self.latest(IDLE_S)
            if frame is None and self.has_ended:
                return
            yield frame

    def latest(self, timeout_s: float) -> Frame | None:
        """Return the newest frame that was not handed out yet; wait for it, and return None if none comes in time.

        Raises CameraError if the camera failed or fell silent and cannot be opened again.
        """
        if self._unread is not None:
            reader, self._unread = self._unread, None
            self._begin(lambda: reader)
        with self._changed:
            self._changed.wait_for(
                lambda: self._slot is not None or (self._read_thread and self._read_thread.is_done), timeout_s
            )
            frame, self._slot = self._slot, None
        if frame is None:
            self._supervise()
        elif self.trouble is not None and self._reopenable is not None:
            self.trouble = None
            self.name = self._reopenable.name
            logger.info("%s is back", self.name)
        return frame

    def _begin(self, open_reader: Callable[[], PictureReader]) -> None:
        """Start a read thread."""
        describe_outage = self._reopenable.describe_outage if self._reopenable is not None else str
        read_thread = ReadThread(open_reader, self._deliver, self._finish, describe_outage, self._clock)
        with self._changed:
            self._read_thread = read_thread
        read_thread.start()

    def _deliver(self, read_thread: ReadThread, image: Image) -> None:
        """Put a picture into the slot, unless its read thread was given up."""
        with self._changed:
            if read_thread is self._read_thread:
                self._skipped_count += self._slot is not None
                self._slot = Frame(image, self._frame_count, self._clock())
                self._frame_count += 1
                self._changed.notify_all()

    def _finish(self, read_thread: ReadThread) -> None:
        """Wake up who waits for a frame."""
        with self._changed:
            self._changed.notify_all()

    def _supervise(self) -> None:
        """Deal with a read thread that gives nothing. Raises CameraError."""
        read_thread, now_s = self._read_thread, self._clock()
        if read_thread is None:
            self._hanging = [hanging for hanging in self._hanging if not hanging.is_done]
            if self._reopenable is not None and now_s >= self._retry_at_s and len(self._hanging) < MAX_HANGING:
                self._begin(self._reopenable.open)
        elif read_thread.is_done:
            if self._reconnects:
                self._lose(read_thread.outage)
            elif read_thread.failure is not None:
                raise read_thread.failure
        elif now_s - read_thread.alive_at_s > (patience_s := self._patience_s(read_thread)):
            if not self._reconnects:
                raise CameraError(
                    f"{self.name} gave no picture for {STALL_S:.0f} s; check its connection and start again"
                )
            read_thread.give_up()
            self._hanging.append(read_thread)
            self._lose(f"has given no picture for {patience_s:.0f} s")

    def _patience_s(self, read_thread: ReadThread) -> float:
        """Return how long a read thread may give nothing."""
        return self._reopenable.patience_s if self._reopenable is not None and read_thread.has_pictures else STALL_S

    def _lose(self, outage: str) -> None:
        """Warn once that the camera is lost, and let it be looked for after RETRY_S."""
        assert self._reopenable is not None
        is_new = self.trouble is None
        self.trouble = f"{self._reopenable.name} {outage}; looking for it every second"
        if is_new:
            logger.warning("%s", self.trouble)
        with self._changed:
            self._read_thread = None
        self._retry_at_s = self._clock() + RETRY_S
