"""The app's loop at full speed, alone or in turns with others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from avatarify_plus.session.session import Session
from avatarify_plus.types import Frame, Image

BLOCK_S = 0.5
"""How long a loop works before the next one's turn: short against what else a machine does, long against a frame."""


class NullSink:
    """A sink that drops pictures. See `Sink`."""

    name = "null sink"

    def send(self, image: Image, time_s: float) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class FullSpeedLoop:
    """A session that runs at full speed."""

    def __init__(self, session: Session, frames: Iterator[Frame]) -> None:
        """Take endless frames."""
        self.timing = session.timing
        self._session = session
        self._frames = frames

    def warm_up(self, count: int) -> None:
        """Make pictures that do not count."""
        for _ in range(count):
            self._session.turn(next(self._frames))
        self.timing.clear()

    def advance(self, duration_s: float) -> None:
        """Make pictures for this time, and at least one."""
        self.timing.start()
        end_s = self.timing.busy_s + duration_s
        while self.timing.busy_s < end_s:
            self._session.turn(next(self._frames))


def take_turns(loops: Sequence[FullSpeedLoop], seconds: float, warm_up_count: int) -> None:
    """Let loops take turns until each has worked for this time, after its warm-up."""
    for loop in loops:
        loop.warm_up(warm_up_count)
    while min(loop.timing.busy_s for loop in loops) < seconds:
        for loop in loops:
            loop.advance(min(BLOCK_S, seconds))
