"""The network as three graphs that take and return uint8 pictures, for export and for the torch engine."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from avatarify_plus.network import tensor_names
from avatarify_plus.network.dense_motion import Contours
from avatarify_plus.network.generator import Features
from avatarify_plus.network.model import AnimationModel, EncodedSource
from avatarify_plus.network.parts import PartInput
from avatarify_plus.network.simplify import simplify
from avatarify_plus.types import Keypoints


class DetectGraph(nn.Module):
    """Picture to keypoints, see `signatures`; only for models with learned keypoints."""

    def __init__(self, model: AnimationModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        keypoints = self.model.detect(to_model_image(image))
        return keypoints.value, keypoints.jacobian


class EncodeSourceGraph(nn.Module):
    """The source's picture and keypoint values to what depends on the source alone, see `signatures`."""

    def __init__(self, model: AnimationModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, source_value: Tensor) -> tuple[Tensor, ...]:
        # The encoding reads no jacobian; `animate` gets the source's.
        source = self.model.encode_source(to_model_image(image), Keypoints(source_value, None))
        named = {
            tensor_names.FEATURE_QUARTER: source.features.quarter,
            tensor_names.FEATURE_HALF: source.features.half,
            tensor_names.PICTURE: source.features.picture,
            tensor_names.SMALL: source.small,
            tensor_names.SOURCE_HEATMAP: source.heatmap,
        }
        return tuple(cast(Tensor, named[name]) for name in tensor_names.encoded_source(self.model.config))


class AnimateGraph(nn.Module):
    """The encoded source, its keypoints and the driving keypoints to the picture, see `signatures`."""

    def __init__(self, model: AnimationModel) -> None:
        super().__init__()
        self.model = model
        self.inputs = tensor_names.signatures(model.config)[tensor_names.ANIMATE].inputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(self.inputs, inputs, strict=True))
        quarter = named[tensor_names.FEATURE_QUARTER]
        # Presets without blend read the quarter only, so that it may take the place of the other two.
        picture = None if self.model.config.photo_reach else named.get(tensor_names.PICTURE, quarter)
        features = Features(quarter, named.get(tensor_names.FEATURE_HALF, quarter), picture)
        keypoints = Keypoints(named[tensor_names.SOURCE_VALUE], named[tensor_names.SOURCE_JACOBIAN])
        source = EncodedSource(features, named[tensor_names.SMALL], named[tensor_names.SOURCE_HEATMAP], keypoints)
        driving = Keypoints(named[tensor_names.DRIVING_VALUE], named[tensor_names.DRIVING_JACOBIAN])
        contours = None
        if self.model.config.contour_width:
            drawn = (
                named[name].float() / 255 for name in (tensor_names.SOURCE_CONTOURS, tensor_names.DRIVING_CONTOURS)
            )
            contours = Contours(*drawn)
        prediction = self.model.animate(source, driving, contours=contours)
        if prediction.image is not None:
            return (to_app_image(prediction.image),)
        painting = prediction.painting
        return to_app_image(painting.painted), to_app_image(painting.kept), prediction.motion.deformation


class PaintGraph(nn.Module):
    """A part's squares to its painting, see `signatures`."""

    def __init__(self, painter: nn.Module) -> None:
        super().__init__()
        self.model = painter

    def forward(
        self, given: Tensor, contours: Tensor, reference: Tensor, reference_contours: Tensor
    ) -> tuple[Tensor, ...]:
        pictures = (to_model_image(picture) for picture in (given, reference))
        drawn = (masks.float() / 255 for masks in (contours, reference_contours))
        given, reference = pictures
        contours, reference_contours = drawn
        painting = self.model(PartInput(given, contours, reference, reference_contours))
        return (to_app_image(torch.cat([painting.painted, painting.share], dim=1)),)


def build_graphs(model: AnimationModel, simplified: bool = True) -> dict[str, nn.Module]:
    """Return the graphs of a model by name, in evaluation mode.

    simplified: see `simplify`, with weights of their own; False: the network as it is trained, to compare with.
    """
    model = simplify(model) if simplified else model
    classes = {
        tensor_names.DETECT: DetectGraph,
        tensor_names.ENCODE_SOURCE: EncodeSourceGraph,
        tensor_names.ANIMATE: AnimateGraph,
    }
    graphs = {name: classes[name](model).eval() for name in tensor_names.signatures(model.config) if name in classes}
    return graphs | {tensor_names.paint(part): PaintGraph(painter).eval() for part, painter in model.parts.items()}


def to_model_image(image: Tensor) -> Tensor:
    """Turn (B, H, W, 3) uint8 into (B, 3, H, W) float in [0, 1]."""
    return image.float().permute(0, 3, 1, 2) / 255  # (B, 3, H, W); TensorRT allows nothing but a cast on uint8


def to_app_image(image: Tensor) -> Tensor:
    """Turn (B, 3, H, W) float in [0, 1] into (B, H, W, 3) uint8."""
    levels = (image * 255).round().clamp(0, 255)
    return levels.permute(0, 2, 3, 1).to(torch.uint8)  # (B, H, W, 3)
