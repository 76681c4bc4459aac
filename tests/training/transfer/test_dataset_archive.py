"""Meshes travel small."""

import numpy as np

from training.transfer import dataset_archive as archive


def test_faces_that_were_not_found_stay_so() -> None:
    landmarks = np.random.default_rng(0).uniform(-0.2, 1.2, (3, 478, 3)).astype(np.float32)
    landmarks[1] = np.nan
    found = archive._unsqueezed(archive._squeezed(landmarks), 3)
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[[0, 2], :, :2], landmarks[[0, 2], :, :2], atol=1 / 8000)
