"""Joints are where a stance wants them: bones keep their lengths, limbs reach, surfaces follow."""

import numpy as np
import pytest

from figure_assets import WHITE
from training.figures.mesh import ellipsoid, tube
from training.figures.skeleton import (
    BONES,
    BUILDS,
    CHEST,
    JOINTS,
    MAX_REACH,
    SPANS,
    Pose,
    Proportions,
    Skeleton,
    Stance,
    reach,
    rotation,
)
from training.figures.skin import bone_maps, bone_weights, posed_points
from training.figures.tai_chi import perform

WRISTS = [JOINTS.index("left wrist"), JOINTS.index("right wrist")]
ANKLES = [JOINTS.index("left ankle"), JOINTS.index("right ankle")]


def at_rest(skeleton: Skeleton) -> Stance:
    """Return the stance in which a body with its own proportions stands as at rest."""

    def poles(middle: str) -> np.ndarray:
        first, second, third = (
            skeleton.own[[JOINTS.index(f"{side} {joint}") for side in ("left", "right")]]
            for joint in {"elbow": ("shoulder", "elbow", "wrist"), "knee": ("hip", "knee", "ankle")}[middle]
        )
        return second - (first + third) / 2

    return Stance(
        pelvis=skeleton.own[0],
        pelvis_turn=np.zeros(3),
        chest_turn=np.zeros(3),
        head_turn=np.zeros(3),
        wrists=skeleton.own[WRISTS] - skeleton.own[CHEST],
        elbows=poles("elbow"),
        wrist_bends=np.zeros(2),
        ankles=skeleton.own[ANKLES],
        knees=poles("knee"),
        foot_turns=np.zeros((2, 3)),
    )


def lengths(joints: np.ndarray) -> np.ndarray:
    return np.array([np.linalg.norm(joints[end] - joints[start]) for start, end in SPANS])


def poses(skeleton: Skeleton, count: int = 40, seed: int = 0) -> list[Pose]:
    return [skeleton.pose(stance) for stance in perform(skeleton, count, np.random.default_rng(seed))]


@pytest.mark.parametrize("build", BUILDS)
def test_who_stands_as_at_rest_is_at_rest(build: str) -> None:
    skeleton = Skeleton(build)  # type: ignore[arg-type]
    pose = skeleton.pose(at_rest(skeleton))
    has_legs = np.array([name.endswith(("knee", "ankle", "toes")) for name in JOINTS])
    np.testing.assert_allclose(pose.joints[~has_legs], skeleton.rest[~has_legs], atol=1e-9)
    np.testing.assert_allclose(pose.joints, skeleton.rest, atol=0.8)  # legs are never quite stretched
    arms = [number for number, bone in enumerate(BONES) if not bone.endswith(("thigh", "shin"))]
    np.testing.assert_allclose(pose.turns[arms], np.tile(np.eye(3), (len(arms), 1, 1)), atol=1e-9)


def test_bones_keep_their_lengths_and_turn_with_their_joints() -> None:
    skeleton = Skeleton("female", Proportions(1.05, 0.9, 1.1))
    for pose in poses(skeleton):
        np.testing.assert_allclose(lengths(pose.joints), lengths(skeleton.own), rtol=1e-9)
        np.testing.assert_allclose(
            pose.turns @ pose.turns.transpose(0, 2, 1), np.tile(np.eye(3), (17, 1, 1)), atol=1e-9
        )
        for turned, (start, end) in zip(pose.turns, SPANS, strict=True):
            moved = turned @ (skeleton.own[end] - skeleton.own[start])
            np.testing.assert_allclose(moved, pose.joints[end] - pose.joints[start], atol=1e-9)


def test_hands_and_feet_arrive() -> None:
    skeleton = Skeleton("male")
    stance = perform(skeleton, 1, np.random.default_rng(3))[0]
    np.testing.assert_allclose(skeleton.pose(stance).joints[ANKLES], stance.ankles, atol=1e-9)
    shoulders = skeleton.own[[JOINTS.index(f"{side} shoulder") for side in ("left", "right")]] - skeleton.own[CHEST]
    for away in (np.array([2.0, 1.0, 3.0]), np.array([-1.0, -2.0, 2.5])):
        pose = skeleton.pose(stance._replace(wrists=shoulders + away))
        chest = pose.turns[BONES.index("chest")]
        expected = pose.joints[CHEST] + (shoulders + away) @ chest.T
        np.testing.assert_allclose(pose.joints[WRISTS], expected, atol=1e-9)


