"""Convolution blocks, the hourglass, anti-aliased downsampling, the coordinate grid and the one warp."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avatarify_plus.network.config import HourglassConfig


class ConvBlock(nn.Module):
    """Convolve, normalise, rectify; (B, C, H, W) to (B, C', H, W)."""

    def __init__(self, channels: int, out_channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class DownBlock(ConvBlock):
    """Convolve and average-pool; (B, C, H, W) to (B, C', H/2, W/2)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(super().forward(x), 2)


class UpBlock(ConvBlock):
    """Interpolate to twice the size and convolve; (B, C, H, W) to (B, C', 2H, 2W).

    `mode` is "nearest" (FOMM's blocks) or "bilinear" (the paper's occlusion module, section 2.3).
    """

    def __init__(self, channels: int, out_channels: int, mode: str = "nearest") -> None:
        super().__init__(channels, out_channels)
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "bilinear":
            return super().forward(resize(x, x.shape[-2] * 2))
        return super().forward(F.interpolate(x, scale_factor=2.0, mode=self.mode))


class ResidualBlock(nn.Module):
    """Pre-activation residual block; keeps (B, C, H, W). Source: FOMM's ResBlock2d, after He et al. 2016."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(inner)))


class Hourglass(nn.Module):
    """Encoder and decoder with skip connections (the paper's Unet, eq. 7).

    (B, C, H, W) to (B, out_channels, H, W) with out_channels = width + C: the input itself is the last skip.
    """

    def __init__(self, channels: int, config: HourglassConfig) -> None:
        super().__init__()
        widths = [min(config.max_width, config.width * 2**level) for level in range(config.depth + 1)]
        inputs = [channels, *widths[1:]]
        self.down_blocks = nn.ModuleList(DownBlock(inputs[level], widths[level + 1]) for level in range(config.depth))
        self.up_blocks = nn.ModuleList(
            UpBlock(widths[level + 1] * (1 if level == config.depth - 1 else 2), widths[level])
            for level in reversed(range(config.depth))
        )
        self.out_channels = widths[0] + channels

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = x.contiguous(memory_format=torch.channels_last)  # later tensors inherit the memory format
        levels = [x]
        for block in self.down_blocks:
            levels.append(block(levels[-1]))
        levels[0] = levels[0].to(levels[-1].dtype)  # half precision in mixed training: the last skip must not widen it
        x = levels.pop()
        for block in self.up_blocks:
            x = torch.cat([block(x), levels.pop()], dim=1)  # (B, up + skip, H, W)
        return x


def silent_head(channels: int, out_channels: int, kernel: int = 1) -> nn.Conv2d:
    """Return a convolution whose output is zero until it is trained."""
    head = nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2)
    nn.init.zeros_(head.weight)
    assert head.bias is not None
    nn.init.zeros_(head.bias)
    return head


CONTOUR_CHANNELS = 10
"""Channels of driving and moved source contours, see `face.contours.CONTOURS`."""


def contour_heads(width: int, out_channels: Sequence[int]) -> nn.ModuleList:
    """Return a head from contours to each number of channels, silent until trained; none for width 0."""
    return nn.ModuleList(
        nn.Sequential(ConvBlock(CONTOUR_CHANNELS, width), silent_head(width, channels))
        for channels in (out_channels if width else ())
    )


def antialias(image: Tensor, size: int) -> Tensor:
    """Blur with a Gaussian and keep every n-th pixel; (B, C, H, H) to (B, C, size, size).

    sigma = (n - 1) / 2, kernel 2 * round(4 sigma) + 1. Source: FOMM's AntiAliasInterpolation2d.
    """
    ratio = image.shape[-1] // size
    if ratio == 1:
        return image
    sigma = (ratio - 1) / 2
    radius = round(sigma * 4)
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    line = torch.exp(-(offsets**2) / (2 * sigma**2))
    line = line / line.sum()
    kernel = (line[:, None] * line[None, :])[None, None].repeat(image.shape[1], 1, 1, 1)  # (C, 1, 2r+1, 2r+1)
    return F.conv2d(image, kernel, stride=ratio, padding=radius, groups=image.shape[1])


def coordinate_line(size: int, corner_aligned: bool, like: Tensor) -> Tensor:
    """Return (size,) coordinates: pixel centres in [-1, 1], or, if asked, -1 to 1 inclusive."""
    line = torch.arange(size, dtype=like.dtype, device=like.device)
    return 2 * line / (size - 1) - 1 if corner_aligned else (2 * line + 1) / size - 1


def coordinate_grid(size: int, corner_aligned: bool, like: Tensor) -> Tensor:
    """Return (size, size, 2) coordinates (x, y), those of `coordinate_line`."""
    line = coordinate_line(size, corner_aligned, like)
    y, x = line[:, None].expand(size, size), line[None, :].expand(size, size)
    return torch.stack([x, y], dim=-1)


def warp(x: Tensor, deformation: Tensor) -> Tensor:
    """Sample x (B, C, H, W) at deformation (B, H', W', 2): a backward warp, bilinear, zeros outside.

    Computed in float32, since bfloat16 coordinates would be whole pixels off; returned in x's precision.
    """
    warped = F.grid_sample(x.float(), deformation.float(), mode="bilinear", padding_mode="zeros", align_corners=False)
    return warped.to(x.dtype)


def resize(x: Tensor, size: int, averages: bool = True) -> Tensor:
    """Resize (B, C, H, W) to (B, C, size, size): bilinear, area average when shrinking.

    averages: False for what the First Order Motion Model does when it shrinks, which is bilinear, too.
    """
    if x.shape[-1] == size:
        return x
    if x.shape[-1] > size and averages:
        return F.avg_pool2d(x, x.shape[-1] // size)
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)


def resize_deformation(deformation: Tensor, size: int, averages: bool = True) -> Tensor:
    """Resize a deformation (B, H, W, 2) to (B, size, size, 2), see `resize`."""
    if deformation.shape[1] == size:
        return deformation
    return resize(deformation.permute(0, 3, 1, 2), size, averages).permute(0, 2, 3, 1)  # (B, 2, H, W) and back


def invert(matrix: Tensor) -> Tensor:
    """Invert (..., 2, 2) matrices in closed form."""
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    adjugate = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)  # (..., 2, 2)
    return adjugate / (a * d - b * c)[..., None, None]


def multiply(left: Tensor, right: Tensor) -> Tensor:
    """Multiply (..., 2, 2) by (..., 2, 2): written out, so that every runtime fuses it."""
    return (left[..., :, :, None] * right[..., None, :, :]).sum(-2)  # (..., 2, k, 2) summed over k


def heatmaps(value: Tensor, size: int, variance: float, corner_aligned: bool) -> Tensor:
    """Return the Gaussian heatmaps (B, K, size, size) of keypoints value (B, K, 2): eq. 3.

    A Gaussian of the plane is the product of two of the line, which spares every runtime the exponentials.
    """
    distance = coordinate_line(size, corner_aligned, value) - value[..., None]  # (B, K, 2, size)
    bell = torch.exp(-0.5 * distance**2 / variance)
    return bell[:, :, 1, :, None] * bell[:, :, 0, None, :]


def model_float_operations(module: nn.Module, *inputs: object) -> int:
    """Count the floating-point operations (2 per multiply-add) of one forward pass, convolutions and linear layers."""
    total = 0

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
            total += 2 * fan_in * output.numel()
        elif isinstance(layer, nn.Linear):
            total += 2 * layer.in_features * output.numel()

    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return total
