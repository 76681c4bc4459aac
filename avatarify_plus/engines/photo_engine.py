"""An engine that shows the photo in its own resolution: a runtime computes the layers, this puts them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from avatarify_plus.engines.engine import Engine, PartSquares, Runtime, Source
from avatarify_plus.engines.keypoint_tensors import contour_points_of
from avatarify_plus.errors import EngineError
from avatarify_plus.face.contours import LEFT_EYE_PART, MOUTH, RIGHT_EYE_PART, PartSquare, draw_part, part_squares
from avatarify_plus.network.tensor_names import PAINTED_PARTS, PART_PX
from avatarify_plus.pictures.photo_layers import beyond_square, cut_square, lay_over, paste_square, warp_photo
from avatarify_plus.pictures.photo_region import square_px, surround
from avatarify_plus.types import FloatArray, Image, Keypoints, Mask, PhotoRegion

PLACES = {"mouth": (MOUTH,), "eye": (RIGHT_EYE_PART, LEFT_EYE_PART)}
"""Which squares of a face each painter paints."""

OPENING = {"mouth": 1, "eye": 0}
"""Which of a part's contours is its opening: the gap between the lips, the opening between the lids."""

DIFFERENT = {"mouth": (0.004, 0.016), "eye": (0.3, 0.6)}
"""From which difference to the photo's opening a painting is shown, and from which on fully: of a mouth as a share of
its square's area, of an eye as a share of the photo's opening."""

MIN_OPENING = 0.01
"""The least share of its square that counts as a photo's open eye."""

ASIDE = (0.08, 0.16)
"""From which shift of an iris a painting of the eye is shown, and from which on fully, in widths of the eye."""

MIN_IRIS = 0.003
"""The least share of its square of which an iris must be seen to have a place."""


class Reference(NamedTuple):
    """The photo's own part, as its painter sees it: pictures (N, s, s, 3) and contours (N, 2, s, s)."""

    pictures: Image
    contours: Mask


@dataclass(frozen=True, slots=True, eq=False)
class PhotoSource(Source):
    """A source with its photo: the region (W, W, 3) around the square, the square's side, its parts by painter.

    goes_on: whether there is a photo around the square.
    """

    photo: Image
    goes_on: bool
    side_px: int
    references: dict[str, Reference]


class PhotoEngine(Engine):
    """Pictures of a model with `photo_reach`. See `Engine`; the runtime becomes its own.

    The deformation warps the photo, which is laid over what the model has painted; with `part_width`, mouth and eyes
    are painted over that, each in its square.
    """

    def __init__(self, runtime: Runtime, always_paints: bool = False) -> None:
        """always_paints: paint mouth and eyes however alike they are to the photo's, to see what that gives."""
        self._always_paints = always_paints
        self.name, self.device, self.precision = runtime.name, runtime.device, runtime.precision
        self.config = runtime.config
        self._runtime = runtime
        self._parts = PAINTED_PARTS if self.config.part_width else ()

    @property
    def runtime(self) -> Runtime:
        """What computes the graphs."""
        return self._runtime

    def close(self) -> None:
        """Release the runtime."""
        self._runtime.close()

    def detect(self, image: Image) -> Keypoints:
        """See `Engine.detect`."""
        return self._runtime.detect(image)

    def encode_source(self, image: Image, keypoints: Keypoints, photo: PhotoRegion | None = None) -> PhotoSource:
        """See `Engine.encode_source`."""
        encoded = self._runtime.encode_source(image, keypoints)
        if photo is None:
            photo = PhotoRegion(surround(image, self.config.photo_reach), goes_on=False)
        region = photo.picture
        if region.ndim != 3 or region.shape[0] != region.shape[1] or region.shape[2] != 3 or region.dtype != np.uint8:
            raise EngineError(f"the model takes photos (W, W, 3) uint8, found {region.shape} {region.dtype}")
        side_px = square_px(region.shape[0], self.config.photo_reach)
        references = {}
        if self._parts:
            points = contour_points_of(keypoints, self.config)
            squares = part_squares(points)
            references = {
                part: Reference(cut_squares(part, region, squares, side_px), draw_squares(part, points, squares))
                for part in self._parts
            }
        region = np.ascontiguousarray(region)
        return PhotoSource(encoded.keypoints, encoded.tensors, region, photo.goes_on, side_px, references)

    def animate(self, source: Source, keypoints: Keypoints) -> Image:
        """See `Engine.animate`."""
        assert isinstance(source, PhotoSource), "only the engine that made a source can use it"
        layers = self._runtime.animate(source, keypoints)
        is_fine = source.side_px > self.config.image_size
        warped = warp_photo(source.photo, layers.deformation, source.side_px, is_fine)
        kept = beyond_square(layers.kept, layers.deformation, source.goes_on)
        picture = lay_over(warped, layers.painted, kept)
        if self._parts:
            points = contour_points_of(keypoints, self.config)
            squares = part_squares(points)
            for part in self._parts:
                self._paint(part, picture, points, squares, source)
        return picture

    def _paint(
        self, part: str, picture: Image, points: FloatArray, squares: dict[str, PartSquare], source: PhotoSource
    ) -> None:
        """Paint a part over the picture, in place."""
        contours, reference = draw_squares(part, points, squares), source.references[part]
        if self._always_paints:
            shares = np.ones(len(contours), np.float32)
        else:
            shares = difference(part, contours, reference.contours)
        if not shares.any():
            return
        given = cut_squares(part, picture, squares, source.side_px)
        painted = self._runtime.paint(part, PartSquares(given, contours, *reference))
        painted[..., 3] = np.rint(painted[..., 3] * shares[:, None, None])
        for name, square in zip(PLACES[part], painted, strict=True):
            paste_square(picture, square, squares[name].matrix)


