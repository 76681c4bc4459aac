"""Motion carried from face to face in space, and what of it is absolute."""

from dataclasses import replace

import numpy as np
import pytest

from avatarify_plus.face.landmarks import FACE_HEIGHT, LEFT_BROW, MOUTH_CORNERS, OUTER_EYE_CORNERS, RIGHT_BROW
from avatarify_plus.motion.controls import FOLLOW_ALL, Controls
from avatarify_plus.motion.expression import (
    face_length,
    gaze_of,
    iris_places,
    lid_gaps,
    lip_gaps,
    set_iris_places,
    set_lid_gaps,
    set_lip_gaps,
)
from avatarify_plus.motion.face import mesh_of
from avatarify_plus.motion.face_pose import fit_pose, part_of_rotation
from avatarify_plus.motion.face_space import CLOSED, AvatarShape, Demand, DriverShape, FaceCarrier, sites
from avatarify_plus.types import FloatArray
from fakes import face_mesh


def turned(mesh: FloatArray, axes: tuple[int, int], angle: float) -> FloatArray:
    """Turn a mesh about its middle in the plane of two axes, by radians."""
    turn = np.eye(3, dtype=np.float32)
    first, second = axes
    turn[first, first] = turn[second, second] = np.cos(angle)
    turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
    middle = mesh.mean(0)
    return np.asarray((mesh - middle) @ turn.T + middle, np.float32)


def driver() -> FloatArray:
    return mesh_of(face_mesh((32, 32), 30, 64, 64))


def avatar() -> FloatArray:
    """Return a face that is larger, elsewhere, narrower, and a little turned."""
    mesh = 1.3 * driver() * np.array([0.85, 1, 1], np.float32) + np.array([0.1, -0.05, 0], np.float32)
    return turned(mesh.astype(np.float32), (0, 2), 0.2)


def talking(mesh: FloatArray) -> FloatArray:
    """Return a face whose jaw drops, with lips apart, one eye half shut, looking aside."""
    found = mesh + np.array([0, 0.1, 0], np.float32) * sites()[1][:, None] * face_length(mesh)
    set_lip_gaps(found, np.full(9, 0.12, np.float32))
    gaps = lid_gaps(mesh)
    set_lid_gaps(found, gaps * np.array([[0.6], [1.0]], np.float32))
    set_iris_places(found, iris_places(mesh) + np.array([0.1, -0.03], np.float32))
    return found


def carrier(own: FloatArray | None = None, demand: Demand | None = None) -> FaceCarrier:
    shape = AvatarShape(avatar() if own is None else own, demand or Demand())
    return FaceCarrier(shape, DriverShape(driver()))


def brow_height(mesh: FloatArray) -> float:
    rise = mesh[list(OUTER_EYE_CORNERS), 1].mean() - mesh[[*RIGHT_BROW, *LEFT_BROW], 1].mean()
    return float(rise) / face_length(mesh)


def test_a_pose_is_found_whatever_the_mouth_does() -> None:
    first = driver()
    for axes, angle in (((0, 2), 0.5), ((1, 2), -0.3), ((0, 1), 0.4)):
        second = np.asarray(turned(talking(first), axes, angle) * 1.2 + np.float32(0.3), np.float32)
        pose = fit_pose(first, second)
        assert pose.scale == pytest.approx(1.2, rel=0.01)
        assert np.arccos((np.trace(pose.rotation) - 1) / 2) == pytest.approx(abs(angle), abs=0.02)
        np.testing.assert_allclose(pose.undo(second)[1], first[1], atol=0.02)
        np.testing.assert_allclose(pose.apply(pose.undo(second)), second, atol=1e-5)


def test_a_share_of_a_rotation_turns_by_a_share_of_the_angle() -> None:
    whole = fit_pose(driver(), turned(driver(), (0, 2), 0.6)).rotation
    half = part_of_rotation(whole, 0.5)
    np.testing.assert_allclose(half @ half, whole, atol=1e-5)
    np.testing.assert_allclose(part_of_rotation(whole, 0), np.eye(3), atol=1e-6)


