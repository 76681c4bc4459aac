"""The warm-up: what cannot be computed is refused at start, and the first frame is not slower than the others."""

from __future__ import annotations

import numpy as np

from avatarify_plus.engines.engine import Engine
from avatarify_plus.errors import EngineError
from avatarify_plus.types import Keypoints


def warm_up(engine: Engine) -> None:
    """Call each of an engine's verbs once, on a black picture. Raises EngineError if one fails."""
    size, count = engine.config.image_size, engine.config.keypoint_count
    image = np.zeros((size, size, 3), np.uint8)
    keypoints = Keypoints(np.zeros((count, 2), np.float32), np.tile(np.eye(2, dtype=np.float32), (count, 1, 1)))
    try:
        if engine.config.detected_count:
            engine.detect(image)
        engine.animate(engine.encode_source(image, keypoints), keypoints)
    except Exception as error:  # the runtimes' own exceptions have no common class
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise EngineError(
            f"engine {engine.name} cannot compute the model on {engine.device}: {reason}; choose another engine"
        ) from error