def test_what_is_too_far_or_too_near_is_reached_for() -> None:
    start, pole = np.zeros(3), np.array([0.0, 0.0, 1.0])
    middle, end = reach(start, np.array([9.0, 0.0, 0.0]), 2.0, 3.0, pole)
    np.testing.assert_allclose(end, (5 * MAX_REACH, 0, 0))
    assert (
        middle[2] > 0
        and np.linalg.norm(middle) == pytest.approx(2)
        and np.linalg.norm(end - middle) == pytest.approx(3)
    )
    middle, end = reach(start, np.array([0.1, 0.0, 0.0]), 2.0, 3.0, pole)
    assert end[0] == pytest.approx(1.2) and np.linalg.norm(middle) == pytest.approx(2)


def test_turns_are_forward_then_to_the_left() -> None:
    up, front = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
    np.testing.assert_allclose(rotation(np.pi / 2, 0, 0) @ up, front, atol=1e-9)
    np.testing.assert_allclose(rotation(0, np.pi / 2, 0) @ front, (1, 0, 0), atol=1e-9)
    np.testing.assert_allclose(rotation(0, 0, np.pi / 2) @ up, (1, 0, 0), atol=1e-9)
    np.testing.assert_allclose(rotation(np.pi / 2, np.pi / 2, 0) @ up, (1, 0, 0), atol=1e-9)


def test_the_trunk_turns_part_by_part() -> None:
    skeleton = Skeleton("male")
    turns = {
        "pelvis_turn": np.array([0, 0.4, 0]),
        "chest_turn": np.array([0, 0.6, 0]),
        "head_turn": np.array([0, -0.8, 0]),
    }
    pose = skeleton.pose(at_rest(skeleton)._replace(**turns))
    for bone, yaw in (("pelvis", 0.4), ("belly", 0.7), ("chest", 1.0), ("neck", 0.6), ("head", 0.2)):
        np.testing.assert_allclose(pose.turns[BONES.index(bone)], rotation(0, yaw, 0), atol=1e-9)
    left, right = (pose.joints[JOINTS.index(f"{side} shoulder")] for side in ("left", "right"))
    np.testing.assert_allclose((left - right) / np.linalg.norm(left - right), rotation(0, 1, 0) @ (1, 0, 0), atol=1e-9)


def test_proportions_lengthen_what_they_name() -> None:
    usual, other = lengths(Skeleton("male").own), lengths(Skeleton("male", Proportions(1.1, 1.2, 0.9)).own)
    factors = dict(zip(BONES, other / usual, strict=True))
    assert factors["chest"] == pytest.approx(1.1) and factors["head"] == pytest.approx(1)
    assert (factors["left forearm"], factors["right upper arm"]) == pytest.approx((1.2, 1.2))
    assert (factors["left thigh"], factors["right foot"]) == pytest.approx((0.9, 1))


def test_a_surface_follows_the_bones_that_it_lies_on() -> None:
    skeleton = Skeleton("male", Proportions(arms=1.1, girth=1.05))
    shoulder, elbow, wrist = (skeleton.at_rest(f"left {joint}") for joint in ("shoulder", "elbow", "wrist"))
    sleeve = tube(np.stack([shoulder, elbow, wrist]), np.full((3, 2), 0.4), WHITE)
    weights = bone_weights(sleeve, skeleton)
    np.testing.assert_allclose(weights.sum(1), 1)
    pose = poses(skeleton)[-1]
    cuff = np.linalg.norm(sleeve.points - wrist, axis=1) < 0.5
    joint = pose.joints[JOINTS.index("left wrist")]
    moved = posed_points(sleeve.points, weights, bone_maps(skeleton, pose))
    assert np.linalg.norm(moved[cuff] - joint, axis=1).max() < 0.7
    assert np.linalg.norm(moved[cuff].mean(0) - joint) < 0.2


def test_a_rigid_surface_keeps_its_shape_but_for_proportions() -> None:
    skeleton = Skeleton("female")
    ball = ellipsoid(skeleton.at_rest("head"), (0.5, 0.5, 0.5), WHITE, 6)
    pose = poses(skeleton)[5]
    moved = posed_points(ball.points, bone_weights(ball, skeleton, "head"), bone_maps(skeleton, pose))
    np.testing.assert_allclose(np.linalg.norm(moved - pose.joints[JOINTS.index("head")], axis=1), 0.5)


def test_a_leg_does_not_pull_at_the_other() -> None:
    skeleton = Skeleton("male")
    legs = np.stack([skeleton.at_rest("left knee"), skeleton.at_rest("right knee")])
    weights = bone_weights(
        ellipsoid((0, 0, 0), (1, 1, 1), WHITE, 2)._replace(points=legs, faces=np.zeros((0, 3), int)), skeleton
    )
    for knee, other in ((0, "right"), (1, "left")):
        assert all(weights[knee, number] == 0 for number, bone in enumerate(BONES) if bone.startswith(other))
