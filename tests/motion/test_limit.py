"""Motion stays within what training saw."""

import numpy as np
import pytest

from avatarify_plus.motion.keypoints import determinant, first_keypoints, invert, load_mesh_layout, with_points
from avatarify_plus.motion.limit import (
    LEARNED_TRAVEL,
    OUTER_LOCAL_TRAVEL,
    OUTER_STRETCH,
    TRAVEL,
    TURN,
    ZOOM,
    MotionLimit,
    SoftLimit,
)
from avatarify_plus.types import FloatArray, Keypoints

NAMES = load_mesh_layout("face-20").names
MESH, LEARNED = len(NAMES), 4
EYE = np.eye(2, dtype=np.float32)


def face(learned: int = LEARNED) -> Keypoints:
    """Return a source: points all over a face, then some around it."""
    random = np.random.default_rng(0)
    value = np.concatenate([random.normal(0, 0.25, (MESH, 2)), random.uniform(-0.6, 0.6, (learned, 2))])
    jacobian = EYE * 0.4 + random.normal(0, 0.05, (MESH + learned, 2, 2))
    return Keypoints(value.astype(np.float32), jacobian.astype(np.float32))


def moved(source: Keypoints, matrix: FloatArray, travel: tuple[float, float] = (0.0, 0.0)) -> Keypoints:
    """Return the keypoints after the picture went through an affine map about the face's middle."""
    middle = source.value[:MESH].mean(0)
    value = (source.value - middle) @ matrix.T + middle + np.array(travel, np.float32)
    return Keypoints(value.astype(np.float32), (matrix @ source.jacobian).astype(np.float32))


def turned(angle: float, zoom: float = 1.0) -> FloatArray:
    cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]], np.float32)


def stretches(source: Keypoints, keypoints: Keypoints) -> FloatArray:
    """Return the logarithms of how each keypoint's surroundings are stretched, (K, 2)."""
    return np.log(np.linalg.svd(keypoints.jacobian @ invert(source.jacobian), compute_uv=False))


@pytest.mark.parametrize("seed", range(5))
def test_usual_motion_passes_as_it_is(seed: int) -> None:
    random = np.random.default_rng(seed)
    source = face()
    matrix = turned(random.uniform(-0.3, 0.3), np.exp(random.uniform(-0.3, 0.3)))
    keypoints = moved(source, matrix, (0.2, -0.2))
    keypoints = Keypoints(
        keypoints.value + random.normal(0, 0.02, keypoints.value.shape).astype(np.float32),
        keypoints.jacobian @ (EYE + random.normal(0, 0.05, keypoints.jacobian.shape)).astype(np.float32),
    )
    assert MotionLimit(source, NAMES).apply(keypoints) is keypoints


@pytest.mark.parametrize("reach", [TRAVEL, ZOOM, TURN])
def test_the_faces_motion_bends_at_the_knee_and_stays_below_the_end(reach: SoftLimit) -> None:
    source, shown = face(0), []
    limit = MotionLimit(source, NAMES)
    asked = np.linspace(0, 3 * reach.end, 40)
    for amount in asked:
        if reach is TRAVEL:
            keypoints = limit.apply(moved(source, EYE, (amount, 0.0)))
            shown.append(float((keypoints.value - source.value).mean(0)[0]))
        else:
            keypoints = limit.apply(moved(source, turned(0, np.exp(amount)) if reach is ZOOM else turned(amount)))
            whole = keypoints.jacobian[0] @ invert(source.jacobian)[0]
            zoom, angle = 0.5 * np.log(np.linalg.det(whole)), np.arctan2(whole[1, 0], whole[0, 0])
            shown.append(float(zoom if reach is ZOOM else angle))
    inside = asked <= reach.knee
    np.testing.assert_allclose(np.array(shown)[inside], asked[inside], atol=1e-4)
    assert np.all(np.diff(shown) > -1e-4)
    assert max(shown) <= reach.end + 1e-4


