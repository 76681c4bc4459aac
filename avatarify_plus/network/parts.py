"""Painters of what people look at: the mouth, and the eyes, each in a square of its own."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avatarify_plus.face.contours import PART_CONTOURS
from avatarify_plus.network.blocks import ConvBlock, ResidualBlock, UpBlock, model_float_operations, silent_head
from avatarify_plus.network.tensor_names import PART_COUNTS as PART_COUNTS
from avatarify_plus.network.tensor_names import PART_PX as PART_PX

RESIDUAL_BLOCKS = 3
EDGE = 0.25
"""Share of a square's side over which its painting fades out towards each edge."""

TAKES_OVER = 4.0
"""The logit of how much an untrained painter takes over of what is there: 0.98."""


class PartInput(NamedTuple):
    """What a painter sees, in the square around its part: pictures (N, 3, s, s) and contours (N, 2, s, s) in [0, 1].

    given: the animated picture so far. contours: of the driving mesh. reference, reference_contours: the photo's own
    part, in its own square.
    """

    given: Tensor
    contours: Tensor
    reference: Tensor
    reference_contours: Tensor


class PartPainting(NamedTuple):
    """What it paints: picture = given + share * (painted - given); colours (N, 3, s, s), share (N, 1, s, s).

    The share is 1 in the middle and fades out towards the square's edges.
    """

    picture: Tensor
    painted: Tensor
    share: Tensor


class PartPainter(nn.Module):
    """Paint a part of the face from its contours, what is there so far, and the photo's own part.

    A small U-Net, which decides for each pixel how much of what is there it takes over, and what it adds: at first it
    takes over nearly all and adds nothing, so that it only has to learn what is wrong. Two by two pixels stand side by
    side as channels on the way in and out, so that it paints fine detail at the price of half the size.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = 4 * 2 * (3 + PART_CONTOURS)
        self.first = ConvBlock(channels, width)
        self.down_blocks = nn.ModuleList([StridedBlock(width, 2 * width), StridedBlock(2 * width, 3 * width)])
        self.residual_blocks = nn.ModuleList(ResidualBlock(3 * width) for _ in range(RESIDUAL_BLOCKS))
        self.up_blocks = nn.ModuleList([UpBlock(3 * width, 2 * width), UpBlock(2 * width, width)])
        self.joints = nn.ModuleList([ConvBlock(4 * width, 2 * width), ConvBlock(2 * width, width)])
        self.final = silent_head(width, 4 * 4, kernel=3)

    def forward(self, part: PartInput) -> PartPainting:
        """Paint squares; a side is a multiple of eight."""
        x = self.first(F.pixel_unshuffle(torch.cat(part, dim=1), 2))  # (N, w, s / 2, s / 2)
        skips = []
        for block in self.down_blocks:
            skips.append(x)
            x = block(x)
        for block in self.residual_blocks:
            x = block(x)
        for block, joint in zip(self.up_blocks, self.joints, strict=True):
            x = joint(torch.cat([block(x), skips.pop()], dim=1))
        found = F.pixel_shuffle(self.final(x).float(), 2)  # (N, 4, s, s)
        painted = torch.sigmoid(found[:, 3:] + TAKES_OVER) * part.given + found[:, :3]
        share = fade(found).expand_as(found[:, 3:])
        return PartPainting(part.given + share * (painted - part.given), painted, share)


class StridedBlock(ConvBlock):
    """Convolve every other place; (B, C, H, W) to (B, C', H / 2, W / 2)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels)
        self.conv = nn.Conv2d(channels, out_channels, 3, stride=2, padding=1)


def fade(like: Tensor) -> Tensor:
    """Return (s, s): 1 in the middle of a square, falling to 0 at its edges."""
    size = like.shape[-1]
    line = (torch.arange(size, dtype=torch.float32, device=like.device) + 0.5) / size
    ramp = (torch.minimum(line, 1 - line) / EDGE).clamp(0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return ramp[:, None] * ramp[None, :]


def part_float_operations(painter: nn.Module, name: str) -> int:
    """Return the floating-point operations of one face's parts of a kind (convolutions; 2 per multiply-add)."""
    picture = torch.zeros(PART_COUNTS[name], 3, PART_PX[name], PART_PX[name])
    contours = picture[:, :PART_CONTOURS]
    return model_float_operations(painter, PartInput(picture, contours, picture, contours))
