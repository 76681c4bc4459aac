"""Counting frames and latencies."""

import numpy as np
import pytest

from avatarify_plus.timing import WINDOW, Timing


def test_an_empty_run_has_zeros() -> None:
    timing = Timing()
    assert (timing.frame_count, timing.fps, timing.elapsed_s, timing.latency_ms(50)) == (0, 0.0, 0.0, 0.0)


def test_rate_and_percentiles_are_those_of_the_ticks() -> None:
    timing = Timing()
    for index in range(100):
        timing.tick(10 + index / 25, 10 + index / 25 + (index + 1) / 1000)  # latencies 1 to 100 ms
    assert timing.frame_count == 100
    assert timing.elapsed_s == pytest.approx(99 / 25 + 0.1)
    assert timing.fps == pytest.approx(100 / (99 / 25 + 0.1))
    assert timing.latency_ms(50) == pytest.approx(50.5, abs=0.01)
    assert timing.latency_ms(95) == pytest.approx(np.percentile(np.arange(1, 101), 95), abs=0.01)


def test_percentiles_forget_what_is_long_past() -> None:
    timing = Timing()
    for index in range(2 * WINDOW):
        timing.tick(index, index + (1.0 if index < WINDOW else 0.01))
    assert timing.frame_count == 2 * WINDOW
    assert timing.latency_ms(100) == pytest.approx(10, abs=0.1)