@pytest.mark.parametrize("seed", range(8))
def test_wild_keypoints_stay_within_reach(seed: int) -> None:
    random = np.random.default_rng(seed)
    source = face()
    wild = Keypoints(
        random.normal(0, 4, source.value.shape).astype(np.float32),
        random.normal(0, 9, source.jacobian.shape).astype(np.float32),
    )
    shown = MotionLimit(source, NAMES).apply(wild)
    radius = np.sqrt(np.square(source.value[:MESH] - source.value[:MESH].mean(0)).sum(1).mean())
    farthest = TRAVEL.end + OUTER_LOCAL_TRAVEL.end * radius + (np.exp(ZOOM.end) + 1) * 4 * radius
    ways = np.linalg.norm(shown.value - source.value, axis=1)
    assert np.linalg.norm((shown.value - source.value)[:MESH].mean(0)) < TRAVEL.end + OUTER_LOCAL_TRAVEL.end * radius
    assert ways[:MESH].max() < farthest
    assert ways[MESH:].max() < LEARNED_TRAVEL.end + 1e-4
    assert np.abs(stretches(source, shown)).max() < OUTER_STRETCH.end + ZOOM.end + 1e-3
    assert np.all(determinant(shown.jacobian) * determinant(source.jacobian) > 0)  # nothing is inside out
    assert shown.value.dtype == shown.jacobian.dtype == np.float32


def test_a_single_keypoint_out_of_reach_is_called_back_alone() -> None:
    source = face()
    keypoints = moved(source, turned(0.1), (0.1, 0.0))
    keypoints.value[MESH] += 5  # a learned one
    shown = MotionLimit(source, NAMES).apply(keypoints)
    others = np.arange(len(source.value)) != MESH
    np.testing.assert_allclose(shown.value[others], keypoints.value[others], atol=1e-5)
    np.testing.assert_allclose(shown.jacobian, keypoints.jacobian, atol=1e-5)
    assert np.linalg.norm(shown.value[MESH] - source.value[MESH]) <= LEARNED_TRAVEL.end + 1e-4


def test_matrices_that_turn_inside_out_are_repaired() -> None:
    """A blink at twice its strength goes beyond shut."""
    source = face()
    keypoints = Keypoints(source.value, (np.diag([1.0, -0.4]) @ source.jacobian).astype(np.float32))
    shown = MotionLimit(source, NAMES).apply(keypoints)
    assert np.all(determinant(shown.jacobian) * determinant(source.jacobian) > 0)
    np.testing.assert_allclose(shown.value, keypoints.value, atol=1e-6)


def test_without_a_face_every_keypoint_is_limited_for_itself() -> None:
    source = face()
    limit = MotionLimit(source, ())
    near = Keypoints(source.value + np.float32(0.2), source.jacobian)
    assert limit.apply(near) is near
    shown = limit.apply(Keypoints(source.value + np.float32(4), source.jacobian))
    np.testing.assert_allclose(np.linalg.norm(shown.value - source.value, axis=1), LEARNED_TRAVEL.end, atol=1e-3)


def test_inner_keypoints_are_held_tighter_than_outer_ones() -> None:
    """Lips do not go where a jaw may."""
    source = face(0)
    lip, jaw = NAMES.index("upper lip"), NAMES.index("right jaw")
    ways = []
    for index in (lip, jaw):
        keypoints = Keypoints(source.value.copy(), source.jacobian)
        keypoints.value[index, 1] += 3
        ways.append(float((MotionLimit(source, NAMES).apply(keypoints).value - source.value)[index, 1]))
    assert ways[0] < 0.75 * ways[1]


def test_contour_points_go_where_the_nearest_keypoint_goes() -> None:
    source = face()
    lip = NAMES.index("upper lip")
    points = np.stack([source.value[lip] + 0.001, source.value[MESH] + 0.001]).astype(np.float32)  # by a learned one
    limit = MotionLimit(with_points(source, points), NAMES, MESH + LEARNED)
    rest = with_points(source, points)
    assert limit.apply(rest) is rest
    wild = Keypoints(rest.value.copy(), rest.jacobian)
    wild.value[[lip, MESH]] += 3
    shown = limit.apply(wild)
    assert shown.value.shape == rest.value.shape and shown.jacobian.shape == rest.jacobian.shape
    np.testing.assert_array_equal(
        shown.value[: MESH + LEARNED], MotionLimit(source, NAMES).apply(first_keypoints(wild, MESH + LEARNED)).value
    )
    corrections = shown.value - wild.value
    np.testing.assert_allclose(corrections[MESH + LEARNED], corrections[lip], atol=1e-6)
    assert not np.allclose(corrections[-1], corrections[MESH]), "learned keypoints are no part of the face"
