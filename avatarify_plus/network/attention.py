"""Attention on the dense-motion feature: the paper's max-pool module (section 2.2) and CBAM, its origin."""

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Refine a feature by channel, then by place (eq. 8-10); keeps (B, C, H, W).

    `use_average` False and gain 2 is the paper's module; True and gain 1 is CBAM (Woo et al. 2018), whose channel
    weights add the MLP of the average to that of the maximum. The MLP's hidden width is C // reduction.
    """

    def __init__(self, channels: int, reduction: int, gain: float, use_average: bool) -> None:
        super().__init__()
        self.gain = gain
        self.use_average = use_average
        hidden = max(1, channels // reduction)
        self.mlp = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1))
        self.place = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, feature: Tensor) -> Tensor:
        feature = feature * self.channel_weights(feature)
        return feature * self.place_weights(feature)  # eq. 10

    def channel_weights(self, feature: Tensor) -> Tensor:
        """Return how much of each channel passes, (B, C, 1, 1) in [0, 1]: eq. 8."""
        weight = self.mlp(feature.amax((2, 3), keepdim=True))  # (B, C, 1, 1)
        if self.use_average:
            weight = weight + self.mlp(feature.mean((2, 3), keepdim=True))
        return torch.sigmoid(self.gain * weight)

    def place_weights(self, feature: Tensor) -> Tensor:
        """Return how much of each place passes, (B, 1, H, W) in [0, 1], of a feature weighted by channel: eq. 9."""
        pooled = torch.cat([feature.mean(1, keepdim=True), feature.amax(1, keepdim=True)], dim=1)  # (B, 2, H, W)
        return torch.sigmoid(self.place(pooled))
