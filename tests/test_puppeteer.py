"""The story of one frame."""

from dataclasses import replace

import numpy as np
import pytest

from avatarify_plus.config import MotionMode
from avatarify_plus.engines import Source
from avatarify_plus.errors import SourceError
from avatarify_plus.face.contours import contour_points
from avatarify_plus.motion.keypoints import keypoints_from_mesh, load_mesh_layout, movement_scale, transfer
from avatarify_plus.motion.limit import TRAVEL
from avatarify_plus.motion.neutral_face import PATIENCE_S
from avatarify_plus.motion.presence import GAP_S
from avatarify_plus.motion.transition import TRANSITION_S
from avatarify_plus.pictures.images import Adjustment, View
from avatarify_plus.puppeteer import HOLD_S, REST_S, Puppeteer
from avatarify_plus.types import FloatArray, Image, Keypoints, PhotoRegion
from fakes import FakeEngine, face_mesh, plain_picture

LAYOUT = load_mesh_layout("face-20")
NOBODY = View(plain_picture(0, 64, 64), None, has_face=False)


def view(x: float = 32, y: float = 32, height_px: float = 32, level: int = 50) -> View:
    """Return a view of a face at a place in its 64 pixels."""
    return View(plain_picture(level, 64, 64), face_mesh((x, y), height_px, 64, 64), has_face=True)


def keypoints(seen: View) -> Keypoints:
    assert seen.landmarks is not None
    return keypoints_from_mesh(seen.landmarks, LAYOUT)


def ready(
    engine: FakeEngine, motion: MotionMode = "relative", scale: float | None = 1.0, smoothing: float = 0.0
) -> Puppeteer:
    puppeteer = Puppeteer(engine, motion, scale, smoothing)
    puppeteer.set_source(view(30, 34))
    return puppeteer


