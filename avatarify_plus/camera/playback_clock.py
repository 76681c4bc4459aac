"""Playing a clip in real time."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction

MAX_LATE_S = 0.25
"""Pictures that are later than this are not caught up with: playing goes on from there."""


class PlaybackClock:
    """Say how long each picture of a clip has to wait, so that it is played at its rate."""

    def __init__(self, rate: Fraction, clock: Callable[[], float] = time.perf_counter) -> None:
        """rate: pictures a second. clock: returns seconds."""
        self._interval_s = float(1 / rate)
        self._clock = clock
        self._due_s: float | None = None

    def wait_s(self) -> float:
        """Return how long the next picture has to wait from now on; the first one never waits."""
        now_s = self._clock()
        if self._due_s is None:
            self._due_s = now_s
        else:
            self._due_s = max(self._due_s + self._interval_s, now_s - MAX_LATE_S)
        return max(self._due_s - now_s, 0.0)
