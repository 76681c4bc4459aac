"""How a surface follows a skeleton: linear blend skinning with weights by distance to the bones."""

from __future__ import annotations

import numpy as np

from training.figures.mesh import Faces, Mesh, Points
from training.figures.skeleton import BONES, PARENTS, SPANS, Pose, Skeleton, kind_of

THICKNESS = {
    **{"pelvis": 1.6, "belly": 1.6, "chest": 1.9, "neck": 0.7, "head": 1.0},
    **{"upper arm": 0.8, "forearm": 0.6, "hand": 0.5, "thigh": 1.1, "shin": 0.8, "foot": 0.6},
}
"""How thick bones' flesh is, in dm: a point is as near to a bone as its distance is in these."""

FALLOFF = 6
"""The power of the distance by which a bone's weight falls."""

SMOOTHINGS = 3
"""How often weights are averaged with those of neighbouring points, so that joints bend softly."""


def bone_weights(mesh: Mesh, skeleton: Skeleton, only: str | None = None) -> Points:
    """Return how much each point of a mesh (V) follows each bone, (V, 17), in rows of sum 1.

    The nearest bone and those that it hangs on or that hang on it share a point. only: the bone that all points follow.
    """
    if only is not None:
        return np.tile(np.array([bone == only for bone in BONES], np.float64), (len(mesh.points), 1))
    near = np.stack([_distance(mesh.points, skeleton.rest[list(span)]) for span in SPANS], 1)
    near /= [THICKNESS[kind_of(bone)] for bone in BONES]
    linked = np.eye(len(BONES), dtype=bool)
    for number, parent in enumerate(PARENTS):
        if parent is not None:
            linked[number, parent] = linked[parent, number] = True
    weights = linked[near.argmin(1)] / np.maximum(near, 0.05) ** FALLOFF
    weights /= weights.sum(1, keepdims=True)
    for _ in range(SMOOTHINGS):
        weights = _averaged(weights, mesh.faces)
    return weights


def _distance(points: Points, ends: Points) -> Points:
    """Return the distances (V,) of points from the line between two ends (2, 3)."""
    start, way = ends[0], ends[1] - ends[0]
    share = np.clip((points - start) @ way / (way @ way), 0, 1)
    return np.linalg.norm(points - start - share[:, None] * way, axis=1)


def _averaged(weights: Points, faces: Faces) -> Points:
    """Return weights averaged with their neighbours', half and half."""
    total, count = np.zeros_like(weights), np.zeros(len(weights))
    for first, second in ((0, 1), (1, 2), (2, 0)):
        for a, b in ((first, second), (second, first)):
            np.add.at(total, faces[:, a], weights[faces[:, b]])
            np.add.at(count, faces[:, a], 1)
    has_neighbour = count > 0
    mean = np.where(has_neighbour[:, None], total / np.maximum(count, 1)[:, None], weights)
    return (weights + mean) / 2


def bone_maps(skeleton: Skeleton, pose: Pose) -> Points:
    """Return the affine maps (17, 3, 4) by which bones take along what lies on them at rest."""
    maps = np.zeros((len(BONES), 3, 4))
    for number, (start, end) in enumerate(SPANS):
        at_rest, own = (joints[end] - joints[start] for joints in (skeleton.rest, skeleton.own))
        length = np.linalg.norm(at_rest)
        along, stretch = at_rest / length, np.linalg.norm(own) / length
        shape = skeleton.girth * np.eye(3) + (stretch - skeleton.girth) * np.outer(along, along)
        maps[number, :, :3] = pose.turns[number] @ shape
        maps[number, :, 3] = pose.joints[start] - maps[number, :, :3] @ skeleton.rest[start]
    return maps


def posed_points(points: Points, weights: Points, maps: Points) -> Points:
    """Return the points (V, 3) of a surface at rest, posed. weights, maps: see `bone_weights` and `bone_maps`."""
    mixed = (weights @ maps.reshape(len(BONES), 12)).reshape(-1, 3, 4)
    return np.einsum("vij,vj->vi", mixed[..., :3], points) + mixed[..., 3]
