"""The guided minute: what is asked when, for how long, and what happens if it is not done."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from avatarify_plus.adapt.expressions import Need
from avatarify_plus.adapt.guided_minute import (
    AGAIN_S,
    EARLIEST,
    MIN_AGAIN_S,
    MORE,
    PATIENCE_S,
    SENTENCES,
    STEPS,
    GuidedMinute,
    Moment,
    Step,
)
from avatarify_plus.errors import CameraError
from avatarify_plus.types import FloatArray
from persons import acting, calm_face

FPS = 10
ENDLESS_S = 300

Actor = Callable[[Step, float], FloatArray | None]
"""What a person does in a step, at a time since it began."""


def run(actor: Actor) -> tuple[GuidedMinute, list[tuple[float, Moment]]]:
    """Return the minute of a person, and each moment with its time."""
    minute, moments, begun_s, step = GuidedMinute(), [], 0.0, STEPS[0]
    for index in range(ENDLESS_S * FPS):
        time_s = index / FPS
        moment = minute.turn(actor(step, time_s - begun_s), time_s)
        if moment.step is not step:
            step, begun_s = moment.step, time_s
        moments.append((time_s, moment))
        if moment.is_over:
            break
    return minute, moments


def obedient(step: Step, time_s: float) -> FloatArray:
    """Show each need of a step in turn, a second each."""
    return acting(step.needs[int(time_s) % len(step.needs)], time_s)


def lazy(step: Step, time_s: float) -> FloatArray:
    return acting(Need.NEUTRAL, time_s)


def lengths(moments: list[tuple[float, Moment]]) -> dict[Step, float]:
    """Return how long each step took."""
    counts: dict[Step, float] = {}
    for _, moment in moments:
        counts[moment.step] = counts.get(moment.step, 0.0) + 1 / FPS
    return counts


def test_the_steps_ask_for_everything_once_in_about_a_minute() -> None:
    assert sorted((need for step in STEPS for need in step.needs), key=str) == sorted(Need, key=str)
    assert [step.id for step in STEPS] == ["straight", "turn", "read", "smile", "close", "wide"]
    assert 50 <= sum(step.seconds for step in STEPS) <= 70
    assert set(MORE) == set(Need)
    words = sum(len(sentence.split()) for sentence in SENTENCES)
    reading = STEPS[2]
    assert all(sentence in reading.text for sentence in SENTENCES)
    assert 2.0 <= words / reading.seconds <= 3.0, "people read two to three words a second aloud"


def test_who_does_as_he_is_asked_is_done_sooner_and_is_not_asked_again() -> None:
    minute, moments = run(obedient)
    assert moments[-1][1].is_over and not minute.tally.missing
    took = lengths(moments)
    assert list(took) == list(STEPS)
    assert moments[-1][0] < sum(step.seconds for step in STEPS)
    for step, seconds in took.items():
        assert EARLIEST * step.seconds - 2 / FPS <= seconds <= step.seconds + 2 / FPS, step.id


def test_reading_is_never_cut_short() -> None:
    _, moments = run(obedient)
    reading = next(step for step in STEPS if step.id == "read")
    shown_s = next(s for s, moment in moments if moment.step is reading and moment.shown == {Need.TALKING})
    end_s = next(s for s, moment in moments if moment.step is STEPS[3])
    assert end_s - shown_s > reading.seconds / 2
    assert lengths(moments)[reading] == pytest.approx(reading.seconds, abs=2 / FPS)


def test_who_does_nothing_is_asked_again_for_a_while() -> None:
    minute, moments = run(lazy)
    took = lengths(moments)
    again = [step for step in took if step.id == "more"]
    assert list(took) == [*STEPS, *again]
    assert again[0].needs == (Need.LEFT, Need.RIGHT, Need.UP, Need.DOWN) and "Once more" in again[0].text
    assert all(step.seconds >= MIN_AGAIN_S for step in again)
    assert sum(took[step] for step in again) <= AGAIN_S + 1 / FPS
    assert minute.tally.missing == tuple(need for need in Need if need is not Need.NEUTRAL)
    assert took[STEPS[0]] < STEPS[0].seconds, "a calm face was shown"


def test_only_what_is_missing_is_asked_again_and_ends_when_it_is_shown() -> None:
    def forgetful(step: Step, time_s: float) -> FloatArray:
        if step.id != "more" and step.needs[int(time_s) % len(step.needs)] in (Need.RIGHT, Need.SMILE):
            return lazy(step, time_s)
        return obedient(step, time_s)

    minute, moments = run(forgetful)
    took = lengths(moments)
    again = [step for step in took if step.id == "more"]
    assert [step.needs for step in again] == [(Need.RIGHT,), (Need.SMILE,)]
    assert MORE[Need.RIGHT] in again[0].text and MORE[Need.LEFT] not in again[0].text
    assert all(took[step] <= EARLIEST * step.seconds + 2 / FPS for step in again)
    assert moments[-1][1].is_over and not minute.tally.missing


def test_a_moment_says_how_long_the_step_takes_and_what_it_has_shown() -> None:
    minute = GuidedMinute()
    for index in range(2 * FPS):
        moment = minute.turn(calm_face(), index / FPS)
        if index == FPS // 2:
            assert moment == Moment(STEPS[0], pytest.approx(STEPS[0].seconds - 0.5), frozenset(), True, False)
    assert moment.step is STEPS[1] and not moment.shown
    for index in range(2 * FPS, 3 * FPS):
        moment = minute.turn(acting(Need.LEFT, 0), index / FPS)
    assert moment.shown == {Need.LEFT}, "what other steps have shown is not this step's"


def test_time_without_a_face_does_not_count() -> None:
    minute = GuidedMinute()
    before = minute.turn(calm_face(), 0.0)
    away = [minute.turn(None, 1.0 + index / FPS) for index in range(20 * FPS)]
    back = minute.turn(calm_face(), 22.0)
    assert {moment.seconds_left for moment in (before, *away, back)} == {STEPS[0].seconds}
    assert not any(moment.has_face for moment in away) and back.has_face


def test_nobody_is_waited_for_for_ever() -> None:
    minute = GuidedMinute()
    assert not minute.turn(None, 5.0).is_over
    assert not minute.turn(None, 5.0 + PATIENCE_S).is_over
    with pytest.raises(CameraError, match=r"no face was seen for 60 s: .* start again"):
        minute.turn(None, 5.1 + PATIENCE_S)


def test_the_pauses_add_up() -> None:
    minute, time_s = GuidedMinute(), 0.0
    with pytest.raises(CameraError, match="no face"):
        while time_s < ENDLESS_S:
            face = None if time_s % 10 < 7 else calm_face()
            minute.turn(face, time_s)
            time_s += 1 / FPS
    assert PATIENCE_S < time_s - minute.tally.seconds < PATIENCE_S + 1
    assert time_s > PATIENCE_S + 15


def test_after_the_end_nothing_counts() -> None:
    minute, moments = run(obedient)
    seconds, end_s = minute.tally.seconds, moments[-1][0]
    later = minute.turn(None, end_s + 1000)
    assert later.is_over and later.seconds_left == 0 and minute.tally.seconds == seconds
    assert minute.turn(calm_face(), end_s + 1001).step is moments[-1][1].step


def test_the_minute_leaves_the_landmarks_alone() -> None:
    face = calm_face().copy()
    GuidedMinute().turn(face, 0.0)
    assert np.array_equal(face, calm_face())