def test_ones_own_face_does_exactly_what_its_driver_does() -> None:
    own = driver()
    moved = np.asarray(turned(talking(own), (0, 2), 0.3) * 1.1 + np.float32(0.1), np.float32)
    found = FaceCarrier(AvatarShape(own), DriverShape(own)).carry(moved, FOLLOW_ALL)
    eyes = np.zeros(478, bool)
    eyes[[160, 144, 159, 145, 158, 153, 157, 161, 246, 173, 7, 163, 154, 155]] = True  # lids count shut a little early
    np.testing.assert_allclose(found[~eyes, :2], moved[~eyes, :2], atol=2e-3)


def test_at_rest_the_avatar_is_its_photo() -> None:
    np.testing.assert_allclose(carrier().carry(driver(), FOLLOW_ALL), avatar(), atol=1e-4)


@pytest.mark.parametrize("axes", [(0, 2), (1, 2), (0, 1)])
@pytest.mark.parametrize("angle", [-0.4, 0.25])
def test_the_head_turns_as_far_as_the_drivers_and_its_expression_is_the_same(
    axes: tuple[int, int], angle: float
) -> None:
    carried = carrier()
    still, moving = (
        carried.carry(mesh, FOLLOW_ALL) for mesh in (talking(driver()), turned(talking(driver()), axes, angle))
    )
    wanted = fit_pose(driver(), turned(driver(), axes, angle)).rotation
    found = fit_pose(still, moving).rotation
    assert np.degrees(np.arccos((np.trace(found @ wanted.T) - 1) / 2)) < np.degrees(
        0.09
    )  # the avatar looks aside itself
    np.testing.assert_allclose(lip_gaps(moving), lip_gaps(still), atol=2e-3)
    np.testing.assert_allclose(gaze_of(moving), gaze_of(still), atol=5e-3)


def test_lips_touch_where_the_drivers_touch_and_open_as_far() -> None:
    """Whatever the photo's mouth does, and however the driver's face is shaped."""
    smiling = avatar()
    set_lip_gaps(smiling, np.full(9, 0.06, np.float32))
    closed = carrier(smiling).carry(driver(), FOLLOW_ALL)
    assert np.abs(lip_gaps(closed)).max() < 1.1 * CLOSED  # lips that touch are never quite at one place
    spoken = carrier(smiling).carry(talking(driver()), FOLLOW_ALL)
    np.testing.assert_allclose(lip_gaps(spoken), 0.12 + CLOSED, atol=2e-3)


def test_each_eye_shuts_with_the_drivers_and_sleepy_photos_open_theirs() -> None:
    sleepy = avatar()
    gaps = lid_gaps(sleepy)
    set_lid_gaps(sleepy, 0.3 * gaps)
    winking = driver()
    set_lid_gaps(winking, lid_gaps(winking) * np.array([[0.28], [1]], np.float32))
    shut, awake = lid_gaps(carrier(sleepy).carry(winking, FOLLOW_ALL)).mean(1)
    assert shut < 0.12 * awake and awake > 0.15
    same, other = (lid_gaps(carrier().carry(mesh, FOLLOW_ALL)).mean(1) for mesh in (driver(), winking))
    np.testing.assert_allclose(same, gaps.mean(1), atol=1e-3)
    assert other[1] == pytest.approx(same[1], abs=1e-3)


def test_irises_look_where_the_drivers_look_even_if_the_photo_looks_aside() -> None:
    aside = avatar()
    set_iris_places(aside, iris_places(aside) + np.array([0.2, 0], np.float32))
    for own in (avatar(), aside):
        ahead = gaze_of(carrier(own).carry(driver(), FOLLOW_ALL))
        assert abs(ahead.across) < 0.06
        found = gaze_of(carrier(own).carry(talking(driver()), FOLLOW_ALL))
        assert found.across - ahead.across == pytest.approx(0.1, abs=0.02)
        assert found.up - ahead.up == pytest.approx(-0.03, abs=0.01)
        locked = gaze_of(carrier(own).carry(talking(driver()), Controls(locks_gaze=True)))
        np.testing.assert_allclose(locked, ahead, atol=0.012)  # of two eyes the more open one counts more