def difference(part: str, contours: Mask, reference: Mask) -> FloatArray:
    """Return from 0 to 1 how far a part's opening differs from the photo's, (N,): so far its painting is shown.

    contours, reference: (N, 2, s, s). An eye or a mouth that is as open as in the photo, and looks where the
    photo does, is best shown by the photo.
    """
    channel = OPENING[part]
    now, own = (masks[:, channel].mean((1, 2), dtype=np.float32) / 255 for masks in (contours, reference))
    changed = np.abs(now - own) / (np.maximum(own, MIN_OPENING) if part == "eye" else 1)
    shown = _between(changed, *DIFFERENT[part])
    return np.maximum(shown, _between(iris_shift(contours, reference), *ASIDE)) if part == "eye" else shown


def iris_shift(contours: Mask, reference: Mask) -> FloatArray:
    """Return how far the irises of eyes (N, 2, s, s) are from the photo's, in widths of the photo's eyes: (N,).

    It is 0 where an iris cannot be seen.
    """
    side = contours.shape[-1]
    columns = np.arange(side, dtype=np.float32)
    now, own = (masks[:, 1].sum(1, dtype=np.float32) for masks in (contours, reference))  # (N, s)
    width = np.maximum((reference[:, 0].max(1) > 127).sum(1), 1)
    seen = np.minimum(now.sum(1), own.sum(1)) > 255 * MIN_IRIS * side * side
    places = [(masks @ columns) / np.maximum(masks.sum(1), 1) for masks in (now, own)]
    return np.asarray(np.where(seen, np.abs(places[0] - places[1]) / width, 0), np.float32)


def _between(value: FloatArray, low: float, high: float) -> FloatArray:
    """Return 0 up to `low`, 1 from `high` on, and in between what lies between."""
    return np.clip((value - low) / (high - low), 0, 1).astype(np.float32)


def cut_squares(part: str, picture: Image, squares: dict[str, PartSquare], side_px: int) -> Image:
    """Cut a painter's squares, (N, s, s, 3), out of a picture, in which [-1, 1] spans `side_px` pixels."""
    return np.stack([cut_square(picture, squares[name].matrix, side_px, PART_PX[part]) for name in PLACES[part]])


def draw_squares(part: str, points: FloatArray, squares: dict[str, PartSquare]) -> Mask:
    """Draw the contours of a painter's squares, (N, 2, s, s)."""
    return np.stack([draw_part(points, name, squares[name], PART_PX[part]) for name in PLACES[part]])
