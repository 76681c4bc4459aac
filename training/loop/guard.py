"""What stops a run early: a loss that explodes."""

from __future__ import annotations

import math
import statistics
from collections import deque

from avatarify_plus.errors import AvatarifyError

EXPLOSION_FACTOR = 10.0
"""A loss above this many times its running median is too high."""

EXPLOSION_STEPS = 5
"""A run ends when this many losses in a row are too high."""

MEDIAN_STEPS = 200
"""The maximum number of losses that the running median covers."""

MIN_STEPS = 20
"""The minimum number of losses before there is a median."""


class DivergedError(AvatarifyError):
    """Training went wrong and cannot recover; the message names the checkpoint to go back to."""


class LossGuard:
    """End a run at the first loss that is not a number, or when EXPLOSION_STEPS losses in a row are too high."""

    def __init__(self) -> None:
        self._past: deque[float] = deque(maxlen=MEDIAN_STEPS)
        self._high_steps = 0

    def check(self, step: int, loss: float, gradient_norm: float, last_good: str) -> None:
        """Take in a step's loss and gradient norm. Raises DivergedError, whose message ends with `last_good`."""
        if not math.isfinite(loss) or not math.isfinite(gradient_norm):
            raise _diverged(step, f"the loss is {loss}, the gradient's norm {gradient_norm}", last_good)
        median = statistics.median(self._past) if len(self._past) >= MIN_STEPS else math.inf
        if loss <= EXPLOSION_FACTOR * median:
            self._past.append(loss)
            self._high_steps = 0
            return
        self._high_steps += 1
        if self._high_steps >= EXPLOSION_STEPS:
            raise _diverged(step, f"the loss is {loss:.3g}, its running median {median:.3g}", last_good)


def _diverged(step: int, reason: str, last_good: str) -> DivergedError:
    return DivergedError(f"training diverged at step {step}: {reason}; {last_good}; try a lower --rate")
