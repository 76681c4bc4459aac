"""The generator: encode the source once, warp its features by the motion, restore what was hidden (section 2.4)."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from avatarify_plus.network.blocks import (
    ConvBlock,
    DownBlock,
    ResidualBlock,
    UpBlock,
    contour_heads,
    resize,
    resize_deformation,
    silent_head,
    warp,
)
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.network.dense_motion import Motion
from avatarify_plus.pictures.photo_layers import SQUARE_EDGE


class Features(NamedTuple):
    """The source as the generator sees it: features at S/4 and S/2, and the picture itself at S (B, C, s, s).

    `half` is used by `blend` only; other presets do not read it. With `photo_reach` R the picture is a region of R
    sides of the square, (B, 3, R S, R S), or None: the photo is then warped elsewhere.
    """

    quarter: Tensor
    half: Tensor
    picture: Tensor | None


class Painting(NamedTuple):
    """The prediction and, with `blend`, what it was blended from: (B, 3, S, S) in [0, 1], kept (B, 1, S, S).

    picture = kept * warped + (1 - kept) * painted: finest occlusion map, warped photo, decoder's own picture.
    gates: the coarser maps that blended features on the way, (B, 1, S / 4, S / 4) and (B, 1, S / 2, S / 2).
    Without `blend` all three pictures are the decoder's, kept is zero and gates is empty. With `photo_reach`, warped
    and picture are None where the features hold no picture: `blend_photo` makes them.
    """

    picture: Tensor | None
    painted: Tensor
    warped: Tensor | None
    kept: Tensor
    gates: tuple[Tensor, ...]


def inside_square(deformation: Tensor) -> Tensor:
    """Return (B, S, S): 1 where a deformation (B, S, S, 2) shows the source's square, 0 beyond, over SQUARE_EDGE."""
    beyond = (deformation.abs().amax(-1) - (1 - SQUARE_EDGE)) / SQUARE_EDGE
    return 1 - beyond.clamp(0, 1)


def blend_photo(painting: Painting, deformation: Tensor, photo: Tensor, reach: float) -> Tensor:
    """Return the last blend at the photo's own resolution, (B, 3, P, P) in [0, 1].

    deformation: (B, m, m, 2). photo: a region of `reach` sides of the square, (B, 3, reach P, reach P).
    """
    size = round(photo.shape[-1] / reach)
    kept = resize(painting.kept, size)
    shown = warp(photo, resize_deformation(deformation, size) / reach)
    return kept * shown + (1 - kept) * resize(painting.painted, size)


class Window(NamedTuple):
    """A square part of the picture, in cells of the quarter-size feature."""

    top: int
    left: int
    size: int

    def cut(self, x: Tensor, level: int) -> Tensor:
        """Cut the window out of (B, C, H, W), whose cells are 2 ** level times finer."""
        if x.shape[-1] == self.size << level:
            return x
        top, left, size = self.top << level, self.left << level, self.size << level
        return x[..., top : top + size, left : left + size]


