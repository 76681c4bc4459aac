"""What one training step computes: the network's prediction of a batch and its weighted losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from avatarify_plus.network.blocks import resize
from avatarify_plus.network.generator import Painting, Window, blend_photo
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.types import Keypoints
from training.data.flow import Flow, flow_loss, keypoint_flow_loss
from training.data.pairs import Batch
from training.networks import Network
from training.networks.monkey_net import MonkeyNet
from training.objective.discriminator import (
    MultiScaleDiscriminator,
    discriminator_loss,
    feature_matching,
    generator_loss,
)
from training.objective.identity import IdentityNetwork, identity_distance
from training.objective.losses import (
    COPY_SHARE,
    RandomTransform,
    equivariance,
    expression_weight,
    gradient_difference,
    occlusion_loss,
    perceptual_pyramid,
    restoration_loss,
    weighted_mean,
    wrongness,
)
from training.objective.parts import PartLosses

PART_RATE = 2e-3
"""The peak learning rate of the painters of mouth and eyes: small networks with losses of their own."""

PARTS = "parts."
"""How the names of the tensors of the parts' discriminators begin in a checkpoint."""

DISCRIMINATOR_RATE = 2e-4
"""The discriminator's peak learning rate, FOMM's."""


@dataclass(frozen=True, slots=True)
class LossWeights:
    """The weight of each loss; 0 leaves it out.

    `painted`: of the decoder's picture before it is blended with the warped photo, above all where that is wrong:
    through the blend, the decoder would learn nothing where the photo prevails and could never prevail. `occlusion`:
    see `occlusion_loss` and, for eyes and mouth, `restoration_loss`. `flow`: of the deformation's distance from optical
    flow, and of learned keypoints' that do not follow it. The equivariance losses and the warm-up concern only learned
    keypoints. `expression_gain`: how much more than elsewhere an error counts at the eyes and in the mouth.
    It, `mesh_keypoints` and `identity` need face meshes.
    `adversarial` adds FOMM's discriminator, and with it `feature_matching`, which FOMM weighs by 10.
    For networks with `photo_reach`: `sharp` weighs pixels, and gradients, of the last blend in the photo's resolution.
    `parts`: of the painters of mouth and eyes, with `part_adversarial` of a discriminator's judgement of them.
    """

    perceptual: float = 1.0
    pixels: float = 15.0
    painted: float = 8.0
    occlusion: float = 3.0
    flow: float = 10.0
    expression_gain: float = 10.0
    equivariance_value: float = 1.0
    equivariance_jacobian: float = 1.0
    mesh_keypoints: float = 10.0
    identity: float = 1.0
    adversarial: float = 0.0
    feature_matching: float = 10.0
    sharp: float = 8.0
    parts: float = 1.0
    part_adversarial: float = 0.1


