"""Playing a clip in real time."""

from __future__ import annotations

import time
from collections.abc import Callable

MAX_LATE_S = 0.25
"""Pictures that are later than this are not caught up with: playing goes on from there."""


class PlaybackClock:
    """Say how long each picture of a clip has to wait, so that it is played at its own time."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """clock: returns seconds."""
        self._clock = clock
        self._began_s: float | None = None

    def wait_s(self, time_s: float) -> float:
        """Return how long a picture that belongs to a time of the clip has to wait; the first one never waits."""
        now_s = self._clock()
        if self._began_s is None:
            self._began_s = now_s - time_s
        self._began_s = max(self._began_s, now_s - MAX_LATE_S - time_s)
        return max(self._began_s + time_s - now_s, 0.0)
