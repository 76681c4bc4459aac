"""Two rows are compared on the same clips and seeds, and a claim is only decided where chance cannot explain it."""

import numpy as np
import pytest

from training.evaluation.claims import Change, paired_change


def scores(values: np.ndarray) -> dict[str, float | None]:
    return {f"clip {number}": float(value) for number, value in enumerate(values)}


def test_what_differs_on_every_clip_is_seen_though_clips_differ_far_more() -> None:
    clips = np.random.default_rng(1).uniform(0.01, 0.1, 40)
    change = paired_change({0: scores(0.95 * clips), 1: scores(0.94 * clips)}, {0: scores(clips), 1: scores(clips)})
    assert change is not None
    assert change.mean == pytest.approx(-5.5) and change.seeds == pytest.approx((-5, -6))
    assert -6.001 <= change.low < change.mean < change.high <= -4.999
    assert change.verdict(-3) == "confirmed" and change.verdict(+3) == "refuted"


def test_a_few_clips_that_decide_alone_decide_nothing() -> None:
    clips = np.full(40, 0.05)
    one = clips.copy()
    one[0] = 0.001  # one clip of forty is much better, the others are alike
    change = paired_change({0: scores(one)}, {0: scores(clips)})
    assert change is not None and change.mean < -2 and change.high == 0
    assert change.verdict(-3) == "undecided"


def test_seeds_that_disagree_decide_nothing() -> None:
    clips = np.random.default_rng(2).uniform(0.04, 0.06, 60)
    reference = dict.fromkeys((0, 1, 2), scores(clips))
    change = paired_change({seed: scores(f * clips) for seed, f in enumerate((0.9, 0.97, 1.08))}, reference)
    assert change is not None and change.mean < 0 < change.high
    assert change.verdict(-1) == "undecided"
    assert Change(-2, -3, -1, (-0.1, -4.5)).verdict(-2) == "undecided"  # the seeds' spread exceeds the difference
    assert Change(-2, -3, -1, (-2,)).verdict(-2) == "undecided"  # one run decides nothing


def test_only_what_both_measured_is_compared() -> None:
    ours = {0: {"a": 1.0, "b": None, "c": 3.0}, 7: {"a": 9.0}}
    theirs = {0: {"a": 2.0, "b": 1.0, "c": 2.0, "d": 5.0}, 3: {"a": 1.0}}
    change = paired_change(ours, theirs)
    assert change is not None and change.mean == 0 and len(change.seeds) == 1
    assert (change.low, change.high) == (-50, 50)
    assert paired_change(ours, {5: {"a": 1.0}}) is None and paired_change({0: {}}, theirs) is None
    lost = paired_change({0: {"a": 0.1}}, {0: {"a": 0.0}})  # no ratio to zero
    assert lost is not None and lost.verdict(-1) == "undecided"
