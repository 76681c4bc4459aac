"""What one training step computes: the network's prediction of a batch and its weighted losses."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from avatarify_plus.motion import MeshLayout
from avatarify_plus.network.generator import Window
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.types import Keypoints
from training.losses import (
    RandomTransform,
    equivariance,
    expression_weight,
    perceptual_pyramid,
    weighted_mean,
)
from training.pairs import Batch


@dataclass(frozen=True, slots=True)
class LossWeights:
    """The weight of each loss; the equivariance losses and the warm-up concern learned keypoints only.

    `expression_gain`: how much more than elsewhere an error counts at the mouth and the eyes.
    """

    perceptual: float = 1.0
    pixels: float = 15.0
    expression_gain: float = 4.0
    equivariance_value: float = 1.0
    equivariance_jacobian: float = 1.0
    mesh_keypoints: float = 10.0


class TrainingModel(nn.Module):
    """The network with its losses, so that one forward call is one training step (and DDP sees all of it)."""

    def __init__(
        self, model: AnimationModel, perceptual: nn.Module, weights: LossWeights, layout: MeshLayout, scales: int
    ) -> None:
        super().__init__()
        self.model = model
        self._expressive = [
            index
            for index, name in enumerate(layout.names)
            if name.endswith(("eyelid", "iris", "brow", "lip", "corner"))
        ]
        self.weights = weights
        self.scales = scales
        self._perceptual = [perceptual]  # in a list: neither a parameter nor a part of the checkpoint

    def forward(self, batch: Batch, window: Window | None, follow_mesh: bool) -> dict[str, Tensor]:
        """Return the weighted losses of a batch by name, in a window of the pictures if given.

        `follow_mesh` adds the loss that starts the detector from the face mesh.
        """
        losses: dict[str, Tensor] = {}
        source_keypoints, driving_keypoints = batch.source_keypoints, batch.driving_keypoints
        if self.model.config.keypoints == "learned":
            source_keypoints = self.model.detect(batch.source)
            driving_keypoints = self.model.detect(batch.driving)
            if follow_mesh:
                losses["mesh keypoints"] = self.weights.mesh_keypoints * (
                    _keypoint_distance(source_keypoints, batch.source_keypoints)
                    + _keypoint_distance(driving_keypoints, batch.driving_keypoints)
                )
            transform = RandomTransform.draw(len(batch.driving), batch.driving)
            moved = self.model.detect(transform.warp(batch.driving))
            value, jacobian = equivariance(transform, driving_keypoints, moved)
            losses["equivariance value"] = self.weights.equivariance_value * value
            losses["equivariance jacobian"] = self.weights.equivariance_jacobian * jacobian
        prediction = self.model(batch.source, source_keypoints, driving_keypoints, window)
        target, weight = batch.driving, self._weight(batch)
        if window is not None:
            target, weight = window.cut(target, 2), window.cut(weight, 2)
        losses["pixels"] = self.weights.pixels * weighted_mean((prediction.image - target).abs(), weight)
        losses["perceptual"] = self.weights.perceptual * perceptual_pyramid(
            self._perceptual[0], prediction.image, target, weight, self.scales
        )
        return losses

    def _weight(self, batch: Batch) -> Tensor:
        size = batch.driving.shape[-1]
        return expression_weight(batch.driving_keypoints, self._expressive, size, self.weights.expression_gain)


def _keypoint_distance(found: Keypoints, wanted: Keypoints) -> Tensor:
    return (found.value - wanted.value).abs().mean() + 0.2 * (found.jacobian - wanted.jacobian).abs().mean()
