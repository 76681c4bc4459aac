"""The paper's measures obey their definitions."""

import numpy as np
import pytest

from training.data.cache import Cache
from training.evaluation.metrics import FaceDescriber, FaceDescription, Scorer, Scores, mean_scores


def test_metrics_of_a_picture_with_itself_and_with_noise(cache: Cache) -> None:
    describer = FaceDescriber()
    image = cache.frames[8]
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 10, image.shape), 0, 255).astype(np.uint8)
    blank = np.zeros_like(image)
    face, noisy_face, nobody = (describer.describe(picture) for picture in (image, noisy, blank))
    same, worse, missing = Scorer(), Scorer(), Scorer()
    same.add(image, image, face, face)
    worse.add(noisy, image, noisy_face, face)
    missing.add(blank, image, nobody, face)
    assert same.scores() == pytest.approx(Scores(0, 100, 0, 0, 0), abs=1e-6)
    assert worse.scores().l1 > 0.02 and worse.scores().psnr_db < 30 and worse.scores().aed > 0.01
    assert missing.scores().mkr == 1 and np.isnan(missing.scores().akd_px)


def test_akd_is_in_pixels_of_256() -> None:
    mesh = np.full((468, 3), 0.5, np.float32)
    moved = mesh + np.array([3 / 256, 4 / 256, 0.7], np.float32)
    scorer, image = Scorer(), np.zeros((8, 8, 3), np.uint8)
    scorer.add(image, image, FaceDescription(moved, None), FaceDescription(mesh, None))
    assert scorer.scores().akd_px == pytest.approx(5, abs=1e-3)


def test_mean_scores_ignore_what_was_not_measured() -> None:
    nan = float("nan")
    assert mean_scores([Scores(1, 1, nan, 1, 1), Scores(3, 1, 4, 1, 1)])[:3] == (2, 1, 4)
