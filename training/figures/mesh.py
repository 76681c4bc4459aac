"""Meshes of triangles with textures: ellipsoids, tubes, and what Wavefront files hold."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avatarify_plus.errors import DataError
from avatarify_plus.types import Image

Points = NDArray[np.float64]
Faces = NDArray[np.int64]


class Mesh(NamedTuple):
    """A surface.

    points: (V, 3). faces: (F, 3), numbers of points, counterclockwise seen from outside. corners: (F, 3, 2), where in
    the texture each corner of a face lies, from (0, 0), the upper left, to (1, 1). texture: (H, W, 4) RGBA, not shown
    where alpha is below half. is_open: whether both sides of the faces can be seen.
    """

    points: Points
    faces: Faces
    corners: Points
    texture: Image
    is_open: bool = False


def plain_texture(colour: ArrayLike) -> Image:
    """Return a texture (1, 1, 4) of one colour (3,) in [0, 255]."""
    opaque = np.append(np.asarray(colour, np.float64).round().clip(0, 255), 255)
    return opaque.astype(np.uint8)[None, None]


def ellipsoid(centre: ArrayLike, radii: ArrayLike, texture: Image, parallels: int = 10) -> Mesh:
    """Return an ellipsoid; the middle of its texture faces z, and the texture's upper edge is at the top.

    centre, radii: (3,). parallels: how many bands there are from top to bottom; there are twice as many around.
    """
    down, around = np.meshgrid(np.linspace(0, 1, parallels + 1), np.linspace(0, 1, 2 * parallels + 1), indexing="ij")
    polar, azimuth = np.pi * down, 2 * np.pi * (around - 0.5)
    ball = np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)], -1)
    return _grid(np.asarray(centre) + np.asarray(radii) * ball, np.stack([around, down], -1), texture)


def tube(line: ArrayLike, radii: ArrayLike, texture: Image, sides: int = 12) -> Mesh:
    """Return a tube around a line, closed at its ends.

    line: (N, 3), no part of which may run along z. radii: (N, 2), its half width and, towards z, its half depth.
    """
    middle, half = np.asarray(line, np.float64), np.asarray(radii, np.float64)
    axis = np.gradient(middle, axis=0)
    wide = _unit(np.cross(axis, [0.0, 0.0, 1.0]))
    deep = _unit(np.cross(wide, axis))
    angle = np.linspace(0, 2 * np.pi, sides + 1)[:, None]
    rims = [
        at + width * np.cos(angle) * x + depth * np.sin(angle) * z
        for at, x, z, (width, depth) in zip(middle, wide, deep, half, strict=True)
    ]
    first, last = (np.repeat(middle[end][None], sides + 1, axis=0) for end in (0, -1))
    points = np.stack([first, *rims, last])
    down, around = np.meshgrid(np.linspace(0, 1, len(points)), np.linspace(0, 1, sides + 1), indexing="ij")
    return _grid(points, np.stack([around, down], -1), texture)


def _grid(points: Points, places: Points, texture: Image) -> Mesh:
    """Return the surface of a grid of points (M, N, 3), seen from where its second axis runs left of its first."""
    rows, columns = points.shape[:2]
    upper = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    lower = upper + columns
    faces = np.concatenate([np.stack([upper, lower, lower + 1], 1), np.stack([upper, lower + 1, upper + 1], 1)])
    return Mesh(points.reshape(-1, 3), faces, places.reshape(-1, 2)[faces], texture)


def _unit(vectors: Points) -> Points:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def read_wavefront(path: Path, texture: Image, is_open: bool = False) -> Mesh:
    """Read a mesh of a Wavefront file (.obj), its faces cut into triangles. Raises DataError if that fails."""
    points: list[list[float]] = []
    places: list[list[float]] = []
    faces: list[list[int]] = []
    corners: list[list[int]] = []
    try:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            word, *values = line.split() or [""]
            if word == "v":
                points.append([float(value) for value in values[:3]])
            elif word == "vt":
                places.append([float(values[0]), 1 - float(values[1])])
            elif word == "f":
                numbers = [[int(number) - 1 for number in value.split("/")[:2]] for value in values]
                for second, third in itertools.pairwise(numbers[1:]):
                    faces.append([numbers[0][0], second[0], third[0]])
                    corners.append([numbers[0][1], second[1], third[1]])
        found = np.array(points, np.float64), np.array(faces, np.int64)
        mesh = Mesh(*found, np.array(places, np.float64)[np.array(corners, np.int64)], texture, is_open)
        if mesh.points[mesh.faces].shape[1:] != (3, 3) or mesh.faces.min() < 0:
            raise ValueError("no faces")
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"cannot read the mesh {path}: {error}") from error
    return mesh
