"""The contract of every engine."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from avatarify_plus.bundle import Bundle
from avatarify_plus.config import Precision
from avatarify_plus.errors import EngineError
from avatarify_plus.network import tensor_names
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.types import FloatArray, Image, Keypoints, Mask, PhotoRegion


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """An encoded source (the avatar, in the user's words), which only the engine that made it can use.

    keypoints: the source's, in NumPy. tensors: the runtime's own, by name.
    """

    keypoints: Keypoints
    tensors: dict[str, Any]


class Layers(NamedTuple):
    """What a model with `photo_reach` makes of a frame, to be put together with the photo itself.

    painted: (S, S, 3) uint8 RGB, the painter's own picture. kept: (S, S) uint8, 255 shows the warped photo, 0 the
    painting. deformation: (m, m, 2) float32, for each place the photo's, in [-1, 1] of the source's square.
    """

    painted: Image
    kept: Mask
    deformation: FloatArray


class PartSquares(NamedTuple):
    """The squares of one kind of part of a face, see `network.parts`: pictures (N, s, s, 3), masks (N, 2, s, s), uint8.

    given: the picture so far. contours: of the driving mesh. reference, reference_contours: the photo's own part.
    """

    given: Image
    contours: Mask
    reference: Image
    reference_contours: Mask


Own = TypeVar("Own", bound="Engine")


class Engine(Protocol):
    """Three verbs that take and return NumPy arrays, for one thread. Engines inherit `__enter__` and `__exit__`.

    Keypoints are the network's K and, for models that read contours, the contour points behind them, see
    `motion.keypoints.with_points`.

    name: as `open_engine` takes it. device: the device that really computes, for people. precision: what `animate`
    really computes in. config: the network's.
    """

    name: str
    device: str
    precision: str
    config: NetworkConfig

    def detect(self, image: Image) -> Keypoints:
        """Find the learned keypoints of an (S, S, 3) uint8 RGB picture: value (L, 2), jacobian (L, 2, 2), float32.

        Raises EngineError if the model takes its keypoints from the face mesh.
        """
        ...

    def encode_source(self, image: Image, keypoints: Keypoints, photo: PhotoRegion | None = None) -> Source:
        """Compute what depends on the avatar alone from its (S, S, 3) uint8 RGB picture and its keypoints.

        photo: for models with `photo_reach`, the photo around the picture's square, (W, W, 3) uint8 RGB, see
        `pictures.photo_region`; None takes the picture itself, mirrored outwards. Other models do not read it.
        """
        ...

    def animate(self, source: Source, keypoints: Keypoints) -> Image:
        """Return the source in the pose of the keypoints: (P, P, 3) uint8 RGB, not overwritten by the next frame.

        P is S, or with `photo_reach` the side of the square in the photo that was given.
        """
        ...

    def close(self) -> None:
        """Release the runtime's memory; the engine cannot be used afterwards."""
        ...

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Runtime(Engine, Protocol):
    """An engine that computes a model's graphs and nothing besides; `PhotoEngine` makes pictures of what it returns."""

    def animate(self, source: Source, keypoints: Keypoints) -> Any:
        """Return the picture, see `Engine.animate`; of models with `photo_reach` the `Layers`."""
        ...

    def paint(self, part: str, squares: PartSquares) -> Any:
        """Paint the squares of a part, one of `tensor_names.PAINTED_PARTS`: (N, s, s, 4) uint8, colours and share.

        Only for models with `part_width`.
        """
        ...


def require_picture(image: Image, config: NetworkConfig) -> None:
    """Raise EngineError unless the picture is (S, S, 3) uint8."""
    size = config.image_size
    if image.shape != (size, size, 3) or image.dtype != np.uint8:
        raise EngineError(f"the model takes ({size}, {size}, 3) uint8 pictures, found {image.shape} {image.dtype}")


def require_detector(bundle: Bundle) -> None:
    """Raise EngineError if the model takes all its keypoints from the face mesh."""
    if not bundle.config.detected_count:
        raise EngineError(
            f"model {bundle.manifest.name} has no keypoint detector: it takes its keypoints from the face mesh "
            f"(motion.keypoints_from_mesh, layout {bundle.config.mesh_layout})"
        )


def require_precision(engine: str, precision: Precision, known: tuple[Precision, ...], bundle: Bundle) -> None:
    """Raise EngineError unless an engine computes in a precision and the model has the graph for it."""
    if precision not in known:
        raise EngineError(f"engine {engine} computes in {', '.join(known)}, not in {precision!r}")
    if precision == "int8" and not bundle.has_graph(tensor_names.quantized(tensor_names.ANIMATE)):
        raise EngineError(
            f"model {bundle.manifest.name} has no int8 graph: python export/quantize.py makes one, "
            "or choose another precision"
        )
