"""Bodies stand on the ground, move smoothly and far, and do the same again from the same seed."""

import numpy as np
import pytest

from training.figures.skeleton import ANKLES, JOINTS, Skeleton
from training.figures.tai_chi import perform, smooth

COUNT = 60
SKELETON = Skeleton("female")


def performance(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return joints (T, 22, 3), and where the ankles were to be (T, 2, 3)."""
    stances = perform(SKELETON, COUNT, np.random.default_rng(seed))
    return np.stack([SKELETON.pose(s).joints for s in stances]), np.stack([s.ankles for s in stances])


@pytest.fixture(scope="module")
def performances() -> list[tuple[np.ndarray, np.ndarray]]:
    return [performance(seed) for seed in range(3)]


def test_feet_stand_where_they_were_put(performances: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for joints, ankles in performances:
        np.testing.assert_allclose(joints[:, list(ANKLES)], ankles, atol=1e-6)
        height, moved = ankles[..., 1], np.linalg.norm(np.diff(ankles, axis=0), axis=-1)
        assert height.min() == pytest.approx(SKELETON.sole_height)
        assert (moved.min(1) < 1e-9).all()  # one foot stands at any time
        stays_low = np.maximum(height[:-1], height[1:]) < height.min() + 1e-9
        assert (moved[stays_low] < 0.01).all()


def test_movements_are_smooth_and_large(performances: list[tuple[np.ndarray, np.ndarray]]) -> None:
    wrists = [JOINTS.index("left wrist"), JOINTS.index("right wrist")]
    for joints, _ in performances:
        assert np.linalg.norm(np.diff(joints, axis=0), axis=-1).max() < 3
        assert (np.ptp(joints[:, wrists], axis=0).max(1) > 4).all()
        assert np.abs(joints[:, 0, [0, 2]].mean(0)).max() < 1e-9


def test_hands_cross_the_body(performances: list[tuple[np.ndarray, np.ndarray]]) -> None:
    joints = np.concatenate([joints for joints, _ in performances])
    neck, *shoulders = (joints[:, JOINTS.index(name)] for name in ("neck", "left shoulder", "right shoulder"))
    to_the_left = shoulders[0] - shoulders[1]
    for name, way in (("left wrist", 1), ("right wrist", -1)):
        aside = way * ((joints[:, JOINTS.index(name)] - neck) * to_the_left).sum(1)
        assert (aside < 0).mean() > 0.02 and (aside > 0).mean() > 0.5


def test_the_same_seed_is_the_same_performance(performances: list[tuple[np.ndarray, np.ndarray]]) -> None:
    again = performance(1)[0]
    assert np.array_equal(performances[1][0], again) and np.abs(performances[2][0] - again).max() > 1


def test_aims_are_met_softly() -> None:
    values = smooth(np.array([[0.0], [1.0], [-1.0]]), 201)[:, 0]
    assert (values[0], values[100], values[200]) == (0, 1, -1)
    assert abs(values[101] - values[100]) < 0.1 * np.abs(np.diff(values)).max()
