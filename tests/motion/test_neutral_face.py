"""The initial face: what a good one is, and how it is found."""

import json
from importlib import resources

import numpy as np
import pytest

from avatarify_plus.face.mesh import FaceMesh
from avatarify_plus.motion.face import Face
from avatarify_plus.motion.neutral_face import (
    BETTER_BY,
    DOUBT,
    GOOD_SCORE,
    NEUTRAL_MAX,
    NEUTRAL_MIN,
    PATIENCE_S,
    NeutralFaceSearch,
    Reading,
    Sample,
    likeness,
    neutrality,
    read_face,
)
from avatarify_plus.pictures.images import load_photo
from avatarify_plus.types import FloatArray, Keypoints
from fakes import EXAMPLES

NEUTRAL = Reading(yaw=0.0, pitch=0.08, roll=0.0, eyes=0.3, mouth=0.01, smile=0.55)


def solid_face() -> FloatArray:
    """Return the layout's mean face, bulging towards the camera: (478, 3)."""
    file = resources.files("avatarify_plus") / "mesh_layouts" / "face-20.json"
    flat = np.array(json.loads(file.read_text())["mean_face"])
    depth = 0.4 * np.square(flat).sum(1, keepdims=True)
    return (0.5 + 0.15 * np.concatenate([flat, depth], 1)).astype(np.float32)


def rotated(face: FloatArray, axes: tuple[int, int], angle: float) -> FloatArray:
    """Turn a face about its middle in the plane of two axes."""
    turn = np.eye(3)
    first, second = axes
    turn[first, first] = turn[second, second] = np.cos(angle)
    turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
    return ((face - 0.5) @ turn.T + 0.5).astype(np.float32)


def sample(keypoint_seed: int = 0, moved: float = 0.0, **changes: float) -> Sample:
    """Return a neutral face with some changes."""
    value = np.random.default_rng(keypoint_seed).normal(0, 0.3, (20, 2)).astype(np.float32) + np.float32(moved)
    keypoints = Keypoints(value, np.tile(np.eye(2, dtype=np.float32), (20, 1, 1)))
    return Sample(Face(keypoints), NEUTRAL._replace(**changes))


def test_a_reading_gives_the_rotation() -> None:
    face = solid_face()
    straight = read_face(face)
    for name, axes in (("yaw", (0, 2)), ("pitch", (1, 2)), ("roll", (0, 1))):
        for angle in (-0.4, 0.3):
            turned = read_face(rotated(face, axes, angle))
            assert getattr(turned, name) - getattr(straight, name) == pytest.approx(angle, abs=0.03)
    assert abs(straight.yaw) < 0.03 and abs(straight.roll) < 0.03


def test_a_reading_gives_eyes_and_mouth_whatever_the_size_and_place() -> None:
    face = solid_face()
    shut, agape = face.copy(), face.copy()
    for upper, lower in ((160, 144), (159, 145), (158, 153), (385, 380), (386, 374), (387, 373)):
        shut[upper] = shut[lower]
    agape[14, 1] += 0.1
    plain = read_face(face)
    assert read_face(shut).eyes < 0.05 < plain.eyes
    assert read_face(agape).mouth > plain.mouth + 0.1
    np.testing.assert_allclose(read_face(0.5 * face + np.float32(0.1)), plain, atol=1e-4)


@pytest.mark.parametrize("name", ["avatar_1.jpg", "avatar_2.jpg", "avatar_3.jpg"])
def test_a_good_photo_scores_high(name: str) -> None:
    with FaceMesh(tracking=False) as mesh:
        landmarks = mesh.find(load_photo(EXAMPLES / name))
    assert landmarks is not None
    assert neutrality(read_face(landmarks)) > 0.8


def test_the_neutral_face_is_perfect_and_each_fault_costs() -> None:
    assert neutrality(NEUTRAL) == neutrality(NEUTRAL_MIN) == neutrality(NEUTRAL_MAX) == 1
    for fault in ({"yaw": 0.5}, {"yaw": -0.5}, {"pitch": 0.6}, {"roll": -0.5}, {"eyes": 0.08}, {"mouth": 0.1}):
        assert neutrality(NEUTRAL._replace(**fault)) < 0.3, fault
    assert neutrality(NEUTRAL._replace(smile=0.7)) < 0.7


def test_the_photos_pose_is_as_good_as_frontal_but_not_its_face() -> None:
    turned = NEUTRAL._replace(yaw=0.5)
    assert neutrality(turned, turned) == neutrality(NEUTRAL, turned) == 1
    assert neutrality(NEUTRAL._replace(yaw=0.3), turned) == 1
    assert neutrality(NEUTRAL._replace(yaw=-0.5), turned) < 0.3
    shut = NEUTRAL._replace(eyes=0.0)
    assert neutrality(shut, shut) < 0.1