class TrainingModel(nn.Module):
    """The network with its losses, so that one forward call is one training step (and DDP sees all of it).

    With a discriminator the same call trains it too: the generator's losses see its weights as constants, its own
    loss sees the prediction as a constant, so that one backward pass serves both.
    """

    def __init__(
        self,
        model: Network,
        perceptual: nn.Module,
        weights: LossWeights,
        scales: int,
        identity: IdentityNetwork | None = None,
        discriminator: MultiScaleDiscriminator | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.discriminator = discriminator
        self.part_losses = PartLosses(perceptual, weights.part_adversarial) if model.config.part_width else None
        self.weights = weights
        self.scales = scales
        # In tuples: neither parameters nor a part of the checkpoint.
        self._perceptual = (perceptual,)
        self._identity = (identity,)

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Return the optimiser's groups with their `peak` learning rates: the network's, then the discriminator's."""
        painters = self.model.parts if isinstance(self.model, AnimationModel) else nn.ModuleDict()
        parts = list(painters.parameters())
        own = {id(parameter) for parameter in parts}
        rest = [p for p in self.model.parameters() if id(p) not in own and p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": rest, "peak": rate}]
        if self.part_losses is not None:
            groups.append({"params": parts, "peak": PART_RATE})
            groups += [g | {"peak": DISCRIMINATOR_RATE} for g in self.part_losses.parameter_groups()]
        if self.discriminator is not None:
            group = {"params": list(self.discriminator.parameters()), "peak": DISCRIMINATOR_RATE}
            groups.append(group | {"betas": (0.5, 0.999), "weight_decay": 0.0})
        return groups

    def extra_state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must keep besides the network: the discriminator's tensors."""
        state = {} if self.discriminator is None else dict(self.discriminator.state_dict())
        if self.part_losses is not None:
            state |= {f"{PARTS}{name}": value for name, value in self.part_losses.state_dict().items()}
        return state

    def load_extra_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `extra_state` returned; a run without it keeps a fresh discriminator."""
        own = {name.removeprefix(PARTS): value for name, value in state.items() if name.startswith(PARTS)}
        rest = {name: value for name, value in state.items() if not name.startswith(PARTS)}
        if self.part_losses is not None and own:
            self.part_losses.load_state_dict(own)
        if self.discriminator is not None and rest:
            self.discriminator.load_state_dict(rest)

    def forward(self, batch: Batch, window: Window | None, follow_mesh: bool) -> dict[str, Tensor]:
        """Return the weighted losses of a batch by name, in a window of the pictures if given.

        follow_mesh: add the loss that starts the detector from the face mesh.
        """
        losses: dict[str, Tensor] = {}
        source_keypoints = self.model.locate(batch.source, batch.source_keypoints)
        driving_keypoints = self.model.locate(batch.driving, batch.driving_keypoints)
        if self.model.config.detected_count and (self.weights.equivariance_value or self.weights.equivariance_jacobian):
            losses |= self._equivariance(batch, driving_keypoints)
        if follow_mesh:
            assert batch.source_keypoints is not None and batch.driving_keypoints is not None, "only faces have a mesh"
            losses["mesh keypoints"] = self.weights.mesh_keypoints * (
                _keypoint_distance(source_keypoints, batch.source_keypoints)
                + _keypoint_distance(driving_keypoints, batch.driving_keypoints)
            )
        if self.model.config.photo_reach:
            assert batch.photo is not None, "the loader renders it"
            photo = resize(batch.photo, round(self.model.config.photo_reach * batch.source.shape[-1]))
            whole = None if batch.contours is None else batch.contours.whole
            predicted = self.model(batch.source, source_keypoints, driving_keypoints, window, whole, photo)
        else:
            predicted = self.model(batch.source, source_keypoints, driving_keypoints, window)
        prediction, motion, painting = predicted
        if batch.flow is not None:
            losses |= self._flow(batch.flow, motion.deformation, source_keypoints, driving_keypoints)
        target = batch.driving
        weight = self._weight(batch)
        if window is not None:
            target, weight = window.cut(target, 2), window.cut(weight, 2)
        losses["pixels"] = self.weights.pixels * weighted_mean((prediction - target).abs(), weight)
        if self.model.config.blend:
            losses |= self._restoration(painting, target, weight)
        if batch.photo is not None and window is None and (self.weights.sharp or self.part_losses is not None):
            losses |= self._sharp(batch, painting, motion.deformation, weight)
        if self.weights.perceptual:
            losses["perceptual"] = self.weights.perceptual * perceptual_pyramid(
                self._perceptual[0], prediction, target, weight, self.scales
            )
        identity = self._identity[0]
        if identity is not None:
            assert batch.driving_mesh is not None, "only faces have an identity"
            losses["identity"] = self.weights.identity * identity_distance(
                identity, prediction, batch.driving, batch.driving_mesh, window
            )
        if self.discriminator is not None:
            size = batch.driving.shape[-1]
            condition = self.discriminator.condition(driving_keypoints, size, window)
            losses |= self._adversarial(self.discriminator, prediction, target, condition)
        return losses

    def _weight(self, batch: Batch) -> Tensor:
        """Return (B, 1, S, S): how much each place of the driving pictures counts."""
        if batch.driving_mesh is None:
            return torch.ones_like(batch.driving[:, :1])
        return expression_weight(batch.driving_mesh, batch.driving.shape[-1], self.weights.expression_gain)

    def _equivariance(self, batch: Batch, driving_keypoints: Keypoints) -> dict[str, Tensor]:
        learned = self._learned(driving_keypoints)
        transform = RandomTransform.draw(len(batch.driving), batch.driving)
        value, jacobian = equivariance(transform, learned, self.model.detect(transform.warp(batch.driving)))
        losses = {"equivariance value": self.weights.equivariance_value * value}
        if not isinstance(self.model, MonkeyNet):  # it has no jacobians
            losses["equivariance jacobian"] = self.weights.equivariance_jacobian * jacobian
        return losses

    def _flow(self, flow: Flow, deformation: Tensor, source: Keypoints, driving: Keypoints) -> dict[str, Tensor]:
        losses = {"flow": self.weights.flow * flow_loss(flow, deformation)}
        if self.model.config.detected_count:
            values = (self._learned(keypoints).value for keypoints in (source, driving))
            losses["keypoint flow"] = self.weights.flow * keypoint_flow_loss(flow, *values)
        return losses

    def _restoration(self, painting: Painting, target: Tensor, weight: Tensor) -> dict[str, Tensor]:
        """Return what teaches the painter to paint what the photo lacks, and the maps to let it."""
        losses: dict[str, Tensor] = {}
        assert painting.warped is not None, "the photo is at hand in training"
        wrong = wrongness(painting.warped, target)
        if self.weights.painted:
            error = (painting.painted - target).abs()
            losses["painted"] = self.weights.painted * weighted_mean(error, weight * (COPY_SHARE + wrong))
        if self.weights.occlusion:
            losses["occlusion"] = self.weights.occlusion * occlusion_loss(painting, target, weight)
            if self.weights.expression_gain:
                losses["restoration"] = self.weights.occlusion * restoration_loss(painting.gates, wrong, weight - 1)
        return losses

    def _sharp(self, batch: Batch, painting: Painting, deformation: Tensor, weight: Tensor) -> dict[str, Tensor]:
        """Return the losses in the photo's resolution: of the last blend, and of the painted parts."""
        assert batch.photo is not None and batch.sharp is not None
        picture = blend_photo(painting, deformation, batch.photo, self.model.config.photo_reach)
        losses: dict[str, Tensor] = {}
        if self.weights.sharp:
            error = (picture - batch.sharp).abs()
            slopes = gradient_difference(picture, batch.sharp)
            losses["sharp"] = self.weights.sharp * (weighted_mean(error, weight) + 2 * weighted_mean(slopes, weight))
            size, side = batch.source.shape[-1], batch.sharp.shape[-1]
            if side > size and self.weights.perceptual:
                top, left = (int(place) for place in torch.randint(0, side - size + 1, (2,)))
                window = (..., slice(top, top + size), slice(left, left + size))
                losses["sharp perceptual"] = self.weights.perceptual * perceptual_pyramid(
                    self._perceptual[0], picture[window], batch.sharp[window], resize(weight, side)[window], 1
                )
        if self.part_losses is not None and self.weights.parts:
            assert isinstance(self.model, AnimationModel), "only it has painters of parts"
            found = self.part_losses(self.model, picture.detach(), batch)
            losses |= {name: self.weights.parts * value for name, value in found.items()}
        return losses

    def _learned(self, keypoints: Keypoints) -> Keypoints:
        """Return the detector's part of all keypoints: the last ones."""
        return Keypoints(*(part[:, -self.model.config.detected_count :] for part in keypoints))

    def _adversarial(
        self, discriminator: MultiScaleDiscriminator, prediction: Tensor, target: Tensor, condition: Tensor
    ) -> dict[str, Tensor]:
        constants = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
        fake = functional_call(discriminator, constants, (prediction, condition))
        real = discriminator(target, condition)
        weight = self.weights.adversarial
        return {
            "adversarial": weight * generator_loss(fake),
            "feature matching": weight * self.weights.feature_matching * feature_matching(real, fake),
            "discriminator": discriminator_loss(real, discriminator(prediction.detach(), condition)),
        }


def _keypoint_distance(found: Keypoints, wanted: Keypoints) -> Tensor:
    return (found.value - wanted.value).abs().mean() + 0.2 * (found.jacobian - wanted.jacobian).abs().mean()
