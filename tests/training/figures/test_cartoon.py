"""Cartoons show an animal that moves in place, wholly, and go round without a jump."""

import numpy as np
import pytest

from avatarify_plus.types import Image
from training.figures.cartoon import FRAMES, draw_cartoon
from training.figures.gait import GAITS

SIDE = 48


def cartoon(seed: int) -> list[Image]:
    return draw_cartoon(np.random.default_rng(seed), SIDE)


@pytest.mark.parametrize("seed", range(6))
def test_the_pictures_differ_and_the_last_leads_to_the_first(seed: int) -> None:
    pictures = cartoon(seed)
    assert FRAMES[0] <= len(pictures) < FRAMES[1]
    frames = np.stack(pictures).astype(int)
    steps = np.abs(frames - np.roll(frames, 1, axis=0)).mean((1, 2, 3))
    assert steps.min() > 0.3 and steps[0] < 1.5 * steps[1:].max()
    assert np.abs(frames[len(frames) // 2] - frames[0]).mean() > steps.min()


@pytest.mark.parametrize("seed", range(6))
def test_the_animal_is_wholly_in_the_picture(seed: int) -> None:
    frames = np.stack(cartoon(seed)).astype(int)
    changed = np.ptp(frames, axis=0).max(-1) > 0
    assert not np.concatenate([changed[0], changed[-1], changed[:, 0], changed[:, -1]]).any()
    assert changed.mean() > 0.05


def test_the_same_seed_is_the_same_cartoon_and_others_differ() -> None:
    assert all(np.array_equal(a, b) for a, b in zip(cartoon(0), cartoon(0), strict=True))
    first = np.stack([cartoon(seed)[0] for seed in range(4)]).astype(int)
    assert all(np.abs(first[0] - other).mean() > 5 for other in first[1:])


@pytest.mark.parametrize("name", GAITS)
def test_feet_go_round_without_a_jump(name: str) -> None:
    gait = GAITS[name]
    phases = np.linspace(0, 1, 400, endpoint=False)
    for foot in range(4):
        way = np.array([gait.foot(foot, phase) for phase in phases])
        assert np.abs(way - np.roll(way, 1, axis=0)).max() < 0.03
        assert way[:, 1].min() == 0 and (way[:, 1] == 0).mean() == pytest.approx(gait.duty, abs=0.01)
        assert np.ptp(way[:, 0]) == pytest.approx(gait.stride, rel=0.02)
        down = way[:, 1] == 0
        assert (np.diff(way[:, 0])[down[:-1] & down[1:]] < gait.stride / 2).all()
    body = np.array([gait.body(phase) for phase in phases])
    assert np.abs(body - np.roll(body, 1, axis=0)).max() < 0.03
