"""The keypoint detector: where the keypoints are and how the picture is locally stretched there (section 2.1)."""

import math

import torch
from torch import Tensor, nn

from avatarify_plus.network.blocks import Hourglass, antialias, coordinate_grid
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.types import Keypoints

MAX_LOGIT = 6.0
"""The bound of an anchored keypoint's logits: how far the picture may outweigh the prior."""


class KeypointDetector(nn.Module):
    """Find keypoints and their jacobians without supervision (eq. 1-2).

    forward: (B, 3, H, H) in [0, 1] to Keypoints(value (B, K, 2), jacobian (B, K, 2, 2)), K = config.detected_count.
    The last convolutions are 7x7 and unpadded as in FOMM, so heatmaps are (motion_size - 6) wide, unless
    `detector_padding` pads them.
    """

    anchors: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.hourglass = Hourglass(3, config.detector)
        count = config.detected_count
        padding = config.detector_padding
        self.keypoint_head = nn.Conv2d(self.hourglass.out_channels, count, 7, padding=padding)
        self.jacobian_head = nn.Conv2d(self.hourglass.out_channels, 4 * count, 7, padding=padding)
        nn.init.zeros_(self.jacobian_head.weight)
        assert self.jacobian_head.bias is not None
        with torch.no_grad():
            self.jacobian_head.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(count))
        self.register_buffer("anchors", border_anchors(count), persistent=False)
        if config.anchor_radius:
            nn.init.normal_(self.keypoint_head.weight, std=1e-3)  # keypoints start at their anchors

    def forward(self, image: Tensor) -> Keypoints:
        count = self.config.detected_count
        features = self.hourglass(antialias(image, self.config.motion_size))
        logits = self.keypoint_head(features).float()  # (B, K, h, h)
        size = logits.shape[-1]
        grid = coordinate_grid(size, self.config.corner_aligned_grid, logits)  # (h, h, 2)
        if not self.config.corner_aligned_grid:
            # The unpadded head sees only the picture's inside: its cells are the inner cells of the full grid.
            grid = grid * (size / self.config.motion_size)
        logits = logits / self.config.temperature
        if self.config.anchor_radius:
            distance = ((grid - self.anchors[:, None, None]) ** 2).sum(-1)  # (K, h, h)
            logits = MAX_LOGIT * torch.tanh(logits / MAX_LOGIT)  # else faces attract every keypoint
            logits = logits - distance / (2 * self.config.anchor_radius**2)
        heatmap = logits.flatten(2).softmax(-1).unflatten(2, (size, size))  # (B, K, h, h)
        value = (heatmap[..., None] * grid).sum((2, 3))  # (B, K, 2)
        local = self.jacobian_head(features).float().unflatten(1, (count, 4))  # (B, K, 4, h, h)
        jacobian = (heatmap[:, :, None] * local).sum((3, 4)).unflatten(2, (2, 2))  # (B, K, 2, 2)
        return Keypoints(value, jacobian)


def border_anchors(count: int) -> Tensor:
    """Return (count, 2) points spread evenly along a square of half side 0.7, from the middle of its lower edge."""
    side = 0.7
    corners = [(0.0, side), (side, side), (side, -side), (-side, -side), (-side, side), (0.0, side)]
    reach = [0.0, side, 3 * side, 5 * side, 7 * side, 8 * side]  # the length walked at each corner
    points = []
    for index in range(count):
        walked = 8 * side * index / count
        edge = max(i for i, at in enumerate(reach[:-1]) if at <= walked)
        (x0, y0), (x1, y1) = corners[edge], corners[edge + 1]
        part = (walked - reach[edge]) / math.dist((x0, y0), (x1, y1))
        points.append((x0 + part * (x1 - x0), y0 + part * (y1 - y0)))
    return torch.tensor(points).reshape(count, 2)
