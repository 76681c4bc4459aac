"""The baseline of Table 1, in the style of X2Face (Wiles et al. 2018): a vector drives a dense warp, no keypoints."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avatarify_plus.network.blocks import (
    ConvBlock,
    DownBlock,
    Hourglass,
    antialias,
    coordinate_grid,
    resize,
    resize_deformation,
    silent_head,
    warp,
)
from avatarify_plus.network.config import NetworkConfig, network_config
from avatarify_plus.network.dense_motion import Motion
from avatarify_plus.network.generator import Features, Painting, Window
from avatarify_plus.network.model import EncodedSource, Prediction
from avatarify_plus.types import Keypoints

PRESET = "x2face"
CODE = 128
"""The length of the driving vector, as in X2Face."""

NARROWEST_PX = 4
"""Side of the feature between picture and vector."""

SLOPE = 0.2
"""Slope of the decoder's leaky ReLU below zero."""


def x2face_config(size: str) -> NetworkConfig:
    """Return the baseline's config in one of the sizes: the generator's widths serve its three networks."""
    return replace(network_config("ours", size), preset=PRESET, keypoints="mesh")  # mesh: there is no detector to train


class LeakyUpBlock(ConvBlock):
    """Interpolate, convolve, normalise, rectify with a slope of SLOPE, as X2Face's decoders do.

    With ReLU the decoder of the vector dies at first, while every movement is a wrong one, and never moves again.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(resize(x, 2 * x.shape[-1]))), SLOPE)


class X2Face(nn.Module):
    """Sample the source by a grid of its own (the embedded face), then by one that the driving vector decodes to.

    It has `AnimationModel`'s verbs. Where that takes keypoints (B, K, 2) it takes the vector, as (B, CODE / 2, 2).
    Both grids are offsets at the motion's size m, as the other networks' dense motion is: at the picture's own, pixels
    would learn where to go one by one, and heads would be torn. It cannot paint what the photo does not show.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        width, max_width = config.generator_width, 2 * config.generator_max_width
        depth = round(math.log2(config.image_size / NARROWEST_PX))
        finest = round(math.log2(config.image_size / config.motion_size))
        widths = [min(max_width, width * 2**level) for level in range(depth + 1)]
        self.embedder = Hourglass(3, config.motion)
        self.embedded_offset = silent_head(self.embedder.out_channels, 2, kernel=3)
        self.encoder = nn.Sequential(
            *(DownBlock(3 if level == 0 else widths[level], widths[level + 1]) for level in range(depth)),
            nn.Flatten(),
            nn.Linear(widths[-1] * NARROWEST_PX**2, CODE),
        )
        self.decoder = nn.Sequential(
            nn.Linear(CODE, widths[-1] * NARROWEST_PX**2),
            nn.Unflatten(1, (widths[-1], NARROWEST_PX, NARROWEST_PX)),
            *(LeakyUpBlock(widths[level + 1], widths[level]) for level in reversed(range(finest, depth))),
            silent_head(widths[finest], 2, kernel=3),
        )

    def detect(self, image: Tensor) -> Keypoints:
        """Return the driving vector of (B, 3, S, S)."""
        code = self.encoder(image).float().unflatten(1, (CODE // 2, 2))  # (B, CODE / 2, 2)
        return Keypoints(code, torch.eye(2, device=code.device).expand(*code.shape, 2))

    def locate(self, image: Tensor, mesh: Keypoints | None) -> Keypoints:
        """See `detect`; the mesh is not used."""
        return self.detect(image)

    def encode_source(self, image: Tensor, keypoints: Keypoints) -> EncodedSource:
        """Compute what depends only on the source: the picture and, as `small`, the embedded face's offsets."""
        small = antialias(image, self.config.motion_size)
        offset = resize(self.embedded_offset(self.embedder(small)).float(), self.config.image_size)  # (B, 2, S, S)
        return EncodedSource(Features(image, image, image), offset, image[:, :0], keypoints)

    def animate(self, source: EncodedSource, driving: Keypoints, window: Window | None = None) -> Prediction:
        """Show the source in the driving pose; all of the picture or one `window` of it."""
        offset = resize(self.decoder(driving.value.flatten(1)).float(), self.config.image_size)  # (B, 2, S, S)
        grid = coordinate_grid(self.config.image_size, False, offset) + offset.permute(0, 2, 3, 1)  # (B, S, S, 2)
        deformation = grid + warp(source.small, grid).permute(0, 2, 3, 1)  # both grids in one
        assert source.features.picture is not None, "it is the photo that is sampled"
        picture = warp(source.features.picture, deformation)
        if window is not None:
            picture = window.cut(picture, 2)
        motion = Motion(
            resize_deformation(deformation, self.config.motion_size), picture[:, :0], (), (), picture[:, :0]
        )
        return Prediction(picture, motion, Painting(picture, picture, picture, torch.ones_like(picture[:, :1]), ()))

    def forward(self, image: Tensor, source: Keypoints, driving: Keypoints, window: Window | None = None) -> Prediction:
        """Encode and animate in one call, as training does."""
        return self.animate(self.encode_source(image, source), driving, window)
