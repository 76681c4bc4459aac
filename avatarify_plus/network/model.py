"""The whole network, with the three verbs of the engine contract."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from avatarify_plus.face.contours import CONTOURS
from avatarify_plus.network.blocks import antialias, heatmaps, model_float_operations
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.network.dense_motion import Contours, DenseMotion, Motion
from avatarify_plus.network.detector import KeypointDetector
from avatarify_plus.network.generator import Features, Generator, Painting, Window
from avatarify_plus.network.parts import PartPainter, part_float_operations
from avatarify_plus.network.tensor_names import PAINTED_PARTS
from avatarify_plus.types import Keypoints


class EncodedSource(NamedTuple):
    """Everything that depends on the source alone.

    features: see `Features`. small: (B, 3, m, m). heatmap: (B, K, m, m). keypoints: the source's.
    """

    features: Features
    small: Tensor
    heatmap: Tensor
    keypoints: Keypoints


class Prediction(NamedTuple):
    """image: (B, 3, S, S) in [0, 1], None where the photo is warped elsewhere. motion, painting: what it is of."""

    image: Tensor | None
    motion: Motion
    painting: Painting


class AnimationModel(nn.Module):
    """Keypoint detector (for learned keypoints), dense motion and generator of one config."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.detector = KeypointDetector(config) if config.detected_count else None
        self.dense_motion = DenseMotion(config)
        self.generator = Generator(config)
        self.parts = nn.ModuleDict(
            {name: PartPainter(config.part_width) for name in (PAINTED_PARTS if config.part_width else ())}
        )

    def detect(self, image: Tensor) -> Keypoints:
        """Find the learned keypoints of (B, 3, S, S); only for models that have them."""
        assert self.detector is not None, "this model takes its keypoints from the face mesh"
        return self.detector(image)

    def locate(self, image: Tensor, mesh: Keypoints | None) -> Keypoints:
        """Return the keypoints of (B, 3, S, S): the mesh's (B, M, 2), the detector's, or the mesh's and then these."""
        if self.detector is None:
            assert mesh is not None, "this model takes its keypoints from the face mesh"
            return mesh
        found = self.detect(image)
        if not self.config.reads_mesh:
            return found
        assert mesh is not None, "this model takes keypoints from the face mesh too"
        return Keypoints(*(torch.cat(parts, dim=1) for parts in zip(mesh, found, strict=True)))  # (B, M + L, ...)

    def encode_source(self, image: Tensor, keypoints: Keypoints) -> EncodedSource:
        """Compute what depends on the source (B, 3, S, S) alone."""
        config = self.config
        heatmap = heatmaps(keypoints.value, config.motion_size, config.heatmap_variance, config.corner_aligned_grid)
        return EncodedSource(self.generator.encode(image), antialias(image, config.motion_size), heatmap, keypoints)

    def animate(
        self,
        source: EncodedSource,
        driving: Keypoints,
        window: Window | None = None,
        contours: Contours | None = None,
    ) -> Prediction:
        """Return the source in the driving pose, as a whole or only a `window` of it.

        contours: needed, and used, only with `contour_width`.
        """
        contours = contours if self.config.contour_width else None
        motion = self.dense_motion(source.small, source.heatmap, source.keypoints, driving, contours)
        painting = self.generator(source.features, motion, window)
        return Prediction(painting.picture, motion, painting)

    def forward(
        self,
        image: Tensor,
        source: Keypoints,
        driving: Keypoints,
        window: Window | None = None,
        contours: Contours | None = None,
        photo: Tensor | None = None,
    ) -> Prediction:
        """Encode and animate in one call, as training does.

        photo: with `photo_reach` R, the region around the source's square, (B, 3, R S, R S).
        """
        encoded = self.encode_source(image, source)
        if photo is not None:
            encoded = encoded._replace(features=encoded.features._replace(picture=photo))
        return self.animate(encoded, driving, window, contours)


def frame_float_operations(config: NetworkConfig) -> dict[str, int]:
    """Return the floating-point operations of one driving frame per part (convolutions; 2 per multiply-add)."""
    model = AnimationModel(config).eval()
    image = torch.zeros(1, 3, config.image_size, config.image_size)
    count = config.keypoint_count
    keypoints = Keypoints(torch.zeros(1, count, 2), torch.eye(2).expand(1, count, 2, 2))
    source = model.encode_source(image, keypoints)
    drawn = torch.zeros(1, len(CONTOURS), config.contour_size, config.contour_size)
    contours = Contours(drawn, drawn) if config.contour_width else None
    motion = model.dense_motion(source.small, source.heatmap, keypoints, keypoints, contours)
    parts = {
        "detect": model_float_operations(model.detector, image) if model.detector else 0,
        "dense motion": model_float_operations(
            model.dense_motion, source.small, source.heatmap, keypoints, keypoints, contours
        ),
        "generator": model_float_operations(model.generator, source.features, motion),
        "parts": sum(part_float_operations(model.parts[name], name) for name in model.parts),
    }
    return parts
