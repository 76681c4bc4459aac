"""Flow knows the motion that made one picture from another."""

import cv2
import numpy as np
import torch

from avatarify_plus.network.blocks import coordinate_grid
from training.data.flow import BatchFlow, Flow, FlowFinder, flow_loss, keypoint_flow_loss, stack_flows


def texture(size: int = 128) -> np.ndarray:
    noise = np.random.default_rng(0).uniform(0, 255, (size, size, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), size / 40)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


def test_a_picture_does_not_move_against_itself() -> None:
    image = texture()
    deformation, confidence = FlowFinder(64).find(image, image)
    grid = coordinate_grid(64, False, torch.zeros(1)).numpy()
    np.testing.assert_allclose(deformation, grid, atol=2e-3)
    assert confidence.min() > 0.99


def test_a_shift_is_found_in_picture_halves() -> None:
    for size in (128, 256):
        image = texture(size)
        driving = np.roll(image, size // 32, axis=1)  # what is at x in the source is at x + size / 32
        deformation, confidence = FlowFinder(64).find(image, driving)
        grid = coordinate_grid(64, False, torch.zeros(1)).numpy()
        moved = (deformation - grid)[8:-8, 8:-8]
        np.testing.assert_allclose(np.median(moved, axis=(0, 1)), [-2 / 32, 0], atol=4e-3)
        assert np.median(confidence) > 0.9


def test_what_cannot_be_found_is_not_believed() -> None:
    source, driving = texture(), texture()
    driving[40:90, 40:90] = 255 - driving[40:90, 40:90][::-1]
    _, confidence = FlowFinder(64).find(source, driving)
    assert confidence[25:40, 25:40].mean() < 0.6 < confidence[:10].mean()


def test_the_loss_is_zero_on_the_flow_and_counts_only_where_it_is_believed() -> None:
    grid = coordinate_grid(64, False, torch.zeros(1))
    flow = stack_flows([(grid.numpy(), np.ones((64, 64), np.float32))])
    assert float(flow_loss(flow, grid[None])) == 0
    shifted = grid[None] + torch.tensor([0.1, 0.0])
    torch.testing.assert_close(flow_loss(flow, shifted), torch.tensor(0.1))
    torch.testing.assert_close(flow_loss(flow, grid[None] + 9), torch.tensor(0.5))
    assert float(flow_loss(Flow(flow.deformation, torch.zeros(1, 64, 64)), shifted)) == 0


def test_keypoints_should_follow_the_flow() -> None:
    grid = coordinate_grid(64, False, torch.zeros(1))
    shift = torch.tensor([0.1, -0.05])
    flow = Flow(grid[None] + shift, torch.ones(1, 64, 64))
    driving = (torch.rand(1, 5, 2, generator=torch.Generator().manual_seed(0)) - 0.5).requires_grad_()
    assert float(keypoint_flow_loss(flow, driving.detach() + shift, driving.detach())) < 1e-5
    source = (driving.detach() + shift + 0.02).requires_grad_()
    loss = keypoint_flow_loss(flow, source, driving)
    torch.testing.assert_close(loss, torch.tensor(0.04), atol=1e-5, rtol=0)
    found = torch.autograd.grad(loss, [source, driving])
    torch.testing.assert_close(found[0], -found[1])  # to move one is to move the other back
    doubted = flow._replace(confidence=torch.zeros(1, 64, 64))
    assert float(keypoint_flow_loss(doubted, source.detach(), driving.detach())) == 0


def test_a_batchs_flow_is_its_pairs_whatever_the_threads() -> None:
    first = texture()
    pictures = [first, np.roll(first, 3, axis=0), np.roll(first, 5, axis=1)]
    source = torch.stack([torch.from_numpy(first).permute(2, 0, 1) / 255] * 3)
    driving = torch.stack([torch.from_numpy(image).permute(2, 0, 1) / 255 for image in pictures])
    expected = stack_flows([FlowFinder(32).find(first, image) for image in pictures])
    for threads in (1, 2):
        finder = BatchFlow(32, threads)
        found = finder.find(source, driving)
        finder.close()
        torch.testing.assert_close(found.deformation, expected.deformation)
        torch.testing.assert_close(found.confidence, expected.confidence)
