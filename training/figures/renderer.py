"""Meshes as a picture: projection, a depth buffer, and light from one side, in NumPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avatarify_plus.types import Image
from training.figures.mesh import Mesh, Points

OPAQUE = 128
"""Texels whose alpha is lower are not shown."""

MIN_AREA = 1e-9
"""Faces that are smaller are not shown, in halves of px squared."""


class Camera(NamedTuple):
    """A camera that looks along -z. place: (3,). focal: how much of a picture's side a length of 1 takes at 1 away."""

    place: tuple[float, float, float]
    focal: float

    def scale(self, z: Points, side_px: int) -> Points:
        """Return how many px a unit of length has in a picture, at places along z."""
        return self.focal * side_px / (self.place[2] - z)

    def project(self, points: Points, side_px: int) -> Points:
        """Return where points (V, 3) are in a picture, (V, 3): x and y in px from its upper left corner, and depth."""
        away = points - np.array(self.place)
        scale = self.scale(points[:, 2], side_px)
        return np.stack([side_px / 2 + scale * away[:, 0], side_px / 2 - scale * away[:, 1], -away[:, 2]], 1)


class Light(NamedTuple):
    """Light from far away. direction: (3,) of length 1, towards it. ambient: the share that comes from everywhere."""

    direction: Points
    ambient: float


class _Fragments(NamedTuple):
    """What faces put into pixels. pixel, depth: (N,). colour: (N, 3) in [0, 255]."""

    pixel: NDArray[np.int64]
    depth: Points
    colour: Points


def render(meshes: list[Mesh], camera: Camera, light: Light, background: Image) -> Image:
    """Return meshes in front of a background (S, S, 3)."""
    side = len(background)
    parts = [_rasterise(mesh, camera, light, side) for mesh in meshes]
    pixel, depth, colour = (np.concatenate(values) for values in zip(*parts, strict=True))
    nearest = np.full(side * side, np.inf)
    np.minimum.at(nearest, pixel, depth)
    shown = depth == nearest[pixel]
    picture = background.reshape(-1, 3).copy()
    picture[pixel[shown]] = colour[shown].round().clip(0, 255).astype(np.uint8)
    return picture.reshape(background.shape)


def _rasterise(mesh: Mesh, camera: Camera, light: Light, side: int) -> _Fragments:
    """Return what the faces of a mesh put into the pixels whose centres they cover."""
    shade = light.ambient + (1 - light.ambient) * _facing(mesh, light.direction)
    places = camera.project(mesh.points, side)
    x, y = ([places[mesh.faces[:, corner], axis] for corner in range(3)] for axis in (0, 1))  # three of (F,) each
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    seen = (np.abs(area) if mesh.is_open else -area) > MIN_AREA  # y points down: what faces us runs clockwise
    (left, width), (top, height) = _pixels(x, side), _pixels(y, side)
    count = width * height * seen
    face = np.repeat(np.arange(len(count)), count)
    index = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    column, row = left[face] + index % width[face], top[face] + index // width[face]
    right, below = ([values[face] - (at + 0.5) for values in axis] for axis, at in ((x, column), (y, row)))
    shares = [(right[a] * below[b] - right[b] * below[a]) / area[face] for a, b in ((1, 2), (2, 0), (0, 1))]
    inside = (shares[0] >= 0) & (shares[1] >= 0) & (shares[2] >= 0)
    face, pixel, shares = face[inside], (row * side + column)[inside], [share[inside] for share in shares]

    def blended(values: Points) -> Points:
        """Return what the corners (F, 3, ...) of faces give the pixels."""
        return np.einsum("cn,nc...->n...", shares, values[face])

    size = np.array(mesh.texture.shape[1::-1])
    place = np.floor(blended(mesh.corners) * size).astype(np.int64) % size
    texel = mesh.texture[place[:, 1], place[:, 0]]
    colour = texel[:, :3] * blended(shade[mesh.faces])[:, None]
    shown = texel[:, 3] >= OPAQUE
    return _Fragments(pixel[shown], blended(places[mesh.faces, 2])[shown], colour[shown])


def _pixels(corners: list[Points], side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first of the pixels whose centres lie between corners along one axis, and their number."""
    low = np.minimum(np.minimum(corners[0], corners[1]), corners[2])
    high = np.maximum(np.maximum(corners[0], corners[1]), corners[2])
    first = np.ceil(low - 0.5).clip(0, side).astype(np.int64)
    last = np.floor(high - 0.5).clip(-1, side - 1).astype(np.int64)
    return first, (last - first + 1).clip(0)


def _facing(mesh: Mesh, direction: Points) -> Points:
    """Return how much of the light each point of a mesh catches, (V,) in [0, 1]."""
    first, second, third = (mesh.points[mesh.faces[:, corner]] for corner in range(3))
    across = np.cross(second - first, third - first)
    corners, count = mesh.faces.ravel(), len(mesh.points)
    normals = np.stack([np.bincount(corners, np.repeat(axis, 3), count) for axis in across.T], 1)
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    facing = normals @ direction
    return np.abs(facing) if mesh.is_open else facing.clip(0)
