"""How fast it runs: where a frame's time goes, frames a second, and how old a picture is when it is sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

WINDOW = 4096
"""Percentiles are over the newest frames, so that memory stays flat in long calls."""


class TurnStage(IntEnum):
    """What a turn of the loop spends its time on; the stages of a turn add up to the whole of it."""

    CAPTURE = 0
    """From the picture before to the frame at hand: decoding a file, or waiting for a live camera."""
    FRAMING = 1
    """Mirroring, the search for the face mesh, the cut of the square."""
    DETECT = 2
    """The engine's detector of learned keypoints; 0 for models without one."""
    ANIMATE = 3
    """The engine's picture."""
    COMPOSE = 4
    """What turns keypoints and the engine's picture into what is sent: mesh to keypoints, smoothing, transfer."""
    SEND = 5
    """The sinks."""


PICTURE_STAGES = (TurnStage.FRAMING, TurnStage.DETECT, TurnStage.ANIMATE, TurnStage.COMPOSE)
"""What making a picture takes, without the devices at both ends."""


class Timing:
    """Count the frames of one run, and measure the time of each stage.

    A turn: `start`, then a `lap` at the end of each stage, as often and in any order, then `tick`, which starts the
    next one. `start` is needed once, and after a pause that belongs to no turn. Allocates nothing per frame.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._latencies_ms = np.zeros(WINDOW, np.float32)
        self._stages_ms = np.zeros((WINDOW, len(TurnStage)), np.float32)
        self._turn_ms = np.zeros(len(TurnStage))
        self._lap_s = 0.0
        self.clear()
        self.start()

    def clear(self) -> None:
        """Forget all turns, such as those that warmed up."""
        self._count = 0
        self._first_s = self._last_s = 0.0
        self._busy_ms = 0.0

    def start(self) -> None:
        """Begin a turn now."""
        self._turn_ms.fill(0)
        self._lap_s = self._clock()

    def lap(self, stage: TurnStage) -> float:
        """Count the time since the last lap towards a stage; return the time now in the clock's seconds."""
        now_s = self._clock()
        self._turn_ms[stage] += 1000 * (now_s - self._lap_s)
        self._lap_s = now_s
        return now_s

    def tick(self, begun_s: float, sent_s: float) -> None:
        """Record a frame that was captured (or taken up) at one time and sent at another, same clock, seconds."""
        row = self._count % WINDOW
        self._latencies_ms[row] = 1000 * (sent_s - begun_s)
        self._stages_ms[row] = self._turn_ms
        self._busy_ms += float(self._turn_ms.sum())
        self._turn_ms.fill(0)
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
    def busy_s(self) -> float:
        """Seconds in turns; pauses between a tick and a start are left out."""
        return self._busy_ms / 1000

    @property
    def fps(self) -> float:
        """Frames sent a second, over the whole run; 0 before the first."""
        return self._count / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def latency_ms(self, percent: float, newest: int = WINDOW) -> float:
        """Return a percentile of the latency, in milliseconds, over the `newest` frames; 0 before the first."""
        count = min(self._count, newest, WINDOW)
        rows = np.arange(self._count - count, self._count) % WINDOW
        return _percentile(self._latencies_ms[rows], percent)

    def stages_ms(self, percent: float, *stages: TurnStage) -> float:
        """Return a percentile of what these stages take together, in milliseconds; 0 before the first frame."""
        return _percentile(self._known_ms(stages), percent)

    def newest_ms(self, *stages: TurnStage) -> float:
        """Return what these stages took together in the newest frame; 0 before the first."""
        return float(self._stages_ms[(self._count - 1) % WINDOW, list(stages)].sum()) if self._count else 0.0

    def mean_ms(self, *stages: TurnStage) -> float:
        """Return the mean of what these stages take together, in milliseconds; 0 before the first frame."""
        known_ms = self._known_ms(stages)
        return float(known_ms.mean()) if len(known_ms) else 0.0

    def _known_ms(self, stages: tuple[TurnStage, ...]) -> NDArray[np.float32]:
        """Return what these stages took together in each of the newest frames."""
        known = self._stages_ms[: min(self._count, WINDOW)]
        sums: NDArray[np.float32] = known[:, list(stages)].sum(1)
        return sums


def _percentile(values: NDArray[np.float32], percent: float) -> float:
    return float(np.percentile(values, percent)) if len(values) else 0.0
