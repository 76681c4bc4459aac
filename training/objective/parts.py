"""The losses of the painters of mouth and eyes: sharp ones, in squares of their own."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from avatarify_plus.face.contours import MOUTH, PART_CONTOURS
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.network.parts import PART_PX, PartInput, fade
from training.data.contours import PartContours
from training.data.pairs import Batch
from training.objective.discriminator import (
    DiscriminatorConfig,
    MultiScaleDiscriminator,
    discriminator_loss,
    feature_matching,
    generator_loss,
)
from training.objective.losses import gradient_difference, perceptual_pyramid, weighted_mean

PIXELS, SLOPES, PERCEPTUAL = 10.0, 20.0, 1.0
"""The weights of the differences of pixels, of slopes and of perceptual features."""

FEATURES = 10.0
"""The weight of feature matching beside the discriminator's judgement, FOMM's."""

CONTOUR_GAIN = (2.0, 3.0)
"""How much more an error counts on a part's first contour (lips, eye) and on its second (gap, iris)."""

HIDDEN_SHARE = 0.5
"""The share of photos' parts whose inside is hidden from the painter: it then paints teeth and irises of people who
show them, though nothing it is given does."""

SOFT = 5
"""Contours are widened by this many pixels where something is hidden or weighed."""


class PartSample(NamedTuple):
    """What a part's painter learns from: see `PartInput`. target: the truth, (N, 3, s, s). is_photo: (N,)."""

    given: Tensor
    target: Tensor
    reference: Tensor
    contours: Tensor
    reference_contours: Tensor
    is_photo: Tensor


class PartLosses(nn.Module):
    """Compute the losses of all parts of a batch; a discriminator for each part shares the backward pass.

    `forward` calls the painters of a model on the animated picture, which is a constant to them.
    """

    def __init__(self, perceptual: nn.Module, adversarial: float) -> None:
        super().__init__()
        self._perceptual = (perceptual,)
        self._adversarial_weight = adversarial
        config = DiscriminatorConfig(width=12, max_width=96, blocks=3)
        self.discriminators = nn.ModuleDict(
            {name: MultiScaleDiscriminator(config, PART_CONTOURS) for name in (PART_PX if adversarial else ())}
        )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimiser's group of the discriminators, without its rate; none without discriminators."""
        parameters = list(self.discriminators.parameters())
        return [{"params": parameters, "betas": (0.5, 0.999), "weight_decay": 0.0}] if parameters else []

    def forward(self, model: AnimationModel, picture: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the losses by name. picture: (B, 3, P, P), as animated so far."""
        losses: dict[str, Tensor] = {}
        for name, sample in cut_parts(picture, batch, model.config.photo_reach).items():
            losses |= self.losses(name, model.parts[name], sample)
        return losses

    def losses(self, name: str, painter: nn.Module, sample: PartSample, judges: bool = True) -> dict[str, Tensor]:
        """Return the losses of one part's painter by name. judges: whether the discriminator takes part."""
        target, contours = sample.target, sample.contours
        given, reference = hide(name, sample)
        painting = painter(PartInput(given, contours, reference, sample.reference_contours))
        weight = fade(target) * (0.5 + _weight(contours))
        whole = sum(
            share
            * (
                PIXELS * weighted_mean((found - target).abs(), weight)
                + SLOPES * weighted_mean(gradient_difference(found, target), weight)
            )
            for found, share in ((painting.picture, 1.0), (painting.painted, 0.5))
        )
        assert isinstance(whole, Tensor)
        losses = {
            f"{name} pixels": whole,
            f"{name} perceptual": PERCEPTUAL
            * perceptual_pyramid(self._perceptual[0], painting.picture, target, weight, scales=2),
        }
        if judges and name in self.discriminators:
            losses |= self._adversarial(name, painting.picture, target, contours)
        return losses

    def _adversarial(self, name: str, picture: Tensor, target: Tensor, contours: Tensor) -> dict[str, Tensor]:
        """Return the generator's and the discriminator's losses, each with the other's weights as constants."""
        judge = self.discriminators[name]
        constants = {key: parameter.detach() for key, parameter in judge.named_parameters()}
        seen = functional_call(judge, constants, (picture, contours))
        shown = judge(target, contours)
        weight = self._adversarial_weight
        return {
            f"{name} adversarial": weight * (generator_loss(seen) + FEATURES * feature_matching(shown, seen)),
            f"{name} discriminator": discriminator_loss(shown, judge(picture.detach(), contours)),
        }


def cut_parts(picture: Tensor, batch: Batch, reach: float) -> dict[str, PartSample]:
    """Cut the parts of a batch out of its pictures. picture: (B, 3, P, P), as animated so far. reach: of the photo."""
    assert batch.contours is not None and batch.photo is not None and batch.sharp is not None
    samples = {}
    for name, size in PART_PX.items():
        driving, source = batch.contours.driving[name], batch.contours.source[name]
        samples[name] = PartSample(
            cut(picture, driving, size),
            cut(batch.sharp, driving, size),
            cut(batch.photo, source, size, reach),
            driving.contours,
            source.contours,
            batch.is_photo.repeat_interleave(len(driving.matrix) // len(picture)),
        )
    return samples


def cut(picture: Tensor, part: PartContours, size: int, reach: float = 1.0) -> Tensor:
    """Cut a part's squares out of pictures (B, 3, P, P): (B n, 3, size, size).

    reach: of how many sides of the square that the matrices refer to the pictures are.
    """
    count = len(part.matrix) // len(picture)
    grid = F.affine_grid(part.matrix / reach, [len(part.matrix), 3, size, size], align_corners=False)
    grid = grid.unflatten(0, (len(picture), count)).flatten(1, 2)  # (B, n size, size, 2)
    found = F.grid_sample(picture, grid, padding_mode="border", align_corners=False)  # (B, 3, n size, size)
    return found.unflatten(2, (count, size)).transpose(1, 2).flatten(0, 1)


def hide(name: str, sample: PartSample) -> tuple[Tensor, Tensor]:
    """Return given and reference of a part, in both of which the insides of some photos' contours are hidden."""
    given, device = sample.given, sample.given.device
    chosen = sample.is_photo & (torch.rand(len(given), device=device) < HIDDEN_SHARE)
    colour = given.mean((2, 3), keepdim=True) * torch.rand(len(given), 1, 1, 1, device=device)
    found = []
    for picture, drawn in ((given, sample.contours), (sample.reference, sample.reference_contours)):
        inside = drawn[:, 1:2] if name == MOUTH else drawn[:, :1]  # a mouth's gap, or an eye's opening
        mask = _widened(inside) * chosen[:, None, None, None]
        found.append(picture + mask * (colour - picture))
    return found[0], found[1]


def _weight(contours: Tensor) -> Tensor:
    """Return (N, 1, s, s): how much more than elsewhere an error counts."""
    first, second = (_widened(contours[:, index : index + 1]) for index in (0, 1))
    return CONTOUR_GAIN[0] * first + CONTOUR_GAIN[1] * second


def _widened(mask: Tensor) -> Tensor:
    """Return a mask (N, 1, s, s), widened and softened."""
    wide = F.max_pool2d(mask, SOFT, 1, SOFT // 2)
    return F.avg_pool2d(wide, SOFT, 1, SOFT // 2)
