"""What holds for motion whatever the faces are like."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from avatarify_plus.motion.controls import FOLLOW_ALL
from avatarify_plus.motion.expression import face_length
from avatarify_plus.motion.face import Face, FaceReader
from avatarify_plus.motion.face_pose import Pose, fit_pose
from avatarify_plus.motion.face_space import AvatarShape, DriverShape, FaceCarrier
from avatarify_plus.motion.keypoints import load_mesh_layout, movement_scale, transfer
from avatarify_plus.motion.limit import (
    LEARNED_STRETCH,
    LEARNED_TRAVEL,
    OUTER_LOCAL_TRAVEL,
    OUTER_STRETCH,
    TRAVEL,
    ZOOM,
    MotionLimit,
)
from avatarify_plus.motion.presence import Arrival, Presence
from avatarify_plus.motion.transition import Transition
from avatarify_plus.types import FloatArray, Keypoints
from properties import REPEATABLE, meshes, numbers, turns

NAMES = load_mesh_layout("face-20").names
LEARNED = 3


@st.composite
def similarities(draw: st.DrawFn) -> Pose:
    """Draw a similarity of space."""
    shift = np.array([draw(numbers(-1, 1)) for _ in range(3)], np.float32)
    return Pose(math.exp(draw(numbers(-1, 1))), draw(turns(2.0)), shift)


@st.composite
def keypoints(draw: st.DrawFn, far: float = 30.0) -> Keypoints:
    """Draw keypoints of any finite values, those of the face first."""
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    count, size = len(NAMES) + LEARNED, math.exp(draw(numbers(-12, math.log(far))))
    value = random.normal(draw(numbers(-far, far)), size, (count, 2))
    jacobian = random.normal(0, math.exp(draw(numbers(-12, math.log(far)))), (count, 2, 2))
    return Keypoints(value.astype(np.float32), jacobian.astype(np.float32))


def source() -> Keypoints:
    """Return an avatar's keypoints."""
    random = np.random.default_rng(0)
    value = np.concatenate([random.normal(0, 0.25, (len(NAMES), 2)), random.uniform(-0.6, 0.6, (LEARNED, 2))])
    jacobian = 0.4 * np.eye(2) + random.normal(0, 0.05, (len(value), 2, 2))
    return Keypoints(value.astype(np.float32), jacobian.astype(np.float32))


def assert_finite(found: Keypoints) -> None:
    assert np.isfinite(found.value).all() and np.isfinite(found.jacobian).all()


# --- transfer ---


@REPEATABLE
@given(meshes())
def test_a_face_that_drives_itself_stays_as_it_is(mesh: FloatArray) -> None:
    carrier = FaceCarrier(AvatarShape(mesh), DriverShape(mesh))
    for is_absolute in (False, True):
        found = carrier.carry(mesh, FOLLOW_ALL, is_absolute)
        np.testing.assert_allclose(found, mesh, atol=1e-4 * face_length(mesh))


@REPEATABLE
@given(meshes(), meshes(), meshes())
def test_no_motion_leaves_the_avatar_as_it_is(avatar: FloatArray, driver: FloatArray, other: FloatArray) -> None:
    """Read off a driver's neutral face, an avatar is its photo; in the picture, too."""
    reader = FaceReader("face-20", reads_contours=False)
    own, neutral = reader.face(avatar, None).keypoints, reader.face(driver, None).keypoints
    found = transfer(own, neutral, neutral, movement_scale(own, neutral))
    np.testing.assert_allclose(found.value, own.value, atol=1e-6)
    np.testing.assert_allclose(found.jacobian, own.jacobian, atol=1e-4 * np.abs(own.jacobian).max())
    assert_finite(transfer(own, reader.face(other, None).keypoints, neutral, movement_scale(own, neutral)))
    assert np.isfinite(FaceCarrier(AvatarShape(avatar), DriverShape(driver)).carry(other, FOLLOW_ALL)).all()


# --- pose ---


@REPEATABLE
@given(meshes(), meshes(), similarities())
def test_a_moved_face_has_the_moved_pose(first: FloatArray, second: FloatArray, move: Pose) -> None:
    before, after = fit_pose(first, second), fit_pose(first, move.apply(second))
    assert math.isclose(after.scale, move.scale * before.scale, rel_tol=1e-3)
    np.testing.assert_allclose(after.rotation, move.rotation @ before.rotation, atol=1e-3)
    np.testing.assert_allclose(after.apply(first), move.apply(before.apply(first)), atol=2e-3 * move.scale)
    np.testing.assert_allclose(after.rotation @ after.rotation.T, np.eye(3), atol=1e-5)
    assert np.linalg.det(after.rotation) > 0, "never a mirror image"
    np.testing.assert_allclose(after.undo(after.apply(first)), first, atol=1e-4)


