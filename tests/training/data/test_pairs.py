"""Pairs are drawn by the seed, in the shares that were asked for, and hard ones are hard."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatarify_plus.errors import ConfigError, DataError
from avatarify_plus.motion.keypoints import keypoints_from_mesh, load_mesh_layout, mirror_keypoints
from synthetic_cache import mean_face, rendered, write_cache
from training.data.cache import Cache, open_cache
from training.data.face_points import openings
from training.data.pairs import PairOptions, PairSampler, Pool, mesh_distances, mesh_mirror
from training.loop.schedule import Stage
from training.loop.validation import Validation


def test_pairs_are_seeded_and_in_range(cache: Cache) -> None:
    options = PairOptions(photo_share=0.3)
    first, second = (rendered(cache, options, Stage(128, 128, 4, 1), 1, seed=3) for _ in range(2))
    assert torch.equal(first.source, second.source)
    assert first.source.shape == (4, 3, 128, 128) and first.source.is_contiguous(memory_format=torch.channels_last)
    assert float(first.source.min()) >= 0 and float(first.source.max()) <= 1
    assert first.driving_keypoints.value.shape == (4, 20, 2) and first.driving_mesh.shape == (4, 478, 2)
    assert not torch.allclose(first.source, first.driving)


def test_mirroring_a_mesh_twice_gives_it_back_and_keeps_sides(cache: Cache) -> None:
    layout, mirror = load_mesh_layout("face-20"), mesh_mirror("face-20")
    assert (mirror[mirror] == np.arange(478)).all()
    assert [int(mirror[point]) for point in (33, 133, 61, 13, 468)] == [263, 362, 291, 13, 473]
    mesh = cache.landmarks[0]
    mirrored = (mesh * [-1, 1, 1] + [1, 0, 0])[mirror].astype(np.float32)
    assert mirrored[33, 0] < mirrored[263, 0]  # the eye on the picture's left is still the one on the left
    found = keypoints_from_mesh(mirrored, layout)
    expected = mirror_keypoints(keypoints_from_mesh(mesh, layout), layout)
    np.testing.assert_allclose(found.value, expected.value, atol=0.03)
    np.testing.assert_allclose(found.jacobian, expected.jacobian, atol=0.1)


def test_both_pictures_of_a_clip_share_their_crop(tmp_path: Path) -> None:
    pool = Pool([open_cache(write_cache(tmp_path, {"a_1": 3, "b_1": 4}))])
    choice = PairSampler(pool, load_mesh_layout("face-20"), PairOptions(), seed=0).choose(0, 50)
    np.testing.assert_array_equal(choice.affine[:, 0], choice.affine[:, 1])
    assert not choice.spline.any() and not choice.is_photo.any()
    reach = np.abs(choice.affine[:, 0] @ [[1, -1], [1, -1], [1, 1]])
    assert reach.max() <= 1 + 1e-6, "a crop looks outside the picture"
    clip = choice.rows >= 3
    assert (clip[:, 0] == clip[:, 1]).all() and (choice.rows[:, 0] != choice.rows[:, 1]).all()


def test_a_number_that_two_folders_share_is_no_person(tmp_path: Path) -> None:
    for name, share in (("0001", 0.0), ("ann", 0.05)):
        caches = [open_cache(write_cache(tmp_path / name / place, {name: 1})) for place in "ab"]
        sampler = PairSampler(Pool(caches), load_mesh_layout("face-20"), PairOptions(), seed=0)
        assert sampler.summary["still_share"] == share


def test_people_are_balanced_by_the_exponent(tmp_path: Path) -> None:
    pool = Pool([open_cache(write_cache(tmp_path, {"a_1": 4, "b_1": 36}))])
    for exponent, expected in ((0.0, 0.5), (0.5, 0.25), (1.0, 0.1)):
        options = PairOptions(identity_exponent=exponent, hard_share=0)
        sampler = PairSampler(pool, load_mesh_layout("face-20"), options, seed=0)
        share = float((sampler.choose(0, 4000).rows[:, 0] < 4).mean())
        assert share == pytest.approx(expected, abs=0.03)


def test_photos_of_one_person_make_real_pairs(tmp_path: Path) -> None:
    names = {"a_neutral": 1, "a_smiling": 1, "b_1": 1, "c_1": 5}
    pool = Pool([open_cache(write_cache(tmp_path, names))])
    options = PairOptions(photo_share=0.25, still_share=0.25)
    choice = PairSampler(pool, load_mesh_layout("face-20"), options, seed=0).choose(0, 2000)
    is_still = (choice.rows.max(1) < 2) & (choice.rows[:, 0] != choice.rows[:, 1])
    assert is_still.mean() == pytest.approx(0.25, abs=0.04) and choice.is_photo.mean() == pytest.approx(0.25, abs=0.04)
    assert (choice.rows[choice.is_photo, 0] == choice.rows[choice.is_photo, 1]).all()
    assert not choice.spline[~choice.is_photo].any() and choice.spline[choice.is_photo].all()
    alone = Pool([open_cache(write_cache(tmp_path / "alone", {"a_1": 1}))])
    assert PairSampler(alone, load_mesh_layout("face-20"), PairOptions(), seed=0).choose(0, 9).is_photo.all()


def test_hard_pairs_differ_more(tmp_path: Path) -> None:
    pool = Pool([open_cache(write_cache(tmp_path, {"a_1": 30}))])
    layout = load_mesh_layout("face-20")

    def spread(hard_share: float) -> float:
        rows = PairSampler(pool, layout, PairOptions(hard_share=hard_share), seed=0).choose(0, 300).rows
        meshes = pool.meshes(rows)
        return float(np.abs(meshes[:, 0] - meshes[:, 1]).mean())

    assert spread(1.0) > 1.1 * spread(0.0)


def test_hard_pairs_open_mouths_and_close_eyes(tmp_path: Path) -> None:
    pool = Pool([open_cache(write_cache(tmp_path, {"a_1": 30}))])
    layout, random = load_mesh_layout("face-20"), np.random.default_rng(0)
    lower_lip, lower_lids = [14, 87, 317], [144, 145, 153, 373, 374, 380]
    landmarks = pool.caches[0].landmarks[:]
    landmarks[:, :, :2] = mean_face() * 0.2 + 0.5
    for points in (lower_lip, lower_lids):
        landmarks[:, points, 1] += random.uniform(0, 0.05, (30, 1))
    pool.caches[0] = replace(pool.caches[0], landmarks=landmarks)

    def opened(hard_share: float) -> np.ndarray:
        rows = PairSampler(pool, layout, PairOptions(hard_share=hard_share), seed=0).choose(0, 600).rows
        change = [opening[:, 1] - opening[:, 0] for opening in openings(pool.meshes(rows))]
        return np.array([np.mean(change[0]), -np.mean(change[1])])

    assert (opened(1.0) > 5 * np.abs(opened(0.0))).all()


def test_an_open_mouth_is_a_change_of_the_mouth_alone_whatever_the_pose() -> None:
    layout = load_mesh_layout("face-20")
    lower = list(np.flatnonzero(layout.operator[layout.names.index("lower lip"), 0]))
    rest = mean_face() * 0.2 + 0.5
    turned = (mean_face() @ [[0.6, 0.1], [-0.1, 1.0]]) * 0.2 + 0.45
    opened = rest.copy()
    opened[lower, 1] += 0.04
    mouth, eyes = (np.flatnonzero(np.abs(layout.operator[row, 0])) for row in (layout.names.index("lower lip"), 2))
    meshes = np.stack([rest, turned, opened]).astype(np.float32)[None].repeat(3, 0)
    whole, lips, lids = mesh_distances(meshes, np.arange(3), layout, [mouth, eyes])
    assert whole[0] > whole[1] and lips[1] > 10 * lips[0] and lips[1] > 3 * lids[1]


def test_no_face_is_an_error(cache: Cache) -> None:
    blank = Cache(cache.clips, cache.frames, np.full_like(cache.landmarks[:], np.nan))
    with pytest.raises(DataError, match="no face was found"):
        PairSampler(Pool([blank]), load_mesh_layout("face-20"), PairOptions(), seed=0)
    with pytest.raises(DataError, match="no clip for validation"):
        Validation(blank, load_mesh_layout("face-20"), clips=2)
    with pytest.raises(ConfigError, match="from 0 to 1"):
        PairOptions(photo_share=0.7, still_share=0.7)
