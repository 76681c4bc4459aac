"""The neutral face of somebody who never shows it."""

import numpy as np
import pytest

from avatarify_plus.motion.expression import lid_gaps, lip_gaps, set_lid_gaps, set_lip_gaps
from avatarify_plus.motion.face import Face, mesh_of
from avatarify_plus.motion.face_pose import fit_pose
from avatarify_plus.motion.neutral_face import ENOUGH, GOOD_SCORE, NeutralFaceSearch, Sample, neutrality, read_face
from avatarify_plus.motion.typical_face import typical_face
from avatarify_plus.types import FloatArray, Keypoints
from fakes import face_mesh


def talking(index: int, random: np.random.Generator) -> FloatArray:
    """Return a face that talks all the time, now and then with eyes shut, and looks aside more or less."""
    mesh = mesh_of(face_mesh((32, 32), 30, 64, 64, yaw=0.45 + random.normal(0, 0.05)))
    set_lip_gaps(mesh, np.full(9, random.uniform(0.08, 0.2) if index % 6 else 0.01, np.float32))
    if index % 4 == 0:
        set_lid_gaps(mesh, 0.3 * lid_gaps(mesh))
    return np.asarray(mesh + random.normal(0, 0.1, (1, 3)), np.float32)


def faces(count: int = 4 * ENOUGH) -> list[FloatArray]:
    random = np.random.default_rng(0)
    return [talking(index, random) for index in range(count)]


def test_its_mouth_is_closed_its_eyes_open_and_its_pose_in_the_middle() -> None:
    found, seen = typical_face(faces()), faces()
    assert lip_gaps(found).max() < 0.02
    assert lid_gaps(found).mean() == pytest.approx(float(np.max([lid_gaps(mesh).mean() for mesh in seen])), rel=0.05)
    straight = mesh_of(face_mesh((32, 32), 30, 64, 64))
    turn = fit_pose(straight, found).rotation
    assert np.arccos((np.trace(turn) - 1) / 2) == pytest.approx(0.45, abs=0.05)


def sample(mesh: FloatArray) -> Sample:
    keypoints = Keypoints(mesh[:20, :2], np.tile(np.eye(2, dtype=np.float32), (20, 1, 1)))
    return Sample(Face(keypoints, mesh), read_face(mesh))


def face_of(mesh: FloatArray, like: Face) -> Face:
    return sample(mesh).face


def test_a_file_without_a_neutral_face_has_a_typical_one() -> None:
    samples = [(sample(mesh), float(index)) for index, mesh in enumerate(faces())]
    best = max(neutrality(each.reading) for each, _ in samples if each.reading is not None)
    assert best < GOOD_SCORE
    search = NeutralFaceSearch(face_of=face_of)
    assert search.study(samples)
    assert search.initial is not None and search.initial.mesh is not None
    assert lip_gaps(search.initial.mesh).max() < 0.02
    assert not NeutralFaceSearch(face_of=face_of).study([])


def test_a_file_with_a_neutral_face_takes_it() -> None:
    samples = [(sample(mesh), float(index)) for index, mesh in enumerate(faces())]
    neutral = sample(mesh_of(face_mesh((30, 34), 30, 64, 64)))
    search = NeutralFaceSearch(face_of=face_of)
    assert search.study([*samples[:40], (neutral, 40.0), *((each, time_s + 1) for each, time_s in samples[40:])])
    assert search.initial is neutral.face


def test_live_it_is_found_after_a_while_and_does_not_give_way_to_an_open_mouth() -> None:
    search = NeutralFaceSearch(searches=True, face_of=face_of)
    changes = [index for index, mesh in enumerate(faces(60)) if search.offer(sample(mesh), 0.5 * index)]
    assert changes and max(changes) >= ENOUGH - 1
    assert search.initial is not None and search.initial.mesh is not None
    assert lip_gaps(search.initial.mesh).max() < 0.03
    taken = search.initial
    still = sample(talking(1, np.random.default_rng(5)))
    search.offer(still, 40.0)
    assert not search.offer(still, 40.5) and search.initial is taken  # an open mouth is no better
