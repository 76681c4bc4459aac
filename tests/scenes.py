"""Pictures and keypoints for engines to animate, seeded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from avatarify_plus.bundle import Bundle
from avatarify_plus.engines import Engine
from avatarify_plus.face.contours import contour_points
from avatarify_plus.motion.keypoints import load_mean_face, with_points
from avatarify_plus.types import Image, Keypoints


class Scene(NamedTuple):
    """Two (S, S, 3) uint8 pictures and their keypoints."""

    source: Image
    driving: Image
    source_keypoints: Keypoints
    driving_keypoints: Keypoints


def scene(bundle: Bundle, seed: int = 0) -> Scene:
    """Two pictures of waves and grain, with keypoints that differ by a little motion."""
    rng = np.random.default_rng(seed)
    size, count = bundle.config.image_size, bundle.config.keypoint_count
    y, x = np.mgrid[:size, :size] / size
    pictures = []
    for _ in range(2):
        waves = np.stack([np.sin(x * a + y * b) for a, b in rng.uniform(5, 40, (3, 2))], -1)
        pictures.append((128 + 90 * waves + rng.normal(0, 5, waves.shape)).clip(0, 255).astype(np.uint8))
    value = rng.uniform(-0.6, 0.6, (count, 2))
    jacobian = 0.5 * np.eye(2) + rng.normal(0, 0.05, (count, 2, 2))
    moved = value + rng.normal(0, 0.03, value.shape), jacobian + rng.normal(0, 0.02, jacobian.shape)
    keypoints = [Keypoints(v.astype(np.float32), j.astype(np.float32)) for v, j in ((value, jacobian), moved)]
    if bundle.config.reads_contours:
        keypoints = [with_mean_face(found, shift) for found, shift in zip(keypoints, (0.0, 0.03), strict=True)]
    return Scene(pictures[0], pictures[1], keypoints[0], keypoints[1])


def with_mean_face(keypoints: Keypoints, shift: float = 0.0) -> Keypoints:
    """Return keypoints with the contour points of a mean face behind them, near the picture's middle."""
    points = contour_points((0.25 * load_mean_face("face-20")).astype(np.float32))
    return with_points(keypoints, points + np.float32(shift))


def animate(engine: Engine, shown: Scene) -> Image:
    """Return the source of a scene in the pose of its driving keypoints."""
    return engine.animate(engine.encode_source(shown.source, shown.source_keypoints), shown.driving_keypoints)