def test_likeness_knows_neither_place_nor_size() -> None:
    first = sample(1).face.keypoints
    same = Keypoints(3 * first.value + np.float32(0.4), first.jacobian)
    assert likeness(first, same) == pytest.approx(1, abs=1e-4)
    assert likeness(first, sample(2).face.keypoints) < 0.2


def test_a_good_first_face_is_taken_at_once() -> None:
    neutral_face = NeutralFaceSearch(searches=True)
    assert neutral_face.score is None and neutral_face.initial is None
    first = sample()
    assert neutral_face.offer(first, 0.0)
    assert neutral_face.initial is first.face
    assert neutral_face.score == 1


def test_a_bad_first_face_is_not_taken_if_a_good_one_comes_soon() -> None:
    neutral_face = NeutralFaceSearch(searches=True)
    assert not neutral_face.offer(sample(eyes=0.05), 0.0)
    assert not neutral_face.offer(sample(eyes=0.1), 0.1)
    assert neutral_face.offer(sample(), 0.2)
    assert neutral_face.score == 1


def test_where_no_good_face_comes_the_best_of_the_first_second_is_taken() -> None:
    neutral_face = NeutralFaceSearch(searches=True)
    faces = [sample(yaw=yaw) for yaw in (0.9, 0.4, 0.7, 0.8)]
    taken = [neutral_face.offer(face, time_s) for face, time_s in zip(faces, (0.0, 0.4, 0.8, PATIENCE_S), strict=True)]
    assert taken == [False, False, False, True]
    assert neutral_face.initial is faces[1].face
    assert 0 < (neutral_face.score or 0) < GOOD_SCORE


def test_only_a_clearly_better_face_replaces_the_initial_one() -> None:
    neutral_face = NeutralFaceSearch(searches=True)
    neutral_face.offer(sample(yaw=0.2), 0.0)
    before = neutral_face.score
    assert before is not None
    assert not neutral_face.offer(sample(yaw=0.19), 0.1)
    assert neutral_face.score == before
    assert neutral_face.offer(sample(), 0.2)
    assert neutral_face.score is not None and neutral_face.score > before + BETTER_BY


def test_a_face_in_motion_is_not_taken() -> None:
    neutral_face = NeutralFaceSearch(searches=True)
    neutral_face.offer(sample(yaw=0.25), 0.0)
    assert not neutral_face.offer(sample(moved=0.05), 0.04)  # 1.8 picture halves a second
    assert neutral_face.offer(sample(moved=0.05), 0.08)


def test_nothing_is_looked_for_without_a_search() -> None:
    neutral_face = NeutralFaceSearch()
    assert not neutral_face.offer(sample(), 0.0)
    assert neutral_face.initial is None
    neutral_face.take(sample(yaw=0.5))
    assert not neutral_face.offer(sample(), 0.1)
    neutral_face.searches = True
    assert neutral_face.offer(sample(), 0.2)


def test_the_users_own_choice_of_pose_holds() -> None:
    neutral_face = NeutralFaceSearch(searches=True)
    neutral_face.take(sample(yaw=0.6, eyes=0.12), is_chosen=True)
    assert not neutral_face.offer(sample(yaw=0.2, eyes=0.12), 0.0)  # not better for being less turned
    assert neutral_face.offer(sample(yaw=0.6), 0.1)  # but for open eyes
    neutral_face.forget()
    assert neutral_face.score is None


def test_doubt_lets_the_next_good_face_in() -> None:
    neutral_face = NeutralFaceSearch(searches=True)
    neutral_face.offer(sample(), 0.0)
    assert not neutral_face.offer(sample(), 0.1)
    neutral_face.doubt()
    assert neutral_face.score == DOUBT
    assert not neutral_face.offer(sample(eyes=0.05), 0.2)
    assert neutral_face.offer(sample(), 0.3)
    assert neutral_face.score == 1


def test_without_a_mesh_the_face_most_like_the_photo_wins() -> None:
    neutral_face = NeutralFaceSearch(searches=True)
    photo, other = sample(1)._replace(reading=None), sample(2)._replace(reading=None)
    neutral_face.set_reference(photo)
    assert not neutral_face.offer(other, 0.0)
    assert neutral_face.offer(other, PATIENCE_S)
    assert (neutral_face.score or 0) < 0.3
    neutral_face.offer(photo, PATIENCE_S + 1)
    assert neutral_face.score == pytest.approx(1)


def test_another_photo_changes_the_score() -> None:
    neutral_face = NeutralFaceSearch(searches=True)
    neutral_face.take(sample(yaw=0.5))
    bad = neutral_face.score
    neutral_face.set_reference(sample(yaw=0.5))
    assert bad is not None and bad < 0.3
    assert neutral_face.score == 1
