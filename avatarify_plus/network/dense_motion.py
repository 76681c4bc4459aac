"""Dense motion: from keypoints to a deformation and to occlusion maps (sections 2.1 to 2.3)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from avatarify_plus.network.attention import Attention
from avatarify_plus.network.blocks import (
    ConvBlock,
    Hourglass,
    UpBlock,
    contour_heads,
    coordinate_line,
    heatmaps,
    invert,
    multiply,
    resize,
    resize_deformation,
    warp,
)
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.types import Keypoints


class Contours(NamedTuple):
    """The contours of the source's and of the driving mesh, each (B, 5, 2m, 2m) in [0, 1], see `face.contours`."""

    source: Tensor
    driving: Tensor


class Motion(NamedTuple):
    """Dense motion at motion_size m.

    deformation: (B, m, m, 2), for each driving pixel the source coordinate in [-1, 1].
    mask: (B, K + 1, m, m), background first, sums to 1.
    occlusions: coarse to fine, (B, 1, m, m) [, (B, 1, 2m, 2m), (B, 1, 4m, 4m)]; 1 keeps the warped source.
    hints: the features that the maps were computed from, (B, C, m, m), (B, C', 2m, 2m), (B, C'', 4m, 4m), for
    `motion_to_painter`; otherwise empty.
    heatmap: of the driving keypoints, (B, K, m, m).
    contours: the driving contours, then the source's as the deformation moves them, (B, 10, 2m, 2m), for
    `contour_width`; otherwise None.
    """

    deformation: Tensor
    mask: Tensor
    occlusions: tuple[Tensor, ...]
    hints: tuple[Tensor, ...]
    heatmap: Tensor
    contours: Tensor | None = None


class OcclusionMaps(nn.Module):
    """Multi-scale occlusion restoration: two up blocks and a 1x1 convolution per scale (section 2.3).

    forward: zeta (B, C, m, m) to maps (B, 1, m, m), (B, 1, 2m, 2m), (B, 1, 4m, 4m) and the features that they were
    computed from. The text names no activation; a sigmoid keeps the maps in [0, 1] as FOMM's. `entry` > 0 first narrows
    zeta to this number of channels by a 1x1 convolution: enlarging all of zeta is the slowest step of a small network.
    `contour_width` > 0 adds what contours (B, 10, 2m, 2m) say, through this number of channels, to the features at m
    and 2m.
    """

    def __init__(self, channels: int, entry: int, widths: tuple[int, int], contour_width: int = 0) -> None:
        super().__init__()
        self.entry = ConvBlock(channels, entry, 1) if entry else nn.Identity()
        entry = entry or channels
        self.up_blocks = nn.ModuleList(
            [UpBlock(entry, widths[0], "bilinear"), UpBlock(widths[0], widths[1], "bilinear")]
        )
        self.heads = nn.ModuleList(nn.Conv2d(c, 1, 1) for c in (entry, *widths))
        self.contour_heads = contour_heads(contour_width, (entry, widths[0]))

    def forward(self, zeta: Tensor, contours: Tensor | None = None) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        features = [self.entry(zeta)]
        for level, block in enumerate(self.up_blocks):
            if contours is not None:
                features[-1] = features[-1] + self.contour_heads[level](resize(contours, features[-1].shape[-1]))
            features.append(block(features[-1]))
        maps = tuple(torch.sigmoid(head(x).float()) for head, x in zip(self.heads, features, strict=True))
        return maps, tuple(features)


