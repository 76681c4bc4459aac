"""The losses of FOMM and the paper: perceptual pyramid, pixels, equivariance of value and jacobian."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avatarify_plus.face.landmarks import ACROSS_MOUTH
from avatarify_plus.network.blocks import coordinate_grid, heatmaps, invert, multiply
from avatarify_plus.network.generator import Painting
from avatarify_plus.types import Keypoints
from training.data.face_points import NEAR_EYES, NEAR_LIPS

EXPRESSION_VARIANCE = 0.0022
"""Variance of the Gaussians that weigh mouth and eyes: a standard deviation of 6 px in 256."""

EXPRESSION_CELLS = 64
"""Side of the map of weights before it is enlarged."""

DECIDING_DIFFERENCE = 0.005
"""Mean difference between warped photo and painting that moves the choice by one logit, from 0.5 to 0.73. The photo is
sharp: a softer choice would mix everywhere."""

PHOTO_LEAD = 1.0
"""The photo's lead, as a logit: where both are equally near the target, the photo, which is sharp, is shown to 0.73."""

WRONG_DIFFERENCE = 0.08
"""Mean difference from the true frame at which the warped photo counts as wrong."""

WRONG_SOFTNESS = 0.02
"""The excess over WRONG_DIFFERENCE that raises the wrongness from 0.5 to 0.73."""

COPY_SHARE = 0.25
"""Weight in the painting's own loss of a place where the warped photo is right; where it is wrong it is 1 more."""


def perceptual_pyramid(network: nn.Module, prediction: Tensor, target: Tensor, weight: Tensor, scales: int) -> Tensor:
    """Return the mean absolute difference of features, each normalised by its mean magnitude, over halving scales.

    prediction, target: (B, 3, S, S) in [0, 1]. weight: (B, 1, S, S), how much each place counts. Source: FOMM's
    multi-scale perceptual loss; the normalisation makes perceptual networks exchangeable.
    """
    total = prediction.new_zeros(())
    for scale in range(scales):
        if scale:
            prediction, target = F.avg_pool2d(prediction, 2), F.avg_pool2d(target, 2)
        with torch.no_grad():
            wanted = [feature.float() for feature in network(target)]
        for found, feature in zip(network(prediction), wanted, strict=True):
            difference = (found.float() - feature).abs().mean(1, keepdim=True)  # (B, 1, h, w)
            total = total + weighted_mean(difference / _magnitude(feature), weight)
    return total / scales


def feature_distances(network: nn.Module, prediction: Tensor, target: Tensor) -> Tensor:
    """Return (F, B): the mean absolute difference of each of F features of each pair, over its mean magnitude.

    prediction, target: (B, 3, S, S) in [0, 1]. These are the terms of `perceptual_pyramid`, unweighted.
    """
    pairs = zip(network(prediction), network(target), strict=True)
    distances = [(found - wanted).abs().mean((1, 2, 3)) / _magnitude(wanted).flatten() for found, wanted in pairs]
    return torch.stack(distances)


LEAST_WEIGHT = 1e-6
"""A picture whose weights sum to less has none."""


def weighted_mean(error: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of an error (B, C, h, w) under a weight (B, 1, S, S) of any size.

    Each picture counts the same, so that the loss of a batch is the mean over its parts. One that has no weight at all,
    such as a window without eyes and mouth where only these count, adds nothing.
    """
    weight = F.interpolate(weight, size=error.shape[-2:], mode="area")
    places = (1, 2, 3)
    return ((error * weight).sum(places) / (weight.sum(places) * error.shape[1]).clamp(min=LEAST_WEIGHT)).mean()


def gradient_difference(picture: Tensor, target: Tensor) -> Tensor:
    """Return (B, 3, S, S): the mean difference of both pictures' differences to the right and to the lower neighbour.

    Blurred edges cost here, where a mean of pixels hardly sees them.
    """
    difference = picture - target
    across = F.pad((difference[..., :, 1:] - difference[..., :, :-1]).abs(), (0, 1))
    down = F.pad((difference[..., 1:, :] - difference[..., :-1, :]).abs(), (0, 0, 0, 1))
    return (across + down) / 2


def _magnitude(feature: Tensor) -> Tensor:
    """Return the mean magnitude of each picture's feature, (B, 1, 1, 1)."""
    return feature.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-3)


def expression_weight(mesh: Tensor, size: int, gain: float) -> Tensor:
    """Return (B, 1, size, size): 1 everywhere, 1 + gain on the eyes, the lips and what is between them.

    mesh: (B, 478, 2) in [0, 1]. People look at mouths and eyes, which cover few pixels.
    """
    upper, lower = (mesh[:, [pair[side] for pair in ACROSS_MOUTH]] for side in (0, 1))
    points = torch.cat([mesh[:, [*NEAR_LIPS, *NEAR_EYES]], upper, lower, (upper + lower) / 2], dim=1)  # (B, P, 2)
    near = heatmaps(points * 2 - 1, EXPRESSION_CELLS, EXPRESSION_VARIANCE, corner_aligned=False)
    near = near.amax(1, keepdim=True)  # (B, 1, 64, 64)
    return 1 + gain * F.interpolate(near, size=(size, size), mode="bilinear", align_corners=False)


