"""Counting frames, latencies and the stages of a turn."""

import numpy as np
import pytest

from avatarify_plus.session.timing import PICTURE_STAGES, WINDOW, Timing, TurnStage
from fakes import FakeClock


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


def turn(timing: Timing, clock: FakeClock, times_ms: dict[TurnStage, float]) -> None:
    begun_s = clock.now_s
    for stage, time_ms in times_ms.items():
        clock.pass_ms(time_ms)
        timing.lap(stage)
    timing.tick(begun_s, clock.now_s)


def test_stages_add_up_to_the_turn() -> None:
    clock, random = FakeClock(), np.random.default_rng(0)
    timing = Timing(clock)
    times_ms = random.uniform(1, 20, (200, len(TurnStage)))
    for row in times_ms:
        turn(timing, clock, dict(zip(TurnStage, row.tolist(), strict=True)))
    for percent in (50, 95, 99):
        for stage in TurnStage:
            expected = np.percentile(times_ms[:, stage], percent)
            assert timing.stages_ms(percent, stage) == pytest.approx(expected, rel=1e-5)
        pictures = times_ms[:, list(PICTURE_STAGES)].sum(1)
        assert timing.stages_ms(percent, *PICTURE_STAGES) == pytest.approx(np.percentile(pictures, percent), rel=1e-5)
        assert timing.stages_ms(percent, *TurnStage) == pytest.approx(timing.latency_ms(percent), rel=1e-5)
    assert timing.mean_ms(*TurnStage) == pytest.approx(sum(timing.mean_ms(stage) for stage in TurnStage), rel=1e-5)
    assert timing.busy_s == pytest.approx(timing.elapsed_s) == pytest.approx(times_ms.sum() / 1000)


def test_a_stage_may_come_in_parts() -> None:
    clock = FakeClock()
    timing = Timing(clock)
    for stage in (TurnStage.COMPOSE, TurnStage.ANIMATE, TurnStage.COMPOSE):
        clock.pass_ms(4)
        timing.lap(stage)
    timing.tick(0, 1)
    assert timing.stages_ms(50, TurnStage.COMPOSE) == pytest.approx(8)
    assert timing.stages_ms(50, TurnStage.ANIMATE) == pytest.approx(4)


def test_a_pause_belongs_to_no_stage() -> None:
    clock = FakeClock()
    timing = Timing(clock)
    for _ in range(3):
        clock.pass_ms(5000)
        timing.start()
        turn(timing, clock, {TurnStage.CAPTURE: 2, TurnStage.SEND: 1})
    assert timing.busy_s == pytest.approx(0.009)
    assert timing.stages_ms(100, TurnStage.CAPTURE) == pytest.approx(2)


def test_what_is_cleared_is_forgotten() -> None:
    clock = FakeClock()
    timing = Timing(clock)
    turn(timing, clock, {TurnStage.ANIMATE: 900})
    timing.clear()
    assert (timing.frame_count, timing.busy_s, timing.stages_ms(50, TurnStage.ANIMATE), timing.mean_ms()) == (
        0,
        0,
        0,
        0,
    )
    turn(timing, clock, {TurnStage.ANIMATE: 20})
    assert timing.stages_ms(100, TurnStage.ANIMATE) == pytest.approx(20)
    assert timing.elapsed_s == pytest.approx(0.02)
