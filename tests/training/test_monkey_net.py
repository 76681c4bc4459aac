"""Monkey-Net moves the source by displacements alone and a residual flow, and learns to."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatarify_plus.network.blocks import coordinate_grid
from avatarify_plus.types import Keypoints
from synthetic_cache import tiny_command, write_cache
from training import train
from training.networks import MONKEY_NET, base_config, build_network
from training.networks.monkey_net import MonkeyNet


@pytest.fixture
def network() -> MonkeyNet:
    torch.manual_seed(0)
    config = replace(base_config(MONKEY_NET, "tiny"), image_size=64, motion_size=16, keypoint_count=4)
    network = build_network(config)
    assert isinstance(network, MonkeyNet)
    return network.eval()


def smooth(seed: int) -> torch.Tensor:
    noise = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, size=64, mode="bilinear")


def test_its_keypoints_have_no_jacobian_of_their_own(network: MonkeyNet) -> None:
    with torch.no_grad():
        found = network.locate(torch.cat([smooth(1), smooth(2)]), None)
    assert found.value.shape == (2, 4, 2)
    assert torch.allclose(found.jacobian, torch.eye(2).expand(2, 4, 2, 2), atol=1e-5)
    assert not any("jacobian" in name for name, _ in network.named_parameters())


def test_keypoints_that_move_as_one_move_the_picture_and_nothing_else_does(network: MonkeyNet) -> None:
    torch.nn.init.constant_(network.dense_motion.mask_head.bias, 0.0)
    torch.nn.init.zeros_(network.dense_motion.mask_head.weight)  # every mask 1 / (K + 1), background first
    source = Keypoints(torch.zeros(1, 4, 2), torch.eye(2).expand(1, 4, 2, 2))
    moved = Keypoints(source.value + torch.tensor([0.25, 0.0]), source.jacobian)
    with torch.no_grad():
        encoded = network.encode_source(smooth(1), source)
        still, shifted = (network.animate(encoded, keypoints).motion.deformation for keypoints in (source, moved))
    grid = coordinate_grid(16, False, still)
    assert torch.allclose(still[0], grid, atol=1e-5)
    assert torch.allclose(shifted[0], grid - torch.tensor([0.25 * 4 / 5, 0.0]), atol=1e-5)
    torch.nn.init.constant_(network.dense_motion.residual_head.bias, 0.1)
    with torch.no_grad():
        assert torch.allclose(network.animate(encoded, source).motion.deformation[0], grid + 0.1, atol=1e-5)


def test_what_is_warped_reaches_the_picture_at_every_scale(network: MonkeyNet) -> None:
    pose = Keypoints(torch.zeros(1, 4, 2), torch.eye(2).expand(1, 4, 2, 2))
    with torch.no_grad():
        encoded = network.encode_source(smooth(1), pose)
        whole = network.animate(encoded, pose).image
        assert [level.shape[-1] for level in encoded.levels] == [64, 32, 16, 8, 4]
        for index in range(len(encoded.levels)):
            levels = tuple(level + 1 if i == index else level for i, level in enumerate(encoded.levels))
            assert not torch.allclose(network.animate(encoded._replace(levels=levels), pose).image, whole)


def test_it_learns_to_follow_and_all_of_it_learns(network: MonkeyNet) -> None:
    network.train()
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    source = torch.cat([smooth(1), smooth(2)])
    target = source.roll(4, 3)
    losses = []
    for _ in range(60):
        predicted = network(source, network.locate(source, None), network.locate(target, None)).image
        loss = (predicted - target).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_it_is_trained_like_any_row_without_a_loss_of_jacobians(tmp_path: Path) -> None:
    data = write_cache(tmp_path / "data", {"a_1": 4, "b_1": 4})
    command = tiny_command(data, tmp_path / "run", "--preset", MONKEY_NET, "--steps", "2", "--keypoints", "learned")
    assert train.main(command) == 0
    header = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0]
    assert "equivariance value" in header and "jacobian" not in header
