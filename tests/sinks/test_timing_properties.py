"""What holds for the times of pictures, whatever times they come with."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarify_plus.camera.playback_clock import MAX_LATE_S, PlaybackClock
from avatarify_plus.camera.steady_time import SteadyTime
from avatarify_plus.sinks import recorder
from avatarify_plus.sinks.recorder import Recorder
from avatarify_plus.types import Size
from fakes import FakeTimeline, plain_picture
from properties import REPEATABLE, numbers

RATES = st.fractions(Fraction(1, 1001), 240, max_denominator=1001)
PICTURE = plain_picture(90, 64, 64)


class TickWriter:
    """Remembers at which ticks pictures were written, and at which one the film ended."""

    def __init__(self, *given: Any) -> None:
        self.ticks: list[int] = []
        self.end_tick: int | None = None

    def write(self, image: Any, tick: int) -> None:
        self.ticks.append(tick)

    def close(self, end_tick: int | None) -> None:
        self.end_tick = end_tick


def written(times_s: list[float], rate: Fraction, end_s: float) -> TickWriter:
    """Return what was written of pictures with these times."""
    timeline = FakeTimeline(rate)
    timeline.end_s = end_s
    writer = TickWriter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "FilmWriter", lambda *given: writer)
        film = Recorder(Path("film.mp4"), Size(64, 64), rate, timeline)
        for time_s in times_s:
            film.send(PICTURE, time_s)
        film.close()
    return writer


@REPEATABLE
@given(st.lists(numbers(-1, 1e5), max_size=20), RATES)
def test_every_picture_is_written_once_and_later_than_the_one_before(times_s: list[float], rate: Fraction) -> None:
    found = written(times_s, rate, end_s=max(times_s, default=0.0))
    assert len(found.ticks) == len(times_s)
    assert all(before < after for before, after in itertools.pairwise([-1, *found.ticks]))


@REPEATABLE
@given(st.lists(st.integers(0, 10_000), unique=True, max_size=20), RATES, st.integers(1, 100))
def test_a_film_has_the_times_of_its_driver_and_is_as_long(ticks: list[int], rate: Fraction, last: int) -> None:
    end = max(ticks, default=0) + last
    found = written([float(tick / rate) for tick in sorted(ticks)], rate, float(end / rate))
    assert found.ticks == sorted(ticks) and found.end_tick == end


@REPEATABLE
@given(RATES, st.integers(1, 200))
def test_steady_pictures_follow_each_other_without_a_gap(rate: Fraction, count: int) -> None:
    steady, ends_s = SteadyTime(rate), 0.0
    for _ in range(count):
        steady.tick()
        assert steady.time_s == ends_s < steady.end_s
        ends_s = steady.end_s
    assert ends_s == float(count / rate)


@REPEATABLE
@given(st.lists(st.tuples(numbers(0, 1), numbers(0, 0.3)), min_size=1, max_size=20))
def test_a_clip_is_played_at_its_own_speed_and_never_waits_longer(steps: list[tuple[float, float]]) -> None:
    """steps: how long after the one before a picture belongs, and how long it took to get ready."""
    now_s = time_s = 0.0
    clock = PlaybackClock(lambda: now_s)
    shown: list[tuple[float, float]] = []
    is_caught_up = True
    for step_s, work_s in steps:
        now_s, time_s = now_s + work_s, time_s + step_s
        wait_s = clock.wait_s(time_s)
        assert 0 <= wait_s <= step_s + 1e-9
        if shown:
            due_s = shown[0][0] + time_s - shown[0][1]
            is_caught_up = is_caught_up and now_s - due_s <= MAX_LATE_S
            assert not is_caught_up or math.isclose(now_s + wait_s, max(now_s, due_s), abs_tol=1e-9)
        now_s += wait_s
        shown.append((now_s, time_s))
    for (before_s, first_s), (after_s, second_s) in itertools.pairwise(shown):
        assert after_s - before_s >= second_s - first_s - MAX_LATE_S - 1e-9
