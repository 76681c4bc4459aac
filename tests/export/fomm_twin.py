"""The First Order Motion Model by its public definition, straight from a checkpoint's tensors, to compare imports with.

Siarohin et al., "First Order Motion Model for Image Animation", 2019: keypoint detector, dense motion, generator, in
evaluation mode, with plain functions and the checkpoint's own names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Keypoints = tuple[Tensor, Tensor | None]
"""Values (B, K, 2), jacobians (B, K, 2, 2) or None."""


@dataclass(frozen=True)
class FommTwin:
    """A checkpoint's parts and the settings that its config has."""

    kp_detector: Mapping[str, Tensor]
    generator: Mapping[str, Tensor]
    scale: float = 0.25
    temperature: float = 0.1
    pad: int = 0
    kp_variance: float = 0.01

    def animate(self, source: Tensor, driving: Tensor) -> Tensor:
        """Return the source (B, 3, S, S) in the pose of the driving picture."""
        return self.generate(source, self.detect(source), self.detect(driving))

    def detect(self, picture: Tensor) -> Keypoints:
        """Return a picture's keypoints."""
        part = self.kp_detector
        features = hourglass(part, "predictor.", reduced(picture, self.scale))
        logits = convolve(part, "kp", features, self.pad)
        heat = F.softmax(logits.flatten(2) / self.temperature, 2).view_as(logits)  # (B, K, h, w)
        places = torch.einsum("bkhw,hwc->bkc", heat, grid(*heat.shape[2:]))
        if "jacobian.weight" not in part:
            return places, None
        maps = convolve(part, "jacobian", features, self.pad).unflatten(1, (-1, 4))  # (B, K or 1, 4, h, w)
        return places, (heat[:, :, None] * maps).sum((3, 4)).unflatten(2, (2, 2))

    def generate(self, source: Tensor, from_: Keypoints, to: Keypoints) -> Tensor:
        """Return the source, moved from its keypoints to the driving ones."""
        part = self.generator
        x = block(part, "first", source, 3)
        for level in range(count(part, "down_blocks.")):
            x = F.avg_pool2d(block(part, f"down_blocks.{level}", x), 2)
        deformation, occlusion = self.move(source, from_, to)
        if deformation.shape[1:3] != x.shape[2:]:
            moved = F.interpolate(deformation.permute(0, 3, 1, 2), size=x.shape[2:], mode="bilinear")
            deformation = moved.permute(0, 2, 3, 1)
        x = F.grid_sample(x, deformation, align_corners=False)
        if occlusion is not None:
            if occlusion.shape[2:] != x.shape[2:]:
                occlusion = F.interpolate(occlusion, size=x.shape[2:], mode="bilinear")
            x = x * occlusion
        for index in range(count(part, "bottleneck.r")):
            name = f"bottleneck.r{index}"
            inner = convolve(part, f"{name}.conv1", F.relu(normalise(part, f"{name}.norm1", x)), 1)
            x = x + convolve(part, f"{name}.conv2", F.relu(normalise(part, f"{name}.norm2", inner)), 1)
        for level in range(count(part, "up_blocks.")):
            x = block(part, f"up_blocks.{level}", F.interpolate(x, scale_factor=2))
        return torch.sigmoid(convolve(part, "final", x, 3))

    def move(self, source: Tensor, from_: Keypoints, to: Keypoints) -> tuple[Tensor, Tensor | None]:
        """Return where each driving pixel comes from (B, m, m, 2), and what of it is seen (B, 1, m, m)."""
        part, small = self.generator, reduced(source, self.scale)
        batch, _, height, width = small.shape
        cells = grid(height, width)  # (m, m, 2)
        steps = cells - to[0][:, :, None, None]  # (B, K, m, m, 2)
        if from_[1] is not None and to[1] is not None:
            affine = from_[1] @ torch.linalg.inv(to[1])
            steps = torch.einsum("bkij,bkhwj->bkhwi", affine, steps)
        motions = steps + from_[0][:, :, None, None]
        motions = torch.cat([cells.expand(batch, 1, -1, -1, -1), motions], 1)  # (B, K + 1, m, m, 2)
        bumps = [
            torch.exp(-0.5 * (cells - at[:, :, None, None]).square().sum(-1) / self.kp_variance)
            for at, _ in (to, from_)
        ]
        difference = F.pad(bumps[0] - bumps[1], (0, 0, 0, 0, 1, 0))[:, :, None]  # (B, K + 1, 1, m, m)
        copies = small[:, None].expand(-1, motions.shape[1], -1, -1, -1)
        warped = F.grid_sample(copies.flatten(0, 1), motions.flatten(0, 1), align_corners=False).view_as(copies)
        name = "dense_motion_network."
        features = hourglass(part, f"{name}hourglass.", torch.cat([difference, warped], 2).flatten(1, 2))
        mask = F.softmax(convolve(part, f"{name}mask", features, 3), 1)
        deformation = (mask[..., None] * motions).sum(1)
        if f"{name}occlusion.weight" not in part:
            return deformation, None
        return deformation, torch.sigmoid(convolve(part, f"{name}occlusion", features, 3))


def grid(height: int, width: int) -> Tensor:
    """Return (height, width, 2) coordinates (x, y) from -1 to 1 inclusive."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return torch.stack([x, y], -1)


def reduced(picture: Tensor, scale: float) -> Tensor:
    """Blur and take every n-th pixel, for a scale of 1 / n."""
    if scale == 1:
        return picture
    step = round(1 / scale)
    sigma = (step - 1) / 2
    radius = round(4 * sigma)
    bell = torch.exp(-(torch.arange(-radius, radius + 1.0) ** 2) / (2 * sigma**2))
    kernel = bell[:, None] * bell
    blurred = F.conv2d(picture, (kernel / kernel.sum()).expand(3, 1, -1, -1), padding=radius, groups=3)
    return blurred[:, :, ::step, ::step]


def count(part: Mapping[str, Tensor], prefix: str) -> int:
    """Return how many numbered blocks have a prefix."""
    return len({name[len(prefix) :].split(".")[0] for name in part if name.startswith(prefix)})


def convolve(part: Mapping[str, Tensor], name: str, x: Tensor, padding: int) -> Tensor:
    """Apply a convolution of the checkpoint."""
    return F.conv2d(x, part[f"{name}.weight"], part[f"{name}.bias"], padding=padding)


def normalise(part: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Apply a batch norm of the checkpoint by its running statistics."""
    values = (part[f"{name}.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *values)


def block(part: Mapping[str, Tensor], name: str, x: Tensor, padding: int = 1) -> Tensor:
    """Convolve, normalise, rectify."""
    return F.relu(normalise(part, f"{name}.norm", convolve(part, f"{name}.conv", x, padding)))


def hourglass(part: Mapping[str, Tensor], prefix: str, x: Tensor) -> Tensor:
    """Apply an encoder and a decoder whose levels are joined."""
    levels = [x]
    for level in range(count(part, f"{prefix}encoder.down_blocks.")):
        levels.append(F.avg_pool2d(block(part, f"{prefix}encoder.down_blocks.{level}", levels[-1]), 2))
    x = levels.pop()
    for level in range(len(levels)):
        enlarged = F.interpolate(x, scale_factor=2)
        x = torch.cat([block(part, f"{prefix}decoder.up_blocks.{level}", enlarged), levels.pop()], 1)
    return x