def occlusion_loss(painting: Painting, target: Tensor, weight: Tensor) -> Tensor:
    """Return the cross-entropy between the finest occlusion map and which of warped and painted is nearer the target.

    A map near 0 or 1 gets no gradient through the blend, however wrong it is; from this loss it does.
    target: (B, 3, S, S). weight: (B, 1, S, S). Differences are averaged over 5 px against noise.
    """
    assert painting.warped is not None, "the photo is at hand in training"
    with torch.no_grad():
        warped, painted = (_difference(picture, target) for picture in (painting.warped, painting.painted))
        wanted = torch.sigmoid((painted - warped) / DECIDING_DIFFERENCE + PHOTO_LEAD)
    kept = painting.kept.float().clamp(1e-6, 1 - 1e-6)
    error = -(wanted * kept.log() + (1 - wanted) * (1 - kept).log())
    return weighted_mean(error, weight)


def wrongness(warped: Tensor, target: Tensor) -> Tensor:
    """Return (B, 1, S, S) in [0, 1]: where the warped photo (B, 3, S, S) is not what the target shows, over 5 px."""
    with torch.no_grad():
        return torch.sigmoid((_difference(warped, target) - WRONG_DIFFERENCE) / WRONG_SOFTNESS)


def _difference(picture: Tensor, target: Tensor) -> Tensor:
    """Return (B, 1, S, S): the mean difference of the colours (B, 3, S, S), averaged over 5 px."""
    error = (picture.float() - target).abs().mean(1, keepdim=True)
    return F.avg_pool2d(error, 5, 1, 2, count_include_pad=False)


def restoration_loss(gates: tuple[Tensor, ...], wrong: Tensor, weight: Tensor) -> Tensor:
    """Return the cross-entropy between the coarser occlusion maps and whether the warped photo is right at all.

    Where a mouth opens, the features of what was warped there are lips: a painter that sees them paints lips.
    gates: maps (B, 1, s, s). wrong: `wrongness`. weight: (B, 1, S, S).
    """
    total = wrong.new_zeros(())
    for occlusion in gates:
        kept = occlusion.float().clamp(1e-6, 1 - 1e-6)
        hidden = F.interpolate(wrong, size=kept.shape[-2:], mode="area")
        total = total + weighted_mean(-((1 - hidden) * kept.log() + hidden * (1 - kept).log()), weight)
    return total


class RandomTransform(NamedTuple):
    """A random affine and thin-plate-spline map of coordinates, one per batch element (FOMM's Transform).

    affine: (B, 2, 3). control: (25, 2). weight: (B, 25), the same displacement in x and y as in FOMM.
    """

    affine: Tensor
    control: Tensor
    weight: Tensor

    @staticmethod
    def draw(batch: int, like: Tensor) -> RandomTransform:
        """Draw transforms: affine sigma 0.05, spline sigma 0.005 on 5 x 5 points."""
        identity = torch.eye(2, 3, device=like.device)
        affine = identity + torch.randn(batch, 2, 3, device=like.device) * 0.05
        control = coordinate_grid(5, True, like).flatten(0, 1)
        return RandomTransform(affine, control, torch.randn(batch, 25, device=like.device) * 0.005)

    def apply(self, points: Tensor) -> Tensor:
        """Map points (B, P, 2), or (1, P, 2) if they are the same for all; (B, P, 2)."""
        moved = multiply_points(self.affine[:, None, :, :2], points) + self.affine[:, None, :, 2]
        along_x, along_y = ((points[..., i, None] - self.control[:, i]).abs() for i in (0, 1))
        distance = along_x + along_y  # (B, P, 25)
        spline = (distance**2 * torch.log(distance + 1e-6) * self.weight[:, None]).sum(-1, keepdim=True)
        return moved + spline

    def jacobian(self, points: Tensor) -> Tensor:
        """Return the map's derivative (B, P, 2, 2) at points (B, P, 2)."""
        with torch.enable_grad():
            leaf = points if points.requires_grad else points.detach().requires_grad_()
            moved = self.apply(leaf)
            rows = [torch.autograd.grad(moved[..., i].sum(), leaf, create_graph=True)[0] for i in (0, 1)]
        return torch.stack(rows, -2)

    def warp(self, image: Tensor) -> Tensor:
        """Return the picture that shows at z what `image` shows at apply(z); reflection outside."""
        size = image.shape[-1]
        grid = coordinate_grid(size, False, image).flatten(0, 1)[None]
        moved = self.apply(grid).unflatten(1, (size, size))
        return F.grid_sample(image, moved, padding_mode="reflection", align_corners=False)


def multiply_points(matrix: Tensor, points: Tensor) -> Tensor:
    """Multiply (..., 2, 2) by vectors (..., 2)."""
    return (matrix * points[..., None, :]).sum(-1)


def equivariance(transform: RandomTransform, keypoints: Keypoints, transformed: Keypoints) -> tuple[Tensor, Tensor]:
    """Return FOMM's equivariance losses of value and jacobian.

    keypoints: of the picture; transformed: of `transform.warp(picture)`. Perfect keypoints obey
    value = T(value') and jacobian = T'(value') jacobian'.
    """
    value = (keypoints.value - transform.apply(transformed.value)).abs().mean()
    moved = multiply(transform.jacobian(transformed.value), transformed.jacobian)
    identity = torch.eye(2, device=moved.device)
    jacobian = (multiply(invert(keypoints.jacobian), moved) - identity).abs().mean()
    return value, jacobian