class Generator(nn.Module):
    """Paint the driving pose from the source's features.

    With `blend`, x = O * warped + (1 - O) * painted at each of three scales, the last on the picture itself;
    without, eq. 13 multiplies by the occlusion map: at one scale (FOMM) or at three (the paper).
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        widths = [min(config.generator_max_width, config.generator_width * 2**level) for level in range(3)]
        self.first = ConvBlock(3, widths[0], 7)
        self.down_blocks = nn.ModuleList([DownBlock(widths[0], widths[1]), DownBlock(widths[1], widths[2])])
        self.residual_blocks = nn.ModuleList(ResidualBlock(widths[2]) for _ in range(config.residual_blocks))
        self.up_blocks = nn.ModuleList([UpBlock(widths[2], widths[1]), UpBlock(widths[1], widths[0])])
        self.final = nn.Conv2d(widths[0], 3, config.final_kernel, padding=config.final_kernel // 2)
        self.tail: nn.Module | None = None  # a faster way from the last up block to the picture, see `simplify`
        self.hint_heads = nn.ModuleList()
        if config.motion_to_painter:
            hints = (config.occlusion_entry or config.motion_channels, *config.occlusion_widths)
            self.hint_heads.extend(silent_head(*pair) for pair in zip(hints, reversed(widths), strict=True))
        self.pose_head = None
        if config.keypoints_to_painter:
            self.pose_head = nn.Sequential(
                ConvBlock(config.keypoint_count, config.keypoints_to_painter),
                silent_head(config.keypoints_to_painter, widths[2]),
            )
        self.contour_heads = contour_heads(config.contour_width, (widths[2], widths[1]))

    def encode(self, picture: Tensor) -> Features:
        """Encode the source (B, 3, S, S) in [0, 1]."""
        half = self.down_blocks[0](self.first(picture))
        return Features(self.down_blocks[1](half), half, None if self.config.photo_reach else picture)

    def forward(self, features: Features, motion: Motion, window: Window | None = None) -> Painting:
        """Return the prediction, or only its `window`: training decodes random crops."""
        size = features.quarter.shape[-1]
        window = window or Window(0, 0, size)
        averages = not self.config.corner_aligned_grid  # released First Order Model weights
        deformations = [
            window.cut(resize_deformation(motion.deformation, size * 2**level, averages).permute(0, 3, 1, 2), level)
            for level in range(3 if self.config.blend else 1)
        ]
        occlusions = [
            window.cut(resize(occlusion, size * 2**level, averages), level)
            for level, occlusion in enumerate(motion.occlusions)
        ]
        x = warp(features.quarter, deformations[0].permute(0, 2, 3, 1))
        if not self.config.blend:
            picture = self._restore(x, occlusions)
            return Painting(picture, picture, picture, torch.zeros_like(picture[:, :1]), ())
        hints = [window.cut(resize(hint, size * 2**level), level) for level, hint in enumerate(motion.hints)]
        pose = 0.0 if self.pose_head is None else self.pose_head(window.cut(resize(motion.heatmap, size), 0))
        contours: list[Tensor | float] = [0.0, 0.0]
        if motion.contours is not None:
            drawn = (window.cut(resize(motion.contours, size << level), level) for level in (0, 1))
            contours = [head(part) for head, part in zip(self.contour_heads, drawn, strict=True)]
        pose = pose + contours[0]
        return self._blend(features, x, deformations, occlusions, hints, (pose, contours[1]))

    def _restore(self, x: Tensor, occlusions: list[Tensor]) -> Tensor:
        """Multiply by the occlusion maps while decoding (eq. 13)."""
        occlusions = [occlusion.to(x.dtype) for occlusion in occlusions]
        if self.config.occlusion_first:
            x = occlusions[0] * x
        for block in self.residual_blocks:
            x = block(x)
        if not self.config.occlusion_first:
            x = occlusions[0] * x  # eq. 13
        for level, block in enumerate(self.up_blocks, start=1):
            x = block(x)
            if level < len(occlusions):
                x = occlusions[level] * x  # eq. 13
        return torch.sigmoid(self.final(x).float())

    def _blend(
        self,
        features: Features,
        warped: Tensor,
        deformations: list[Tensor],
        occlusions: list[Tensor],
        hints: Sequence[Tensor],
        poses: tuple[Tensor | float, Tensor | float],
    ) -> Painting:
        """Blend what is warped with what is painted while decoding, last with the picture itself."""
        coarse_hint, middle_hint = (
            (head(hint) for head, hint in zip(self.hint_heads[:2], hints[:2], strict=True)) if hints else (0.0, 0.0)
        )
        coarse, middle = (occlusion.to(warped.dtype) for occlusion in occlusions[:2])
        fine = occlusions[2]  # of the picture itself, in full precision
        kept = coarse * warped
        x = kept + coarse_hint + poses[0]  # zeros where something is hidden show the residual blocks where to paint
        for block in self.residual_blocks:
            x = block(x)
        x = kept + (1 - coarse) * x
        x = self.up_blocks[0](x) + middle_hint + poses[1]
        x = middle * warp(features.half, deformations[1].permute(0, 2, 3, 1)) + (1 - middle) * x
        painted = torch.sigmoid(self._finish(x, hints[2] if hints else None).float())
        gates = tuple(occlusions[:2])
        if features.picture is None:
            return Painting(None, painted, None, fine, gates)
        deformation = deformations[2].permute(0, 2, 3, 1)
        if self.config.photo_reach:
            fine = fine * inside_square(deformation)[:, None]  # beyond it the features show nothing, so that it paints
        shown = warp(features.picture, deformation / (self.config.photo_reach or 1.0))
        return Painting(fine * shown + (1 - fine) * painted, painted, shown, fine, gates)

    def _finish(self, x: Tensor, hint: Tensor | None) -> Tensor:
        """Return the painting's logits (B, 3, S, S) for the decoder's feature (B, C, S / 2, S / 2)."""
        if self.tail is not None:
            return cast(Tensor, self.tail(x, hint))
        x = self.up_blocks[1](x)
        return cast(Tensor, self.final(x if hint is None else x + self.hint_heads[2](hint)))
