"""The warm-up: what cannot be computed is refused at start, and the first frame is not slower than the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from avatarify_plus.engines.engine import Layers, PartSquares, Runtime
from avatarify_plus.engines.keypoint_tensors import resting_keypoints
from avatarify_plus.errors import EngineError, ModelError
from avatarify_plus.face.contours import PART_CONTOURS
from avatarify_plus.network.tensor_names import PAINTED_PARTS, PART_COUNTS, PART_PX
from avatarify_plus.types import Image


def warm_up(engine: Runtime) -> None:
    """Call each of an engine's verbs once, on a picture of many colours, and look at what comes back.

    Raises EngineError if one fails, and ModelError if what it returns is no picture: weights that are not numbers give
    one that is black, whatever it should show.
    """
    size = engine.config.image_size
    image = _colours(size)
    keypoints = resting_keypoints(engine.config)
    found: dict[str, Any] = {}
    try:
        if engine.config.detected_count:
            found["keypoints"] = np.concatenate([np.ravel(part) for part in engine.detect(image)])
        shown = engine.animate(engine.encode_source(image, keypoints), keypoints)
        if isinstance(shown, Layers):
            found["deformation"] = shown.deformation
        found["picture"] = shown.painted if isinstance(shown, Layers) else shown
        for part in PAINTED_PARTS if engine.config.part_width else ():
            engine.paint(part, _squares(part))  # which may leave a part as it is
    except Exception as error:  # the runtimes' own exceptions have no common class
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise EngineError(
            f"engine {engine.name} cannot compute the model on {engine.device}: {reason}; choose another engine"
        ) from error
    for what, values in found.items():
        _require_sound(np.asarray(values), what)


def _require_sound(values: Any, what: str) -> None:
    """Raise ModelError if numbers are not finite, or if a picture's colour is the same, 0 or 255, everywhere."""
    if values.dtype != np.uint8:
        if not np.isfinite(values).all():
            raise ModelError(f"the model is damaged: its first {what} are not numbers; fetch or export it again")
        return
    colours = values.reshape(-1, values.shape[-1])
    low, high = colours.min(0), colours.max(0)
    if (low == 255).any() or (high == 0).any():
        raise ModelError(f"the model is damaged: its first {what} shows nothing; fetch or export it again")


def _colours(size: int) -> Image:
    """Return a picture (size, size, 3) whose colours change smoothly, each in a way of its own."""
    line = np.linspace(40, 215, size)
    across, down = np.broadcast_to(line, (size, size)), np.broadcast_to(line[:, None], (size, size))
    return np.stack([across, down, (across + 255 - down) / 2], -1).astype(np.uint8)


def _squares(part: str) -> PartSquares:
    picture = np.stack([_colours(PART_PX[part])] * PART_COUNTS[part])
    contours = np.zeros((PART_COUNTS[part], PART_CONTOURS, PART_PX[part], PART_PX[part]), np.uint8)
    return PartSquares(picture, contours, picture, contours)
