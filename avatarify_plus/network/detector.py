"""The keypoint detector: where the keypoints are and how the picture is locally stretched there (section 2.1)."""

import torch
from torch import Tensor, nn

from avatarify_plus.config import NetworkConfig
from avatarify_plus.network.blocks import Hourglass, antialias, coordinate_grid
from avatarify_plus.types import Keypoints


class KeypointDetector(nn.Module):
    """Find K keypoints and their jacobians without supervision (eq. 1-2).

    forward: (B, 3, H, H) in [0, 1] to Keypoints(value (B, K, 2), jacobian (B, K, 2, 2)).
    The convolutions are unpadded 7x7 as in FOMM, so heatmaps are (motion_size - 6) wide.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.hourglass = Hourglass(3, config.detector)
        self.keypoint_head = nn.Conv2d(self.hourglass.out_channels, config.keypoint_count, 7)
        self.jacobian_head = nn.Conv2d(self.hourglass.out_channels, 4 * config.keypoint_count, 7)
        nn.init.zeros_(self.jacobian_head.weight)
        assert self.jacobian_head.bias is not None
        with torch.no_grad():
            self.jacobian_head.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(config.keypoint_count))

    def forward(self, image: Tensor) -> Keypoints:
        count = self.config.keypoint_count
        features = self.hourglass(antialias(image, self.config.motion_size))
        logits = self.keypoint_head(features).float()  # (B, K, h, h)
        size = logits.shape[-1]
        heatmap = (logits / self.config.temperature).flatten(2).softmax(-1).unflatten(2, (size, size))
        grid = coordinate_grid(size, self.config.corner_aligned_grid, heatmap)  # (h, h, 2)
        if not self.config.corner_aligned_grid:
            # The unpadded head sees only the picture's inside: its cells are the inner cells of the full grid.
            grid = grid * (size / self.config.motion_size)
        value = (heatmap[..., None] * grid).sum((2, 3))  # (B, K, 2)
        local = self.jacobian_head(features).float().unflatten(1, (count, 4))  # (B, K, 4, h, h)
        jacobian = (heatmap[:, :, None] * local).sum((3, 4)).unflatten(2, (2, 2))  # (B, K, 2, 2)
        return Keypoints(value, jacobian)
