"""FOMM's discriminator: convolutional, on several scales, given the driving keypoints; with least-squares losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from avatarify_plus.errors import ConfigError
from avatarify_plus.network.blocks import antialias, heatmaps
from avatarify_plus.network.generator import Window
from avatarify_plus.types import Keypoints

KERNEL = 4


@dataclass(frozen=True, slots=True)
class DiscriminatorConfig:
    """The discriminator's shape; the defaults are FOMM's for faces (vox-adv). Raises ConfigError if out of range.

    scales: how many, each half the size of the one before. width: half the channels of the first of `blocks`
    convolutions, doubled up to max_width. heatmap_variance: of the keypoints' Gaussians, in coordinates of [-1, 1].
    """

    scales: int = 1
    width: int = 32
    max_width: int = 512
    blocks: int = 4
    spectral_norm: bool = True
    keypoint_conditioned: bool = True
    heatmap_variance: float = 0.01

    def __post_init__(self) -> None:
        if min(self.scales, self.width, self.max_width, self.blocks) < 1 or self.heatmap_variance <= 0:
            raise ConfigError(f"a discriminator's scales, widths, blocks and variance must be positive, found {self}")

    @property
    def smallest_px(self) -> int:
        """Side of the smallest picture or window that every scale can judge."""
        side = KERNEL + 1  # the last instance norm needs more than one place
        for _ in range(self.blocks - 1):
            side = 2 * side + KERNEL - 1
        return side << (self.scales - 1)


class Judgement(NamedTuple):
    """What one scale says of pictures: its features (B, C, h, w), first block first, and (B, 1, h, w): 1 is real."""

    features: list[Tensor]
    prediction: Tensor


class MultiScaleDiscriminator(nn.Module):
    """Judge pictures in each of their parts, given the keypoints that they should show.

    forward: pictures (B, 3, S, S) in [0, 1] and their `condition` to one Judgement a scale, full size first.
    Source: FOMM's MultiScaleDiscriminator, after Isola et al. 2017 and Wang et al. 2018.
    """

    def __init__(self, config: DiscriminatorConfig, keypoint_count: int) -> None:
        super().__init__()
        self.config = config
        channels = 3 + (keypoint_count if config.keypoint_conditioned else 0)
        self.scales = nn.ModuleList(_ScaleDiscriminator(channels, config) for _ in range(config.scales))

    def condition(self, keypoints: Keypoints, size: int, window: Window | None = None) -> Tensor:
        """Return what the discriminator is given besides pictures of `size` px, or besides their window.

        (B, K, s, s) heatmaps of keypoints (B, K, ...), K being 0 without conditioning. Made once for a batch, since a
        step judges it several times.
        """
        value = keypoints.value.detach()
        if not self.config.keypoint_conditioned:
            value = value[:, :0]
        shown = heatmaps(value, size, self.config.heatmap_variance, corner_aligned=False)
        return shown if window is None else window.cut(shown, 2)

    def forward(self, picture: Tensor, condition: Tensor) -> list[Judgement]:
        side = picture.shape[-1]
        x = torch.cat([picture, condition.to(picture.dtype)], dim=1)  # (B, 3 + K, S, S)
        with parametrize.cached():
            self._normalise_weights()
            return [scale(antialias(x, side >> level)) for level, scale in enumerate(self.scales)]

    def _normalise_weights(self) -> None:
        """Compute the normalised weights before autocast can: the power iteration needs float32."""
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            for module in self.modules():
                if parametrize.is_parametrized(module):
                    _ = module.weight


class _ScaleDiscriminator(nn.Module):
    """Convolve without padding and halve, block after block; instance norm in all but the first."""

    def __init__(self, channels: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        widths = [min(config.max_width, config.width * 2 ** (block + 1)) for block in range(config.blocks)]
        inputs = [channels, *widths[:-1]]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, KERNEL) for a, b in zip(inputs, widths, strict=True))
        self.norms = nn.ModuleList(nn.InstanceNorm2d(width, affine=True) for width in widths[1:])
        self.last = nn.Conv2d(widths[-1], 1, 1)
        if config.spectral_norm:
            for layer in (*self.convolutions, self.last):
                spectral_norm(layer)

    def forward(self, x: Tensor) -> Judgement:
        features: list[Tensor] = []
        for block, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if block > 0:
                x = self.norms[block - 1](x)
            x = F.leaky_relu(x, 0.2)
            if block < len(self.convolutions) - 1:
                x = F.avg_pool2d(x, 2)
            features.append(x)
        return Judgement(features, self.last(x))


def generator_loss(fake: list[Judgement]) -> Tensor:
    """Return the generator's least-squares loss (Mao et al. 2017): (1 - D(fake))^2, summed over scales."""
    return torch.stack([((1 - judgement.prediction.float()) ** 2).mean() for judgement in fake]).sum()


def discriminator_loss(real: list[Judgement], fake: list[Judgement]) -> Tensor:
    """Return the discriminator's least-squares loss: (1 - D(real))^2 + D(fake)^2, summed over scales."""
    wrong = [(judgement.prediction.float() ** 2).mean() for judgement in fake]
    return generator_loss(real) + torch.stack(wrong).sum()


def feature_matching(real: list[Judgement], fake: list[Judgement]) -> Tensor:
    """Return the mean absolute difference of features, summed over blocks and scales; `real` is the constant.

    Source: Wang et al. 2018; FOMM weighs it by 10.
    """
    differences = [
        (found.float() - wanted.detach().float()).abs().mean()
        for judgement, truth in zip(fake, real, strict=True)
        for found, wanted in zip(judgement.features, truth.features, strict=True)
    ]
    return torch.stack(differences).sum()
