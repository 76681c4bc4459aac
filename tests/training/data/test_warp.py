"""Pictures, meshes and keypoints of a pair are warped alike."""

import cv2
import numpy as np
import pytest
import torch

from avatarify_plus.motion.keypoints import keypoints_from_mesh, load_mesh_layout
from synthetic_cache import rendered
from training.data.cache import Cache
from training.data.pairs import PairOptions
from training.data.warp import mesh_keypoints
from training.loop.schedule import Stage


@pytest.mark.parametrize(("size", "photos"), [(128, 0.0), (256, 0.0), (64, 0.0), (128, 1.0)])
def test_keypoints_follow_the_cropped_picture(cache: Cache, size: int, photos: float) -> None:
    """A bright dot painted on the nose is where keypoint and mesh say, after crop, warp, mirror and scaling."""
    layout = load_mesh_layout("face-20")
    nose = layout.names.index("nose tip")
    points = np.flatnonzero(layout.operator[nose, 0])
    frames = np.zeros_like(cache.frames[:])
    for index, mesh in enumerate(cache.landmarks):
        x, y = mesh[points, :2].mean(0) * 256
        cv2.circle(frames[index], (round(x), round(y)), 6, (255, 255, 255), -1)
    dotted = Cache(cache.clips, frames, cache.landmarks)
    batch = rendered(dotted, PairOptions(photo_share=photos, still_share=0), Stage(size, size, 6, 1), 1)
    for image, value, mesh in zip(batch.driving, batch.driving_keypoints.value, batch.driving_mesh, strict=True):
        rows, columns = torch.nonzero(image.mean(0) > 0.4, as_tuple=True)
        found = torch.stack([columns.float().mean(), rows.float().mean()]) + 0.5
        for expected in ((value[nose] + 1) * size / 2, mesh[points].mean(0) * size):
            assert float((found - expected).abs().max()) < max(1.0, 1.5 * size / 128)
    assert bool(batch.is_photo.all()) == (photos == 1)


def test_keypoints_in_torch_are_those_of_the_app(cache: Cache) -> None:
    layout = load_mesh_layout("face-20")
    expected = keypoints_from_mesh(cache.landmarks[:], layout)
    found = mesh_keypoints(torch.from_numpy(cache.landmarks[:][..., :2] * 2 - 1), torch.from_numpy(layout.operator))
    np.testing.assert_allclose(found.value, expected.value, atol=1e-5)
    np.testing.assert_allclose(found.jacobian, expected.jacobian, atol=1e-4)
