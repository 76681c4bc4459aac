"""How fast it runs: frame counts, frames a second, and how old a picture is when it is sent."""

from __future__ import annotations

import numpy as np

WINDOW = 4096
"""Percentiles are over the newest frames, so that memory stays flat in long calls."""


class Timing:
    """Count the frames of one run."""

    def __init__(self) -> None:
        self._latencies_ms = np.zeros(WINDOW, np.float32)
        self._count = 0
        self._first_s = 0.0
        self._last_s = 0.0

    def tick(self, begun_s: float, sent_s: float) -> None:
        """Record a frame that was captured (or taken up) at one time and sent at another, same clock, seconds."""
        self._latencies_ms[self._count % WINDOW] = 1000 * (sent_s - begun_s)
        if not self._count:
            self._first_s = begun_s
        self._last_s = sent_s
        self._count += 1

    @property
    def frame_count(self) -> int:
        """How many frames were sent."""
        return self._count

    @property
    def elapsed_s(self) -> float:
        """Seconds from the first frame's beginning to the last one's end."""
        return self._last_s - self._first_s

    @property
    def fps(self) -> float:
        """Frames sent a second, over the whole run; 0 before the first."""
        return self._count / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def latency_ms(self, percent: float) -> float:
        """Return a percentile of the latency in milliseconds over the newest frames; 0 before the first."""
        known = self._latencies_ms[: min(self._count, WINDOW)]
        return float(np.percentile(known, percent)) if len(known) else 0.0
