"""How the session is doing, second by second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from avatarify_plus.session.timing import Timing

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0

LATENCY_FRAMES = 150
"""The number of newest frames that latency is reported over: five seconds of a usual webcam."""


class StatusLine:
    """Sum up what the loop does, once a second.

    line: frames a second, latency from capture to sent, dropped frames and the engine, for people; empty at first.
    figures: the same by names: fps, latency_ms, dropped, engine.
    """

    def __init__(
        self,
        timing: Timing,
        count_dropped: Callable[[], int],
        engine: str,
        logs: bool,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Begin now.

        count_dropped: returns how many frames were dropped so far. engine: what computes, for people. logs: whether to
        log every new line.
        """
        self.line = ""
        self.figures: dict[str, float | str] = {}
        self._timing = timing
        self._count_dropped = count_dropped
        self._engine = engine
        self._logs = logs
        self._clock = clock
        self._since_s = clock()
        self._count = 0

    def update(self) -> None:
        """Sum up again if a second has passed."""
        elapsed_s = self._clock() - self._since_s
        if elapsed_s < INTERVAL_S:
            return
        count = self._timing.frame_count
        median_ms, late_ms = (self._timing.latency_ms(percent, LATENCY_FRAMES) for percent in (50, 95))
        fps, dropped = (count - self._count) / elapsed_s, self._count_dropped()
        self.figures = {"fps": fps, "latency_ms": median_ms, "dropped": dropped, "engine": self._engine}
        self.line = (
            f"{fps:.1f} fps, latency {median_ms:.0f} ms (95 % within {late_ms:.0f}), "
            f"{dropped} frames dropped, {self._engine}"
        )
        self._since_s += elapsed_s
        self._count = count
        if self._logs:
            logger.info("%s", self.line)