class DenseMotion(nn.Module):
    """Predict the deformation and the occlusion maps from sparse motion."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        count = config.keypoint_count + 1
        self.hourglass = Hourglass(count * 4, config.motion)
        channels = self.hourglass.out_channels
        self.attention = (
            nn.Identity()
            if config.attention == "none"
            else Attention(
                channels,
                config.attention_reduction,
                config.attention_gain if config.attention == "max-pool" else 1.0,
                use_average=config.attention == "cbam",
            )
        )
        self.mask_head = nn.Conv2d(channels, count, config.mask_kernel, padding=config.mask_kernel // 2)
        self.mask_prior = None
        if config.mask_prior:
            # Masks start as the prior says: a keypoint that loses its neighbourhood early gets no gradient any more.
            nn.init.normal_(self.mask_head.weight, std=1e-3)
            self.mask_prior = nn.Parameter(torch.full((config.keypoint_count, 1, 1), config.mask_prior))
        self.occlusion: nn.Module = (
            OcclusionMaps(channels, config.occlusion_entry, config.occlusion_widths, config.contour_width)
            if config.occlusion == "multi-scale"
            else nn.Conv2d(channels, 1, 7, padding=3)
        )

    def forward(
        self,
        small: Tensor,
        source_heatmap: Tensor,
        source: Keypoints,
        driving: Keypoints,
        contours: Contours | None = None,
    ) -> Motion:
        """Compute the motion that turns the source into the driving pose.

        small: the source at motion_size, (B, 3, m, m). source_heatmap: `heatmaps` of the source, (B, K, m, m).
        Both depend on the source alone and are computed once per avatar. contours: for `contour_width`.
        """
        config = self.config
        heatmap = heatmaps(driving.value, config.motion_size, config.heatmap_variance, config.corner_aligned_grid)
        sparse = self.sparse_motion(source, driving)  # (B, K + 1, m, m, 2)
        zeta = self.hourglass(self.hourglass_input(small, heatmap - source_heatmap, sparse))  # eq. 7
        logits = self.mask_head(self.attention(zeta)).float()  # (B, K + 1, m, m)
        if self.mask_prior is not None:
            background = torch.zeros_like(heatmap[:, :1])
            logits = logits + torch.cat([background, self.mask_prior * heatmap], dim=1)  # (B, K + 1, m, m)
        mask = logits.softmax(1)  # eq. 11
        deformation = (mask[..., None] * sparse).sum(1)  # eq. 12
        drawn = None
        if contours is not None:
            moved = warp(contours.source, resize_deformation(deformation, contours.source.shape[-1]))
            drawn = torch.cat([contours.driving, moved], dim=1)  # (B, 10, 2m, 2m)
        if isinstance(self.occlusion, OcclusionMaps):
            occlusions, hints = self.occlusion(zeta, drawn)
        else:
            occlusions, hints = (torch.sigmoid(self.occlusion(zeta).float()),), ()
        return Motion(deformation, mask, occlusions, hints if config.motion_to_painter else (), heatmap, drawn)

    def sparse_motion(self, source: Keypoints, driving: Keypoints) -> Tensor:
        """Return (B, K + 1, m, m, 2): identity for the background, then eq. 6 per keypoint, with eq. 5's matrix.

        An affine map is a function of x plus one of y: two short lines per keypoint and one addition a pixel.
        """
        line = coordinate_line(self.config.motion_size, self.config.corner_aligned_grid, driving.value)  # (m,)
        affine = multiply(source.jacobian, invert(driving.jacobian))  # eq. 5, (B, K, 2, 2)
        offset = line - driving.value[..., None]  # (B, K, 2, m)
        along_x = source.value[:, :, None] + offset[:, :, 0, :, None] * affine[:, :, None, :, 0]  # (B, K, m, 2)
        along_y = offset[:, :, 1, :, None] * affine[:, :, None, :, 1]
        zero = torch.zeros_like(line)
        still_x, still_y = (
            torch.stack(pair, -1).expand(len(affine), 1, -1, -1) for pair in ((line, zero), (zero, line))
        )  # (B, 1, m, 2)
        along_x, along_y = torch.cat([still_x, along_x], dim=1), torch.cat([still_y, along_y], dim=1)
        return along_x[:, :, None] + along_y[:, :, :, None]  # eq. 6, (B, K + 1, m, m, 2)

    def hourglass_input(self, small: Tensor, difference: Tensor, sparse: Tensor) -> Tensor:
        """Return (B, 4 (K + 1), m, m): per keypoint, background first, the heatmap difference and the warped source.

        difference: driving minus source heatmaps, (B, K, m, m).
        """
        size = self.config.motion_size
        difference = torch.cat([torch.zeros_like(difference[:, :1]), difference], dim=1)  # eq. 4, (B, K + 1, m, m)
        # One warp for all keypoints: their pictures stand one below the other in one tall picture.
        count = sparse.shape[1]
        tall = warp(small, sparse.flatten(1, 2))  # (B, 3, (K + 1) m, m)
        warped = tall.unflatten(2, (count, size)).transpose(1, 2)  # (B, K + 1, 3, m, m)
        return torch.cat([difference[:, :, None], warped], dim=2).flatten(1, 2)  # (B, 4 (K + 1), m, m)
