"""What happens when during a run: its stages and the learning rate."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from avatarify_plus.errors import ConfigError
from avatarify_plus.network.generator import Window

WARMUP_STEPS = 100
"""The learning rate rises for this many steps unless another number is asked for."""

CENTRAL_SHARE = 0.6
"""This share of the windows keeps to the middle half of their places."""


class Stage(NamedTuple):
    """One part of the run: picture and decoded window in px, batch over all ranks, share of the budget."""

    image_size: int
    window_size: int
    batch: int
    share: float

    def window(self, random: np.random.Generator) -> Window | None:
        """Draw the part of the picture to decode, more often near the middle, where faces are; None for all of it."""
        if self.window_size == self.image_size:
            return None
        last = (self.image_size - self.window_size) // 4
        border = last // 4 if random.random() < CENTRAL_SHARE else 0
        top, left = random.integers(border, last - border + 1, 2)
        return Window(int(top), int(left), self.window_size // 4)


def parse_stages(text: str, ranks: int = 1) -> list[Stage]:
    """Read "128x12:0.7,256/128x6:0.3": size [/ window] x batch over all ranks : share of the budget.

    Raises ConfigError if malformed, or if a batch cannot be shared equally by the ranks.
    """
    try:
        stages = []
        for part in text.split(","):
            shape, share = part.split(":")
            sizes, batch = shape.split("x")
            size, _, window = sizes.partition("/")
            stages.append(Stage(int(size), int(window or size), int(batch), float(share)))
    except ValueError as error:
        raise ConfigError(f"--stages wants e.g. 128x12:0.7,256/128x6:0.3, found {text!r}") from error
    if any(stage.window_size > stage.image_size or stage.window_size % 32 for stage in stages):
        raise ConfigError(f"a window must be a multiple of 32 and no larger than the picture, found {text!r}")
    if abs(sum(stage.share for stage in stages) - 1) > 1e-6 or min(stage.batch for stage in stages) < 1:
        raise ConfigError(f"the shares of --stages must add up to 1 and batches be positive, found {text!r}")
    if any(stage.batch % ranks for stage in stages):
        raise ConfigError(f"every batch of --stages must be a multiple of the {ranks} ranks, found {text!r}")
    return stages


def stage_at(stages: list[Stage], progress: float) -> Stage:
    """Return the stage at a progress in [0, 1]."""
    passed = 0.0
    for stage in stages:
        passed += stage.share
        if progress < passed:
            return stage
    return stages[-1]


def learning_rate(peak: float, progress: float, step: int, warmup_steps: int = WARMUP_STEPS) -> float:
    """Return the rate: linear warm-up, then a cosine to 2 % of the peak at progress 1; warmup_steps: 0 goes without."""
    cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return peak * cosine * min(1.0, (step + 1) / max(warmup_steps, 1))
