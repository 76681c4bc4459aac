"""The warm-up: what cannot be computed is refused at start, and the first frame is not slower than the others."""

from __future__ import annotations

import numpy as np

from avatarify_plus.engines.engine import PartSquares, Runtime
from avatarify_plus.engines.keypoint_tensors import resting_keypoints
from avatarify_plus.errors import EngineError
from avatarify_plus.face.contours import PART_CONTOURS
from avatarify_plus.network.tensor_names import PAINTED_PARTS, PART_COUNTS, PART_PX


def warm_up(engine: Runtime) -> None:
    """Call each of an engine's verbs once, on a black picture. Raises EngineError if one fails."""
    size = engine.config.image_size
    image = np.zeros((size, size, 3), np.uint8)
    keypoints = resting_keypoints(engine.config)
    try:
        if engine.config.detected_count:
            engine.detect(image)
        engine.animate(engine.encode_source(image, keypoints), keypoints)
        for part in PAINTED_PARTS if engine.config.part_width else ():
            engine.paint(part, _black_squares(part))
    except Exception as error:  # the runtimes' own exceptions have no common class
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise EngineError(
            f"engine {engine.name} cannot compute the model on {engine.device}: {reason}; choose another engine"
        ) from error


def _black_squares(part: str) -> PartSquares:
    picture = np.zeros((PART_COUNTS[part], PART_PX[part], PART_PX[part], 3), np.uint8)
    contours = np.zeros((PART_COUNTS[part], PART_CONTOURS, PART_PX[part], PART_PX[part]), np.uint8)
    return PartSquares(picture, contours, picture, contours)
