"""What a paper claims of a row, held against what was measured: a paired bootstrap over clips and seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from avatarify_plus.types import FloatArray

ClipScores = Mapping[str, float | None]
"""One measure of one run, by the names of the clips; None where it could not be measured."""

Verdict = Literal["confirmed", "refuted", "undecided"]

DRAWS = 10_000
"""How many times clips and seeds are drawn with replacement."""

INTERVAL = (2.5, 97.5)
"""The percentiles of the draws that bound the interval."""


MIN_SEEDS = 2
"""One run decides nothing."""


class Change(NamedTuple):
    """By how much a row's mean differs from the reference's, in per cent: all, the interval's ends, each seed's own."""

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]

    @property
    def spread(self) -> float:
        """Half the distance between the farthest two seeds, in per cent."""
        return (max(self.seeds) - min(self.seeds)) / 2

    def verdict(self, claimed: float) -> Verdict:
        """Return what becomes of a claimed difference (only its sign counts).

        It is decided only if there are two seeds at least, the whole interval lies on one side of zero, and the seeds
        differ by less than the mean.
        """
        if len(self.seeds) < MIN_SEEDS or not self.low * self.high > 0 or self.spread >= abs(self.mean):
            return "undecided"
        return "confirmed" if (self.mean > 0) == (claimed > 0) else "refuted"


def paired_change(row: Mapping[int, ClipScores], reference: Mapping[int, ClipScores]) -> Change | None:
    """Compare one measure of two rows, given by seed, on the same seeds and the same clips.

    Each draw takes as many seeds and as many clips as there are, with replacement, the same for both rows. Clips that
    some run could not be measured on are left out. Returns None if nothing is left. The draws are the same every time.
    """
    seeds = sorted(set(row) & set(reference))
    runs = [scores[seed] for scores in (row, reference) for seed in seeds]
    clips = [clip for clip in (runs[0] if runs else ()) if all(run.get(clip) is not None for run in runs)]
    if not clips:
        return None
    found: FloatArray = np.array([[run[clip] for clip in clips] for run in runs], np.float64)  # (2 S, C)
    ours, theirs = np.split(found, 2)  # (S, C) each
    chance = np.random.default_rng(0)
    seed_counts = chance.multinomial(len(seeds), [1 / len(seeds)] * len(seeds), DRAWS)  # (D, S)
    clip_counts = chance.multinomial(len(clips), [1 / len(clips)] * len(clips), DRAWS)  # (D, C)
    drawn = [((seed_counts @ scores) * clip_counts).sum(1) for scores in (ours, theirs)]  # (D,)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = np.percentile(100 * (drawn[0] / drawn[1] - 1), INTERVAL)
        each = 100 * (ours.mean(1) / theirs.mean(1) - 1)
        mean = 100 * (ours.mean() / theirs.mean() - 1)
    return Change(float(mean), float(low), float(high), tuple(each.tolist()))
