"""Where the driver's frames come from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Protocol

from avatarify_plus.types import Frame


class FrameSource(Protocol):
    """The driver's frames, ready to be animated; a context manager that closes what it reads.

    name: for people. rate: frames a second, the mean where it varies. count: number of frames that will come, None if
    unknown. is_live: True if the newest frame wins, and times are `time.perf_counter()` at capture; False if every
    frame comes, and times are seconds from the beginning of the video.
    """

    name: str
    rate: Fraction
    count: int | None
    is_live: bool

    def frames(self, stop: threading.Event) -> Iterator[Frame | None]:
        """Yield frames until there are no more or `stop` is set; live, yield None if no new one comes for a moment.

        Raises CameraError.
        """
        ...

    @property
    def skipped_count(self) -> int:
        """Number of frames that were replaced by a newer one before they were taken."""
        ...

    @property
    def trouble(self) -> str | None:
        """What is wrong now, in one line for people; None if all is well."""
        ...

    def __enter__(self) -> FrameSource: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