@REPEATABLE
@given(meshes(), similarities())
def test_a_similarity_is_found_as_it_is(mesh: FloatArray, move: Pose) -> None:
    found = fit_pose(mesh, move.apply(mesh))
    assert math.isclose(found.scale, move.scale, rel_tol=1e-4)
    np.testing.assert_allclose(found.rotation, move.rotation, atol=1e-4)


# --- limits ---


@REPEATABLE
@given(keypoints())
def test_nothing_gets_beyond_the_limits(wanted: Keypoints) -> None:
    """Also what was limited before, which is bent once more, since the bend is soft."""
    own = source()
    limit = MotionLimit(own, NAMES)
    face, rest = slice(len(NAMES)), slice(len(NAMES), None)
    middle = own.value[face].mean(0)
    radius = float(np.sqrt(np.square(own.value[face] - middle).sum(1).mean()))
    places = np.linalg.norm(own.value[face] - middle, axis=1)
    farthest = TRAVEL.end + (1 + math.exp(ZOOM.end)) * places + OUTER_LOCAL_TRAVEL.end * radius
    for _ in range(2):
        wanted = limit.apply(wanted)
        assert_finite(wanted)
        ways = np.linalg.norm(wanted.value - own.value, axis=1)
        assert (ways[face] <= farthest + 1e-4).all() and (ways[rest] <= LEARNED_TRAVEL.end + 1e-4).all()
        stretches = np.linalg.svd(wanted.jacobian @ np.linalg.inv(own.jacobian), compute_uv=False)[:, 0]
        assert (np.log(stretches[face]) <= ZOOM.end + OUTER_STRETCH.end + 1e-3).all()
        assert (np.log(stretches[rest]) <= LEARNED_STRETCH.end + 1e-3).all()


@REPEATABLE
@given(keypoints(far=1.0), numbers(0, 1))
def test_what_is_within_the_limits_passes_as_it_is_and_again(wanted: Keypoints, share: float) -> None:
    own = source()
    limit = MotionLimit(own, NAMES)
    assert limit.apply(own) is own
    near = Keypoints(
        own.value + np.float32(share * 0.01) * np.clip(wanted.value, -1, 1),
        own.jacobian + np.float32(share * 0.01) * np.clip(wanted.jacobian, -1, 1),
    )
    assert limit.apply(near) is near


# --- presence and transition ---


@REPEATABLE
@given(
    keypoints(),
    st.lists(st.tuples(keypoints(), st.just(0.0) | numbers(0, 10), st.booleans()), min_size=2, max_size=12),
    st.lists(numbers(0, 1), min_size=1, max_size=3),
)
def test_presence_never_gives_what_is_no_number(
    first: Keypoints, frames: list[tuple[Keypoints, float, bool]], strengths: list[float]
) -> None:
    """Every other frame shows nearly the same face, which is smoothed."""
    presence, time_s = Presence(strengths[0]), 0.0
    for index, (other, pause_s, is_new) in enumerate(frames):
        near = Keypoints(first.value + np.tanh(other.value) / 50, first.jacobian + np.tanh(other.jacobian) / 50)
        found, is_new = (other, is_new) if index % 4 == 3 else (near, False)
        presence.set_smoothing(strengths[index % len(strengths)])
        time_s += pause_s
        presence.begin_frame(time_s)
        arrival = presence.notice(Face(found), is_new, time_s)
        assert presence.driving is not None
        assert_finite(presence.driving.keypoints)
        if arrival is not Arrival.STAYED:
            np.testing.assert_array_equal(presence.driving.keypoints.value, found.value)


@REPEATABLE
@given(keypoints(), keypoints(), numbers(-5, 5), st.lists(numbers(-5, 5), min_size=1), numbers(1e-3, 10))
def test_a_transition_stays_between_its_ends(
    start: Keypoints, wanted: Keypoints, begun_s: float, times_s: list[float], length_s: float
) -> None:
    transition = Transition()
    transition.begin(start, begun_s, length_s)
    low, high = np.minimum(start.value, wanted.value), np.maximum(start.value, wanted.value)
    tolerance = 1e-5 * (1 + np.abs(low) + np.abs(high))
    for time_s in times_s:
        found = transition.lead(wanted, time_s)
        assert_finite(found)
        assert (found.value >= low - tolerance).all() and (found.value <= high + tolerance).all()
    assert transition.lead(wanted, begun_s + 2 * length_s) is wanted
