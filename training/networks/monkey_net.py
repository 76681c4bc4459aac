"""Monkey-Net (Siarohin et al. 2019, https://arxiv.org/abs/1812.08861), from which FOMM came, to compare with."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from avatarify_plus.network.blocks import (
    Hourglass,
    ResidualBlock,
    antialias,
    heatmaps,
    resize,
    resize_deformation,
    silent_head,
    warp,
)
from avatarify_plus.network.config import HourglassConfig, NetworkConfig, network_config
from avatarify_plus.network.dense_motion import DenseMotion, Motion
from avatarify_plus.network.detector import KeypointDetector
from avatarify_plus.network.generator import Painting, Window
from avatarify_plus.network.model import Prediction
from avatarify_plus.types import Keypoints

PRESET = "monkey-net"

NARROWEST_PX = 4
"""Side of the generator's narrowest feature."""


def monkey_net_config(size: str) -> NetworkConfig:
    """Return Monkey-Net's config in one of the sizes: detector and motion are FOMM's in width."""
    return replace(network_config("fomm", size), preset=PRESET)


class EncodedFrame(NamedTuple):
    """What depends on the source alone.

    levels: the picture (B, 3, S, S) and the encoder's features, each half as large as the one before, down to
    NARROWEST_PX. small: (B, 3, m, m). heatmap: (B, K, m, m). keypoints: the source's.
    """

    levels: tuple[Tensor, ...]
    small: Tensor
    heatmap: Tensor
    keypoints: Keypoints


class MonkeyNet(nn.Module):
    """Move the source by its keypoints' displacements and a residual flow, and paint from features that are warped.

    It has `AnimationModel`'s verbs. What differs from the paper: heatmaps have FOMM's fixed variance, and the losses
    are those of the other rows.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.detector = KeypointDetector(config)
        self.detector.jacobian_head = _NoJacobian(config)  # type: ignore[assignment]  # in a convolution's place
        self.dense_motion = ResidualMotion(config)
        self.generator = WarpingUnet(config)

    def detect(self, image: Tensor) -> Keypoints:
        """Find the keypoints of (B, 3, S, S); every jacobian is the identity."""
        found: Keypoints = self.detector(image)
        return found

    def locate(self, image: Tensor, mesh: Keypoints | None) -> Keypoints:
        """See `detect`; the mesh is not used."""
        return self.detect(image)

    def encode_source(self, image: Tensor, keypoints: Keypoints) -> EncodedFrame:
        """Compute what depends on the source (B, 3, S, S) alone."""
        config = self.config
        heatmap = heatmaps(keypoints.value, config.motion_size, config.heatmap_variance, config.corner_aligned_grid)
        return EncodedFrame(self.generator.encode(image), antialias(image, config.motion_size), heatmap, keypoints)

    def animate(self, source: EncodedFrame, driving: Keypoints, window: Window | None = None) -> Prediction:
        """Return the source in the driving pose; all of the picture or one `window` of it."""
        motion = self.dense_motion(source.small, source.heatmap, source.keypoints, driving)
        picture = self.generator(source.levels, motion.deformation, motion.heatmap - source.heatmap)
        if window is not None:
            picture = window.cut(picture, 2)
        return Prediction(picture, motion, Painting(picture, picture, picture, torch.zeros_like(picture[:, :1]), ()))

    def forward(self, image: Tensor, source: Keypoints, driving: Keypoints, window: Window | None = None) -> Prediction:
        """Encode and animate in one call, as training does."""
        return self.animate(self.encode_source(image, source), driving, window)


class ResidualMotion(DenseMotion):
    """The masks' mixture of displacements, and a flow of the network's own that is added to it; no occlusion."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.occlusion = nn.Identity()
        self.residual_head = silent_head(self.hourglass.out_channels, 2, kernel=config.mask_kernel)

    def forward(  # type: ignore[override]  # it knows no contours
        self, small: Tensor, source_heatmap: Tensor, source: Keypoints, driving: Keypoints
    ) -> Motion:
        """See `DenseMotion.forward`."""
        config = self.config
        heatmap = heatmaps(driving.value, config.motion_size, config.heatmap_variance, config.corner_aligned_grid)
        sparse = self.sparse_motion(source, driving)  # (B, K + 1, m, m, 2)
        zeta = self.hourglass(self.hourglass_input(small, heatmap - source_heatmap, sparse))
        mask = self.mask_head(zeta).float().softmax(1)  # (B, K + 1, m, m)
        residual = self.residual_head(zeta).float().permute(0, 2, 3, 1)  # (B, m, m, 2)
        return Motion((mask[..., None] * sparse).sum(1) + residual, mask, (), (), heatmap)


class WarpingUnet(nn.Module):
    """An hourglass whose skips, down to the narrowest feature, are warped on their way to the decoder."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        depth = round(math.log2(config.image_size / NARROWEST_PX))
        width = config.generator_width
        encoder = Hourglass(3, HourglassConfig(width, config.motion.max_width, depth))
        self.down_blocks, self.up_blocks = encoder.down_blocks, encoder.up_blocks
        narrowest = min(config.motion.max_width, width * 2**depth)
        self.embedding = nn.Conv2d(config.keypoint_count, narrowest, 1)
        self.residual_blocks = nn.ModuleList(ResidualBlock(encoder.out_channels) for _ in range(config.residual_blocks))
        self.final = nn.Conv2d(encoder.out_channels, 3, 1)

    def encode(self, picture: Tensor) -> tuple[Tensor, ...]:
        """Return the picture (B, 3, S, S) and the encoder's features."""
        levels = [picture.contiguous(memory_format=torch.channels_last) if self.training else picture]
        for block in self.down_blocks:
            levels.append(block(levels[-1]))
        return tuple(levels)

    def forward(self, levels: tuple[Tensor, ...], deformation: Tensor, difference: Tensor) -> Tensor:
        """Return the picture (B, 3, S, S) in [0, 1].

        deformation: (B, m, m, 2). difference: driving minus source heatmaps, (B, K, m, m).
        """
        warped = [warp(level, resize_deformation(deformation, level.shape[-1])) for level in levels]
        x = warped.pop()
        x = x + self.embedding(resize(difference, x.shape[-1]).to(x.dtype))
        for block in self.up_blocks:
            x = block(x)
            x = torch.cat([x, warped.pop().to(x.dtype)], dim=1)  # (B, up + skip, H, W)
        for block in self.residual_blocks:
            x = block(x)
        return torch.sigmoid(self.final(x).float())


class _NoJacobian(nn.Module):
    """In place of the detector's head of jacobians: the identity everywhere, (B, 4 K, h, h)."""

    identity: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.shrinks = 6 - 2 * config.detector_padding  # as the 7x7 head beside it
        identity = torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(config.detected_count)
        self.register_buffer("identity", identity, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        size = features.shape[-1] - self.shrinks
        return self.identity[None, :, None, None].expand(len(features), -1, size, size)
