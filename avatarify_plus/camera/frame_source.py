"""Who moves the avatar."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Protocol

from avatarify_plus.types import Frame


class FrameSource(Protocol):
    """The driver's frames, ready to be animated; a context manager that closes what it reads.

    name: for people. rate: frames a second. count: how many frames there will be, None if that is not known.
    is_live: newest frame wins, times are `time.perf_counter()` at capture; otherwise every frame comes, and its time is
    its place in the video.
    """

    name: str
    rate: Fraction
    count: int | None
    is_live: bool

    def frames(self, stop: threading.Event) -> Iterator[Frame | None]:
        """Yield frames until there are no more or `stop` is set; live, None each time no new one came for a moment.

        Raises CameraError.
        """
        ...

    @property
    def skipped_count(self) -> int:
        """How many frames were replaced by a newer one before anybody took them."""
        ...

    @property
    def trouble(self) -> str | None:
        """What is wrong at this moment, in one line for people; None if all is well."""
        ...

    def __enter__(self) -> FrameSource: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