def test_parts_follow_as_much_as_asked() -> None:
    moved = turned(talking(driver()), (0, 2), 0.3)
    carried, rest = carrier(), avatar()
    nothing = carried.carry(moved, Controls(0, 0, 0, 0, 0))
    np.testing.assert_allclose(nothing, rest, atol=1e-4)
    mouth = carried.carry(moved, FOLLOW_ALL.only("mouth"))
    assert lip_gaps(mouth)[4] == pytest.approx(0.12, abs=0.01)
    np.testing.assert_allclose(lid_gaps(mouth), lid_gaps(rest), atol=2e-3)
    np.testing.assert_allclose(fit_pose(rest, mouth).rotation, np.eye(3), atol=0.01)
    head = carried.carry(moved, FOLLOW_ALL.only("head"))
    assert np.abs(lip_gaps(head)).max() < 2e-3
    turn = fit_pose(rest, head).rotation
    assert np.arccos((np.trace(turn) - 1) / 2) == pytest.approx(0.3, abs=0.02)
    half = carried.carry(moved, replace(FOLLOW_ALL.only("mouth"), mouth=0.5))
    assert lip_gaps(half)[4] == pytest.approx(0.06, abs=0.01)


def test_absolute_motion_is_the_drivers_pose_with_the_avatars_face() -> None:
    moved = turned(driver(), (0, 2), -0.3) + np.array([0.2, 0.1, 0], np.float32)
    found = carrier().carry(moved, FOLLOW_ALL, is_absolute=True)
    np.testing.assert_allclose(fit_pose(found, moved).rotation, np.eye(3), atol=0.01)
    assert abs(fit_pose(found, moved).scale - 1) < 0.02
    width = np.linalg.norm(found[MOUTH_CORNERS[0]] - found[MOUTH_CORNERS[1]]) / face_length(found)
    own = np.linalg.norm(avatar()[MOUTH_CORNERS[0]] - avatar()[MOUTH_CORNERS[1]]) / face_length(avatar())
    assert width == pytest.approx(float(own), rel=0.02)


def test_what_does_not_arrive_is_asked_for_twice() -> None:
    plain, asked = carrier(), carrier(demand=Demand(jaw=2.0, across=2.0))
    moved = talking(driver())
    rest = avatar()
    chins = [np.linalg.norm((face.carry(moved, FOLLOW_ALL) - rest)[FACE_HEIGHT[1], :2]) for face in (plain, asked)]
    assert chins[1] == pytest.approx(2 * chins[0], rel=0.05)
    ways = [gaze_of(face.carry(moved, FOLLOW_ALL)).across - gaze_of(rest).across for face in (plain, asked)]
    assert ways[1] == pytest.approx(2 * ways[0], rel=0.05)
    np.testing.assert_allclose(
        lip_gaps(asked.carry(moved, FOLLOW_ALL)), lip_gaps(plain.carry(moved, FOLLOW_ALL)), atol=2e-3
    )


def test_a_smile_in_the_photo_can_be_left_to_the_driver() -> None:
    corner = sites()[0][:, None]
    side = np.sign(avatar()[:, :1] - avatar()[1, 0])
    smiling = np.asarray(avatar() + 0.09 * corner * (side * np.array([1, 0, 0]) - np.array([0, 0.5, 0])), np.float32)

    def width(mesh: FloatArray) -> float:
        return float(np.linalg.norm(mesh[MOUTH_CORNERS[0]] - mesh[MOUTH_CORNERS[1]])) / face_length(mesh)

    kept, taken = (
        carrier(smiling).carry(driver(), Controls(smile=origin))  # type: ignore[arg-type]
        for origin in ("photo", "driver")
    )
    assert width(kept) == pytest.approx(width(smiling), rel=1e-3)
    assert width(taken) < 0.95 * width(kept)
    assert taken[MOUTH_CORNERS[0], 1] > kept[MOUTH_CORNERS[0], 1]
    plain = carrier().carry(driver(), Controls(smile="driver"))
    np.testing.assert_allclose(plain, avatar(), atol=1e-4)  # a mouth at rest stays as it is
    assert brow_height(taken) == pytest.approx(brow_height(kept), rel=0.02)
