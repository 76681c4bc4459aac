"""The losses obey their own definitions."""

import pytest
import torch

from avatarify_plus.errors import AvatarifyError
from avatarify_plus.types import Keypoints
from training.data.cache import Cache
from training.objective.losses import (
    RandomTransform,
    equivariance,
    expression_weight,
    perceptual_pyramid,
    weighted_mean,
)
from training.objective.perceptual import perceptual_network


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_equivariance_is_zero_under_its_own_transform() -> None:
    like = torch.zeros(2, 3, 32, 32)
    transform = RandomTransform.draw(2, like)
    moved = Keypoints(torch.rand(2, 5, 2) - 0.5, torch.eye(2) + 0.1 * torch.randn(2, 5, 2, 2))
    jacobian = transform.jacobian(moved.value) @ moved.jacobian
    value_loss, jacobian_loss = equivariance(transform, Keypoints(transform.apply(moved.value), jacobian), moved)
    assert float(value_loss.detach()) < 1e-5 and float(jacobian_loss.detach()) < 1e-4
    wrong = Keypoints(transform.apply(moved.value) + 0.1, jacobian)
    assert float(equivariance(transform, wrong, moved)[0].detach()) > 0.05


def test_transform_jacobian_matches_finite_differences() -> None:
    transform = RandomTransform.draw(1, torch.zeros(1))
    points = torch.tensor([[[0.1, -0.3]]])
    step = 1e-2
    columns = [
        (transform.apply(points + offset) - transform.apply(points - offset)) / (2 * step)
        for offset in (torch.tensor([step, 0.0]), torch.tensor([0.0, step]))
    ]
    found = transform.jacobian(points).detach()
    torch.testing.assert_close(found, torch.stack(columns, -1).detach(), atol=5e-3, rtol=0)


def test_perceptual_distance_grows_with_distortion(cache: Cache) -> None:
    network = perceptual_network("efficientnet-lite0")
    image = torch.from_numpy(cache.frames[8])[None].permute(0, 3, 1, 2).float() / 255
    distances = [
        float(
            perceptual_pyramid(
                network, (image + amount * torch.randn_like(image)).clamp(0, 1), image, torch.ones(1, 1, 256, 256), 2
            )
        )
        for amount in (0.0, 0.02, 0.1)
    ]
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert distances[0] < distances[1] < distances[2]


def test_errors_at_the_eyes_and_in_the_mouth_count_more(cache: Cache) -> None:
    mesh = torch.from_numpy(cache.landmarks[:1][..., :2].copy())
    mesh[:, list(range(468, 478))] = 0.5
    weight = expression_weight(mesh, 128, gain=3.0)
    upper, lower, eye = mesh[0, 13], mesh[0, 14], mesh[0, 159]
    for x, y in (eye, (upper + lower) / 2):
        assert weight[0, 0, int(y * 128), int(x * 128)] > 3
    assert weight[0, 0, 2, 2] == pytest.approx(1)
    opened = mesh.clone()
    opened[:, [14, 87, 317, 178, 402, 88, 318], 1] += 0.15  # the inside of a wide open mouth
    x, y = (opened[0, 13] + opened[0, 14]) / 2
    assert expression_weight(opened, 128, 3.0)[0, 0, int(y * 128), int(x * 128)] > 3
    near, far = torch.zeros(2, 1, 3, 128, 128)
    near[..., int(eye[1] * 128), int(eye[0] * 128)], far[..., 2, 2] = 1.0, 1.0
    assert weighted_mean(near, weight) > 3 * weighted_mean(far, weight)
    assert weighted_mean(torch.full((1, 3, 32, 32), 0.2), weight) == pytest.approx(0.2)


def test_a_picture_in_which_nothing_counts_adds_nothing_to_a_batch() -> None:
    error = torch.full((2, 3, 16, 16), 0.2, requires_grad=True)
    weight = torch.zeros(2, 1, 16, 16)
    weight[1, :, 4:8, 4:8] = 1
    found = weighted_mean(error, weight)
    found.backward()
    assert found.detach() == pytest.approx(0.1)
    assert error.grad is not None and torch.isfinite(error.grad).all() and not error.grad[0].any()


def test_unknown_perceptual_network_is_refused() -> None:
    with pytest.raises(AvatarifyError, match="vgg99"):
        perceptual_network("vgg99")