def assert_close(found: Keypoints, wanted: Keypoints, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(found.value, wanted.value, atol=tolerance)
    np.testing.assert_allclose(found.jacobian, wanted.jacobian, atol=10 * tolerance)


def test_the_first_driving_frame_shows_the_source_as_it_is() -> None:
    engine = FakeEngine()
    ready(engine).animate(view(40, 20, 40), 0.0)
    assert_close(engine.animated[-1], keypoints(view(30, 34)))


def test_the_keypoints_of_driver_and_picture_can_be_asked_for() -> None:
    engine = FakeEngine()
    puppeteer = Puppeteer(engine)
    assert puppeteer.driving is None and puppeteer.shown is None
    puppeteer.set_source(view(30, 34))
    assert puppeteer.driving is None and puppeteer.shown is engine.animated[-1]
    for time_s, seen in ((0.0, view(40, 20)), (0.04, view(44, 18))):
        puppeteer.animate(seen, time_s)
        assert puppeteer.driving is not None
        assert_close(puppeteer.driving, keypoints(seen))
        assert puppeteer.shown is engine.animated[-1]
    puppeteer.animate(NOBODY, 0.08)
    assert_close(puppeteer.driving, keypoints(view(44, 18)))


def test_relative_motion_is_measured_from_the_first_frame() -> None:
    engine = FakeEngine()
    puppeteer = ready(engine)
    puppeteer.animate(view(40, 20), 0.0)
    puppeteer.animate(view(44, 18), 0.04)
    wanted = transfer(keypoints(view(30, 34)), keypoints(view(44, 18)), keypoints(view(40, 20)))
    assert_close(engine.animated[-1], wanted)
    np.testing.assert_allclose(
        engine.animated[-1].value - keypoints(view(30, 34)).value, np.tile([8 / 64, -4 / 64], (20, 1)), atol=1e-4
    )


def test_the_movement_scale_is_found_from_the_faces_or_given() -> None:
    for given, expected in ((None, movement_scale(keypoints(view()), keypoints(view(height_px=16)))), (3.0, 3.0)):
        engine = FakeEngine()
        puppeteer = ready(engine, scale=given)
        puppeteer.animate(view(32, 32, 16), 0.0)
        puppeteer.animate(view(36, 32, 16), 0.04)
        moved = engine.animated[-1].value - keypoints(view(30, 34)).value
        np.testing.assert_allclose(moved, np.tile([8 / 64 * expected, 0], (20, 1)), atol=1e-3)
    assert expected != 2.0


def test_recalibrating_takes_the_next_face_as_neutral() -> None:
    engine = FakeEngine()
    puppeteer = ready(engine)
    puppeteer.animate(view(40, 20), 0.0)
    puppeteer.recalibrate()
    puppeteer.animate(NOBODY, 0.04)
    puppeteer.animate(view(50, 40), 0.08)
    assert_close(engine.animated[-1], keypoints(view(30, 34)))


def test_absolute_motion_takes_the_drivers_pose() -> None:
    engine = FakeEngine()
    ready(engine, "absolute").animate(view(40, 20, 40), 0.0)
    assert_close(engine.animated[-1], keypoints(view(40, 20, 40)))


def test_a_lost_face_holds_the_last_picture() -> None:
    engine = FakeEngine()
    puppeteer = ready(engine)
    neutral = puppeteer.animate(NOBODY, 0.0)  # before anybody was seen: the avatar at rest
    assert_close(engine.animated[-1], keypoints(view(30, 34)))
    moving = puppeteer.animate(view(40, 20), 0.04)
    count = len(engine.animated)
    np.testing.assert_array_equal(puppeteer.animate(NOBODY, 0.08), moving)
    assert len(engine.animated) == count
    assert not np.array_equal(neutral, moving)


def test_smoothing_calms_what_jitters() -> None:
    spreads = []
    random = np.random.default_rng(0)
    jitter = random.normal(0, 0.03, (40, 2))
    for strength in (0.0, 0.5, 1.0):
        engine = FakeEngine()
        puppeteer = ready(engine, smoothing=strength)
        for index, (x, y) in enumerate(jitter):
            puppeteer.animate(view(32 + x, 32 + y), index / 25)
        values = np.stack([keypoints.value for keypoints in engine.animated[10:]])
        spreads.append(float(np.diff(values, axis=0).std()))
    assert spreads[0] > 2 * spreads[1] > 3 * spreads[2]


def test_learned_keypoints_come_from_the_engine() -> None:
    engine = FakeEngine("learned")
    puppeteer = Puppeteer(engine)
    assert not puppeteer.needs_mesh
    assert Puppeteer(FakeEngine()).needs_mesh
    puppeteer.set_source(View(plain_picture(10, 64, 64), None, has_face=True))
    puppeteer.animate(View(plain_picture(20, 64, 64), None, has_face=True), 0.0)
    puppeteer.animate(NOBODY, 0.04)
    assert [int(image[0, 0, 0]) for image in engine.detected] == [10, 20]
    assert len(engine.sources) == 1


def test_mixed_keypoints_are_the_meshs_and_then_the_engines() -> None:
    engine, mesh_engine = FakeEngine("both"), FakeEngine()
    for each in (engine, mesh_engine):
        ready(each).animate(view(34, 31), 0.0)
    mixed, mesh = engine.animated[-1], mesh_engine.animated[-1]
    assert mixed.value.shape == (24, 2) and mixed.jacobian.shape == (24, 2, 2)
    np.testing.assert_array_equal(mixed.value[:20], mesh.value)
    detected = engine.detect(view(34, 31).image)
    np.testing.assert_allclose(mixed.value[20:], detected.value, atol=1e-6)
    assert Puppeteer(engine).needs_mesh


def test_an_avatar_is_needed_first() -> None:
    with pytest.raises(SourceError, match="no avatar was set"):
        Puppeteer(FakeEngine()).animate(view(), 0.0)
    with pytest.raises(SourceError, match="shows no face"):
        Puppeteer(FakeEngine()).set_source(NOBODY)


# --- nothing jumps ---

FPS = 25.0


def play(puppeteer: Puppeteer, views: list[View], start_s: float = 0.0) -> None:
    """Animate views at FPS and offer each for the search."""
    for index, seen in enumerate(views):
        puppeteer.animate(seen, start_s + index / FPS)
        puppeteer.search(start_s + index / FPS)


def largest_step(engine: FakeEngine, since: int) -> float:
    """Return how far keypoints went at most between two pictures, from the one before the given on."""
    values = np.stack([shown.value for shown in engine.animated[since - 1 :]])
    return float(np.linalg.norm(np.diff(values, axis=0), axis=-1).max())


def frames(seconds: float) -> int:
    return round(seconds * FPS)


def test_a_lost_face_eases_to_rest_and_back_when_found() -> None:
    engine = FakeEngine()
    puppeteer = ready(engine)
    play(puppeteer, [view(30, 34), view(37, 31)])
    held = len(engine.animated)
    play(puppeteer, frames(HOLD_S) * [NOBODY], 0.08)
    assert len(engine.animated) == held  # the picture is held
    play(puppeteer, (frames(REST_S) + 2) * [NOBODY], 0.08 + HOLD_S)
    assert_close(engine.animated[-1], keypoints(view(30, 34)))
    rested = len(engine.animated)
    assert rested > held + frames(REST_S) / 2
    assert largest_step(engine, held) < 0.05
    play(puppeteer, 10 * [NOBODY], 5.0)
    assert len(engine.animated) == rested  # and rests without work
    play(puppeteer, (frames(TRANSITION_S) + 2) * [view(37, 31)], 6.0)
    assert largest_step(engine, rested) < 0.1
    assert_close(engine.animated[-1], engine.animated[held - 1])


def test_a_face_lost_for_a_moment_goes_on_without_delay() -> None:
    engine = FakeEngine()
    puppeteer = ready(engine)
    play(puppeteer, [view(30, 34), *3 * [view(32, 34)], *4 * [NOBODY], view(40, 34)])
    assert 4 / FPS < GAP_S
    wanted = transfer(keypoints(view(30, 34)), keypoints(view(40, 34)), keypoints(view(30, 34)))
    assert_close(engine.animated[-1], wanted)


def test_a_gap_in_time_starts_a_transition_but_slow_drivers_have_none() -> None:
    for times, has_transition in (([0, 0.04, 0.08, 2.08], True), ([0, 1, 2, 3], False)):
        engine = FakeEngine()
        puppeteer = ready(engine)
        for time_s, x in zip(times, (30, 31, 32, 44), strict=True):
            puppeteer.animate(view(x, 34), time_s)
        moved = float((engine.animated[-1].value - engine.animated[-2].value)[0, 0])
        assert moved == pytest.approx(0 if has_transition else 2 * 12 / 64, abs=1e-4)


@pytest.mark.parametrize("has_new_square", [True, False])
def test_a_new_square_or_a_hop_to_another_face_starts_a_transition(has_new_square: bool) -> None:
    engine = FakeEngine()
    puppeteer = ready(engine)
    play(puppeteer, 3 * [view(30, 34)])
    before = len(engine.animated)
    there = view(34 if has_new_square else 44, 34)._replace(has_new_square=has_new_square)
    play(puppeteer, [there, *frames(TRANSITION_S) * [there._replace(has_new_square=False)]], 0.12)
    assert largest_step(engine, before) < 0.1
    wanted = transfer(keypoints(view(30, 34)), keypoints(there), keypoints(view(30, 34)))
    assert_close(engine.animated[-1], wanted)


def test_recalibrating_leads_to_rest_by_a_transition() -> None:
    engine = FakeEngine()
    puppeteer = ready(engine)
    play(puppeteer, [view(30, 34), view(34, 30), view(38, 26)])
    before = len(engine.animated)
    puppeteer.recalibrate()
    play(puppeteer, (frames(TRANSITION_S) + 2) * [view(38, 26)], 0.12)
    assert largest_step(engine, before) < 0.08
    assert_close(engine.animated[-1], keypoints(view(30, 34)))


# --- the search ---


def person(yaw: float = 0.0, shut: float = 0.0, x: float = 0.5) -> View:
    """Return a view of a face, turned, with eyes shut by a share, somewhere."""
    return View(plain_picture(50, 64, 64), face_mesh((64 * x, 32), 38, 64, 64, yaw, shut), has_face=True)


def searching(engine: FakeEngine, motion: MotionMode = "relative") -> Puppeteer:
    puppeteer = Puppeteer(engine, motion, searches=True)
    puppeteer.set_source(person())
    return puppeteer


def test_the_avatar_rests_until_a_good_face_comes() -> None:
    engine = FakeEngine()
    puppeteer = searching(engine)
    play(puppeteer, 5 * [person(yaw=0.6)])
    assert len(engine.animated) == 1  # the still picture alone
    assert puppeteer.neutral_score is None
    play(puppeteer, 3 * [person()], 0.2)
    assert puppeteer.neutral_score is not None and puppeteer.neutral_score > 0.9
    assert_close(engine.animated[-1], keypoints(person()))


def test_a_bad_beginning_is_mended_without_a_jump() -> None:
    engine = FakeEngine()
    puppeteer = searching(engine)
    turned = [person(yaw=0.6)] * (frames(PATIENCE_S) + 4)
    play(puppeteer, turned)
    bad = puppeteer.neutral_score
    assert bad is not None and bad < 0.3
    came = [person(yaw=0.6 * (1 - index / 40)) for index in range(41)]
    play(puppeteer, came, 2.0)
    play(puppeteer, 40 * [person()], 4.0)
    assert puppeteer.neutral_score is not None and puppeteer.neutral_score > 0.9
    np.testing.assert_allclose(engine.animated[-1].value, keypoints(person()).value, atol=0.06)
    assert largest_step(engine, 2) < 0.05


def test_after_a_long_absence_the_face_is_measured_again() -> None:
    engine = FakeEngine()
    puppeteer = searching(engine)
    play(puppeteer, 5 * [person()])
    play(puppeteer, frames(3) * [NOBODY], 0.2)
    back = person(x=0.6)
    play(puppeteer, 3 * frames(TRANSITION_S) * [back], 4.0)
    assert puppeteer.neutral_score is not None and puppeteer.neutral_score > 0.9
    assert_close(engine.animated[-1], keypoints(person()))
    assert largest_step(engine, 2) < 0.05


def test_a_gap_in_time_alone_raises_no_doubt() -> None:
    """The camera stood still, or somebody looked through: the initial face stays."""
    puppeteer = searching(FakeEngine())
    play(puppeteer, 5 * [person()])
    score = puppeteer.neutral_score
    play(puppeteer, 3 * [person(yaw=0.4)], 9.0)
    assert score is not None and puppeteer.neutral_score == score


def test_the_search_can_be_switched_while_running() -> None:
    engine = FakeEngine()
    puppeteer = searching(engine)
    puppeteer.searches = False
    play(puppeteer, 3 * [person(yaw=0.6)])
    bad = puppeteer.neutral_score
    play(puppeteer, 3 * [person()], 0.12)
    assert puppeteer.neutral_score == bad
    puppeteer.searches = True
    play(puppeteer, 3 * [person()], 0.24)
    assert bad is not None and puppeteer.neutral_score is not None and puppeteer.neutral_score > bad


def test_only_what_was_just_animated_is_considered() -> None:
    puppeteer = searching(FakeEngine())
    puppeteer.search(0.0)
    assert puppeteer.neutral_score is None
    puppeteer.animate(person(yaw=0.6), 0.0)
    puppeteer.search(0.04)  # panic: nothing was animated then
    assert puppeteer.neutral_score is None


def test_absolute_motion_needs_no_initial_face() -> None:
    engine = FakeEngine()
    puppeteer = searching(engine, "absolute")
    play(puppeteer, 3 * [person(yaw=0.3)])
    assert puppeteer.neutral_score is None
    assert_close(engine.animated[-1], keypoints(person(yaw=0.3)))


# --- several avatars ---


def test_another_avatar_takes_over_within_a_frame_in_the_same_pose() -> None:
    engine = FakeEngine()
    puppeteer = Puppeteer(engine, movement_scale=1.0)
    first, second = (puppeteer.encode(view(x, 34, level=level)) for x, level in ((30, 50), (36, 90)))
    puppeteer.set_avatar(first)
    play(puppeteer, [view(30, 34), view(34, 34)])
    count = len(engine.animated)
    puppeteer.set_avatar(second)
    assert len(engine.animated) == count  # switching computes nothing by itself
    puppeteer.animate(view(34, 34), 0.08)
    wanted = transfer(keypoints(view(36, 34)), keypoints(view(34, 34)), keypoints(view(30, 34)))
    assert_close(engine.animated[-1], wanted)


def test_another_avatar_shows_at_once_even_if_nobody_is_seen() -> None:
    engine = FakeEngine()
    puppeteer = Puppeteer(engine, movement_scale=1.0)
    first, second = (puppeteer.encode(view(x, 34)) for x in (30, 36))
    puppeteer.set_avatar(first)
    np.testing.assert_array_equal(puppeteer.animate(NOBODY, 0.0), first.still)
    play(puppeteer, [view(30, 34), view(34, 34)], 0.04)
    puppeteer.set_avatar(second)
    play(puppeteer, [NOBODY], 0.12)
    assert_close(engine.animated[-1], transfer(keypoints(view(36, 34)), engine.animated[-2], keypoints(view(30, 34))))
    play(puppeteer, frames(HOLD_S + REST_S) * [NOBODY], 0.16)
    play(puppeteer, [NOBODY], 4.0)
    assert_close(engine.animated[-1], keypoints(view(36, 34)))


def test_an_avatar_set_during_a_transition_continues_it() -> None:
    engine = FakeEngine()
    puppeteer = Puppeteer(engine, movement_scale=1.0)
    first, second = (puppeteer.encode(view(x, 34)) for x in (30, 36))
    puppeteer.set_avatar(first)
    play(puppeteer, [view(30, 34), view(38, 34)])
    play(puppeteer, frames(HOLD_S + REST_S / 2) * [NOBODY], 0.08)
    shown = engine.animated[-1].value - keypoints(view(30, 34)).value
    puppeteer.set_avatar(second)
    play(puppeteer, [NOBODY], 0.08 + HOLD_S + REST_S / 2)
    now = engine.animated[-1].value - keypoints(view(36, 34)).value
    assert 0.02 < float(now.mean()) < float(shown.mean()) < float(now.mean()) + 0.02


# --- how much ---


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
def test_strength_multiplies_all_motion(strength: float) -> None:
    engine = FakeEngine()
    puppeteer = Puppeteer(engine, movement_scale=1.0, strength=strength)
    puppeteer.set_source(view(30, 34))
    play(puppeteer, [view(30, 34), view(34, 34)])
    moved = engine.animated[-1].value - keypoints(view(30, 34)).value
    np.testing.assert_allclose(moved, np.tile([strength * 8 / 64, 0], (20, 1)), atol=1e-4)
    puppeteer.set_strength(0.25)
    play(puppeteer, [view(34, 34)], 0.08)
    moved = engine.animated[-1].value - keypoints(view(30, 34)).value
    np.testing.assert_allclose(moved, np.tile([0.25 * 8 / 64, 0], (20, 1)), atol=1e-4)


def test_smoothing_can_be_set_while_running() -> None:
    engine = FakeEngine()
    puppeteer = ready(engine)
    play(puppeteer, [view(30, 34), view(31, 34)])
    puppeteer.set_smoothing(1.0)
    play(puppeteer, [view(31, 34), view(31.1, 34)], 0.08)
    lagging = float((engine.animated[-1].value - engine.animated[-2].value).mean())
    puppeteer.set_smoothing(0.0)
    play(puppeteer, [view(31.1, 34), view(31.2, 34)], 0.16)
    exact = float((engine.animated[-1].value - engine.animated[-2].value).mean())
    assert exact == pytest.approx(0.1 / 64, rel=1e-2)
    assert 0 < lagging < 0.8 * exact


def test_motion_out_of_reach_is_limited_and_reported() -> None:
    engine = FakeEngine()
    puppeteer = ready(engine)
    play(puppeteer, [view(30, 34)])
    assert not puppeteer.is_limited
    for index in range(1, 15):  # the head leaves the picture, as no model has seen
        puppeteer.animate(view(30 + 5 * index, 34), index / FPS)
    assert puppeteer.is_limited
    travelled = engine.animated[-1].value.mean(0) - keypoints(view(30, 34)).value.mean(0)
    assert TRAVEL.knee < float(np.linalg.norm(travelled)) < TRAVEL.end
    puppeteer.animate(view(30, 34), 1.0)
    assert not puppeteer.is_limited


def test_moving_the_square_by_hand_moves_the_avatar_whenever_it_was_done() -> None:
    """Zoom and shift are kept between sessions: the first face must not swallow them."""
    by_hand = Adjustment(1.25, 0.1, 0.0)
    moved = view(32 - 1.25 * 6.4, 32, 40)._replace(adjustment=by_hand)  # what framing makes of view(32, 32, 32)
    shown = []
    for views in ([view(32, 32), moved], [moved, moved]):
        engine = FakeEngine()
        puppeteer = Puppeteer(engine)
        puppeteer.set_source(view(32, 32))
        play(puppeteer, views)
        shown.append(engine.animated[-1])
    assert_close(shown[0], keypoints(moved), 1e-3)
    assert_close(shown[1], shown[0], 1e-3)


# --- contour points ---


def drawing_engine() -> FakeEngine:
    """Return the engine of a model that reads contours."""
    engine = FakeEngine()
    engine.config = replace(engine.config, photo_reach=1.5, part_width=4)
    return engine


def points(seen: View) -> FloatArray:
    assert seen.landmarks is not None
    return contour_points(seen.landmarks) * 2 - 1


def test_contour_points_travel_behind_the_keypoints() -> None:
    engine = drawing_engine()
    puppeteer = ready(engine)
    play(puppeteer, [view(40, 20), view(44, 18)])
    first, last = engine.animated[1], engine.animated[-1]
    assert first.value.shape == (20 + 117, 2) and first.jacobian.shape == (20 + 117, 2, 2)
    np.testing.assert_allclose(first.value[20:], points(view(30, 34)), atol=1e-4)
    np.testing.assert_allclose(last.value[20:], points(view(30, 34)) + np.array([8 / 64, -4 / 64]), atol=1e-4)
    assert last.value.dtype == np.float32


@pytest.mark.parametrize("motion", ["relative", "absolute"])
@pytest.mark.parametrize("smoothing", [0.0, 0.7])
def test_contour_points_leave_the_keypoints_as_they_are(motion: MotionMode, smoothing: float) -> None:
    """Scale, limit, smoothing, the search, transitions and switching count the network's keypoints alone."""
    shown: list[list[Keypoints]] = []
    for engine in (FakeEngine(), drawing_engine()):
        puppeteer = Puppeteer(engine, motion, None, smoothing, searches=True)
        first, second = (puppeteer.encode(view(x, 34, height)) for x, height in ((30, 32), (36, 24)))
        puppeteer.set_avatar(first)
        play(puppeteer, [view(30, 34, 28), view(31, 34, 28), person(yaw=0.2), view(60, 34, 28), view(95, 34, 28)])
        play(puppeteer, frames(HOLD_S + REST_S / 2) * [NOBODY], 0.5)
        puppeteer.set_avatar(second)
        play(puppeteer, [view(30, 34, 28), view(33, 36, 30)], 3.0)
        shown.append(engine.animated)
    assert len(shown[0]) == len(shown[1])
    for plain, drawn in zip(*shown, strict=True):
        np.testing.assert_allclose(drawn.value[:20], plain.value, atol=1e-5)
        np.testing.assert_allclose(drawn.jacobian[:20], plain.jacobian, atol=1e-4)


def test_contour_points_stay_with_keypoints_that_are_limited() -> None:
    engine = drawing_engine()
    puppeteer = ready(engine)
    play(puppeteer, [view(30, 34)])
    for index in range(1, 15):
        puppeteer.animate(view(30 + 5 * index, 34), index / FPS)
    assert puppeteer.is_limited
    shown = engine.animated[-1].value
    np.testing.assert_allclose(
        shown[20:].mean(0) - shown[:20].mean(0), points(view()).mean(0) - keypoints(view()).value.mean(0), atol=0.02
    )


def test_contour_points_ease_in_transitions_and_are_smoothed() -> None:
    engine = drawing_engine()
    puppeteer = ready(engine)
    play(puppeteer, [view(30, 34), view(34, 34)])
    play(puppeteer, frames(HOLD_S + REST_S / 2) * [NOBODY], 0.08)
    travelled = engine.animated[-1].value - engine.animated[0].value
    assert 0.01 < travelled[20:, 0].mean() < 4 / 32 - 0.01
    np.testing.assert_allclose(travelled[20:].mean(0), travelled[:20].mean(0), atol=1e-4)

    engine = drawing_engine()
    puppeteer = ready(engine, smoothing=1.0)
    play(puppeteer, [view(30, 34), view(30.2, 34), view(30, 34), view(30.2, 34)])
    steps = np.diff([moved.value[20:, 0].mean() for moved in engine.animated[1:]])
    assert 0 < np.abs(steps).max() < 0.8 * 0.2 / 32


def test_the_photo_around_the_square_goes_to_the_engine() -> None:
    seen = []

    class Engine(FakeEngine):
        def encode_source(self, image: Image, keypoints: Keypoints, photo: PhotoRegion | None = None) -> Source:
            seen.append(photo)
            return super().encode_source(image, keypoints)

    puppeteer = Puppeteer(Engine())
    puppeteer.encode(view())
    photo = plain_picture(1, 96, 96)
    puppeteer.encode(view()._replace(photo=photo))
    assert seen[0] is None and seen[1] is photo
