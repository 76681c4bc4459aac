"""Films of bodies show one person, all the time and wholly, in a scenery that stands still."""

from pathlib import Path

import numpy as np
import pytest

from avatarify_plus.errors import DataError
from figure_assets import write_assets
from training.figures.body_film import EXTENT, film_body, frame_poses
from training.figures.person import Person
from training.figures.skeleton import BUILDS, Skeleton
from training.figures.tai_chi import perform
from training.figures.wardrobe import Wardrobe, open_wardrobe

SIDE = 32


@pytest.fixture(scope="module")
def wardrobe(tmp_path_factory: pytest.TempPathFactory) -> Wardrobe:
    return open_wardrobe(write_assets(tmp_path_factory.mktemp("assets")))


def film(wardrobe: Wardrobe, seed: int, count: int = 3) -> np.ndarray:
    return np.stack(list(film_body(wardrobe, np.random.default_rng(seed), count, SIDE)))


def test_the_same_seed_is_the_same_film(wardrobe: Wardrobe) -> None:
    first, again, other = film(wardrobe, 0), film(wardrobe, 0), film(wardrobe, 1)
    assert first.shape == (3, SIDE, SIDE, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again) and np.abs(first.astype(int) - other).mean() > 10


def test_the_body_moves_and_the_corners_do_not(wardrobe: Wardrobe) -> None:
    pictures = film(wardrobe, 2, 8).astype(int)
    change = np.abs(pictures - pictures[0]).max((0, 3))
    assert change.max() > 60 and change[:3, :3].max() == change[:3, -3:].max() == 0


def test_joints_stay_in_the_picture() -> None:
    for seed in range(3):
        random = np.random.default_rng(seed)
        skeleton = Skeleton("male")
        poses = [skeleton.pose(stance) for stance in perform(skeleton, 30, random)]
        camera = frame_poses(poses, random)
        places = np.concatenate([camera.project(pose.joints, 1)[:, :2] for pose in poses])
        assert places.min() > 0 and places.max() < 1
        assert EXTENT[0] - 1e-9 <= np.ptp(places, axis=0).max() <= EXTENT[1] + 1e-9


def test_test_clips_wear_what_training_clips_do_not(wardrobe: Wardrobe) -> None:
    train, test = wardrobe.worn_in(False), wardrobe.worn_in(True)
    for build in BUILDS:
        assert train.suits[build] and test.suits[build]
        assert not set(train.suits[build]) & set(test.suits[build])
    assert train.hair and test.hair and not set(train.hair) & set(test.hair)


def test_suits_hide_what_they_cover(wardrobe: Wardrobe) -> None:
    person = Person(wardrobe, np.random.default_rng(0))
    skeleton = person.skeleton
    suit, torso, throat, *others = person.posed(skeleton.pose(perform(skeleton, 1, np.random.default_rng(0))[0]))
    assert len(suit.faces) == 24 * 17 * 2 and len(torso.faces) < 200 < 20 * 9 * 2
    assert all(len(mesh.faces) > 0 for mesh in (throat, *others))


def test_a_wardrobe_without_enough_is_one_line(wardrobe: Wardrobe, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found 0 of clothes/female_NAME, 0 of clothes/male_NAME, 0 of hair/NAME"):
        open_wardrobe(tmp_path)
    assets = write_assets(tmp_path / "assets")
    (assets / "clothes" / "male_two" / "male_two.obj").unlink()
    with pytest.raises(DataError, match=r"found 1 of clothes/male_NAME$"):
        open_wardrobe(assets)


def test_a_damaged_texture_is_one_line(tmp_path: Path) -> None:
    assets = write_assets(tmp_path / "assets")
    for build in BUILDS:
        (assets / "clothes" / f"{build}_two" / f"{build}_two_diffuse.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot read the texture"):
        film(open_wardrobe(assets).worn_in(True), 0, 1)
