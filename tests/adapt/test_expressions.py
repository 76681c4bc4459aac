"""Each need is found in a face that shows it, in no other, and whatever the face and the picture are like."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from avatarify_plus.adapt.expressions import KNOWN_AFTER_S, MAX_INTERVAL_S, SHOWN_AFTER_S, Need, Tally
from avatarify_plus.face.landmarks import FACE_SIDES, NOSE_TIP
from avatarify_plus.types import FloatArray
from persons import SPEECH_HZ, acting, calm_face, person, turned

FPS = 25
CALM_S = 2.0

Act = Callable[[float], FloatArray | None]


def tally_of(acts: Iterable[tuple[Act, float]]) -> Tally:
    """Return what is found in faces that do one thing after the other, each for some seconds."""
    tally, index = Tally(), 0
    for act, seconds in acts:
        for _ in range(round(seconds * FPS)):
            tally.add(act(index / FPS), index / FPS)
            index += 1
    return tally


def calm(time_s: float) -> FloatArray:
    return acting(Need.NEUTRAL, time_s)


def shows(need: Need) -> Act:
    return lambda time_s: acting(need, time_s)


@pytest.mark.parametrize("need", Need)
def test_a_need_is_found_where_it_is_shown_and_nothing_else(need: Need) -> None:
    tally = tally_of([(calm, CALM_S), (shows(need), 1.5 * SHOWN_AFTER_S[need] + 0.5)])
    assert tally.shown == {Need.NEUTRAL, need}
    assert tally.missing == tuple(each for each in Need if each not in (Need.NEUTRAL, need))


@pytest.mark.parametrize("need", [need for need in Need if need is not Need.NEUTRAL])
def test_what_is_shown_for_too_short_a_time_is_missing(need: Need) -> None:
    tally = tally_of([(calm, CALM_S), (shows(need), 0.5 * SHOWN_AFTER_S[need]), (calm, 0.5)])
    assert tally.shown == {Need.NEUTRAL}


def test_left_and_up_are_the_subjects_own() -> None:
    sides = list(FACE_SIDES)

    def nose(face: FloatArray) -> FloatArray:
        return face[NOSE_TIP] - face[sides].mean(0)

    straight = nose(calm_face())
    assert nose(acting(Need.LEFT, 0))[0] > straight[0] > nose(acting(Need.RIGHT, 0))[0]  # pictures are not mirrored
    assert nose(acting(Need.UP, 0))[1] < straight[1] < nose(acting(Need.DOWN, 0))[1]


@pytest.mark.parametrize("pitch", [-8.0, 20.0])
def test_a_nod_is_measured_from_the_heads_own_pose(pitch: float) -> None:
    def at(nod: float) -> Act:
        face = person(pitch=pitch + nod)
        return lambda time_s: face

    assert tally_of([(at(0), CALM_S), (at(6), 1.0), (at(-6), 1.0)]).shown == {Need.NEUTRAL}
    assert tally_of([(at(0), CALM_S), (at(13), 1.0), (at(-13), 1.0)]).shown == {Need.NEUTRAL, Need.UP, Need.DOWN}


def test_a_film_of_two_turns_shows_both_however_long_each_is() -> None:
    tally = tally_of([(shows(Need.LEFT), 5.0), (shows(Need.RIGHT), 1.0)])
    assert tally.shown >= {Need.LEFT, Need.RIGHT}


@pytest.mark.parametrize(("scale", "shift"), [(1 / 640, 0.0), (3.0, 500.0)])
def test_units_and_place_do_not_matter(scale: float, shift: float) -> None:
    acts = [(calm, CALM_S), *((shows(need), SHOWN_AFTER_S[need] + 1.0) for need in Need)]
    there = [(lambda t, act=act: scale * act(t) + np.float32(shift), seconds) for act, seconds in acts]
    assert tally_of(there).shown == tally_of(acts).shown == set(Need)


def test_a_wide_mouth_at_rest_is_no_smile() -> None:
    wide = person(widened=1.15)
    talks = person(widened=1.15, lips=0.08)
    assert Need.SMILE not in tally_of([(lambda t: wide, CALM_S), (lambda t: talks, 2.0)]).shown


def test_a_smile_is_measured_from_the_own_mouth() -> None:
    narrow, smile = person(widened=0.85), person(widened=0.98, raised=0.05, lips=0.08)
    assert tally_of([(lambda t: narrow, CALM_S), (lambda t: smile, 1.0)]).shown == {Need.NEUTRAL, Need.SMILE}


def test_whoever_always_smiles_must_show_teeth() -> None:
    smile, with_teeth = person(widened=1.2, raised=0.08), person(widened=1.2, raised=0.08, lips=0.08)
    assert not tally_of([(lambda t: smile, CALM_S)]).shown, "nor is it a calm face"
    assert tally_of([(lambda t: smile, CALM_S), (lambda t: with_teeth, 1.0)]).shown == {Need.SMILE}


def test_narrow_eyes_are_not_closed_and_their_blinks_are_found() -> None:
    narrow, shut = person(lids=0.5), person(lids=0.1)
    open_only = tally_of([(lambda t: narrow, CALM_S)])
    assert Need.EYES_CLOSED not in open_only.shown
    blinks = tally_of([(lambda t: narrow, CALM_S), (lambda t: shut, 2 / FPS)])
    assert Need.EYES_CLOSED in blinks.shown


def test_a_slow_yawn_and_a_mouth_that_stays_open_are_no_talk() -> None:
    def yawn(time_s: float) -> FloatArray:
        return person(lips=round(0.16 * (1 - math.cos(2 * math.pi * time_s / 4)), 2))

    ajar = person(lips=0.1)
    tally = tally_of([(calm, CALM_S), (yawn, 12.0), (lambda t: ajar, 6.0)])
    assert Need.WIDE_OPEN in tally.shown and Need.TALKING not in tally.shown


def test_noise_of_the_mesh_is_no_talk() -> None:
    rng = np.random.default_rng(0)
    face = person(lips=0.05)

    def trembling(time_s: float) -> FloatArray:
        return (face + rng.normal(0, 0.3, face.shape)).astype(np.float32)

    assert Need.TALKING not in tally_of([(trembling, 10.0)]).shown


def test_speech_counts_for_as_long_as_it_lasts() -> None:
    needed_s = SHOWN_AFTER_S[Need.TALKING]
    assert Need.TALKING not in tally_of([(calm, CALM_S), (shows(Need.TALKING), needed_s - 0.5)]).shown
    assert Need.TALKING in tally_of([(calm, CALM_S), (shows(Need.TALKING), needed_s + 2 / SPEECH_HZ)]).shown


def test_nothing_is_shown_before_the_face_is_known() -> None:
    assert not tally_of([(shows(Need.LEFT), KNOWN_AFTER_S - 0.1)]).shown
    assert Tally().missing == tuple(Need)


def test_seconds_are_those_in_which_a_face_is_seen() -> None:
    tally = tally_of([(lambda t: None, 3.0), (calm, 2.0), (lambda t: None, 3.0), (calm, 1.0)])
    assert tally.seconds == pytest.approx(3.0 - 2 / FPS)
    tally.add(calm_face(), 1000.0)  # a long pause
    assert tally.seconds == pytest.approx(3.0 - 2 / FPS + MAX_INTERVAL_S)


def test_what_is_talked_before_and_after_a_pause_does_not_join() -> None:
    wide, closed = person(lips=0.2), person()
    acts: list[tuple[Act, float]] = [(calm, CALM_S)]
    for _ in range(60):
        acts += [
            (lambda t: wide, 1 / FPS),
            (lambda t: None, 2 / FPS),
            (lambda t: closed, 1 / FPS),
            (lambda t: None, 2 / FPS),
        ]
    assert Need.TALKING not in tally_of(acts).shown


def test_a_turned_face_is_the_same_face() -> None:
    face = person(lips=0.1)
    assert np.linalg.norm(np.diff(turned(face, 30, 10), axis=0), axis=1) == pytest.approx(
        np.linalg.norm(np.diff(face, axis=0), axis=1), rel=1e-3, abs=1e-3
    )
