"""Motion in keypoint space: keypoints of a face mesh, relative transfer, smoothing. NumPy only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from avatarify_plus.errors import ConfigError
from avatarify_plus.face.landmarks import MESH_POINTS
from avatarify_plus.types import FloatArray, Keypoints

RIDGE_RADIUS = 0.15
"""Mesh clusters thinner than this (the mean face's RMS radius is 1) take their stretch from the whole face."""

MIN_AREA_RATIO = 0.2
"""Below this ratio of a cluster's local area to the whole face's, its jacobian fades into the face's."""


@dataclass(frozen=True, slots=True)
class MeshLayout:
    """How K keypoints come from a face mesh: a linear map, since mean and least-squares affine are both linear.

    operator: (K + 1, 3, 478); rows give value, d/dx and d/dy of a cluster, the last cluster being the whole face.
    mirror: (K,) index of each keypoint's mirror image. names: the K clusters', such as "jaw"; see `limit.OUTER`.
    """

    operator: FloatArray
    mirror: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def keypoint_count(self) -> int:
        """K, without the whole face."""
        return len(self.names)


def load_mesh_layout(name: str) -> MeshLayout:
    """Load a layout shipped with the package. Raises ConfigError for an unknown name."""
    values = _read_layout(name)
    return build_mesh_layout(np.asarray(values["mean_face"], np.float64), values["clusters"], values["mirror"])


def load_mean_face(name: str) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Load the mean face (478, 2) of a layout, centred, RMS radius 1. Raises ConfigError for an unknown name."""
    return np.asarray(_read_layout(name)["mean_face"], np.float64)


def _read_layout(name: str) -> dict[str, Any]:
    file = resources.files("avatarify_plus") / "mesh_layouts" / f"{name}.json"
    if not file.is_file():
        raise ConfigError(f"unknown mesh layout {name!r}: this version of avatarify_plus has none of that name")
    values: dict[str, Any] = json.loads(file.read_text())
    return values


def build_mesh_layout(
    mean_face: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    clusters: dict[str, list[int]],
    mirror: dict[str, str],
) -> MeshLayout:
    """Turn clusters of mesh points into the linear map that yields keypoints.

    mean_face: (478, 2), centred, RMS radius 1. A cluster's value is its points' mean; its jacobian is the affine map
    of the mean face's cluster onto the points, least squares with a ridge towards the whole face's map.
    """
    count = len(mean_face)
    names = list(clusters)
    whole = list(range(MESH_POINTS))  # irises would count eyes twice
    face_map = _affine_operator(mean_face, whole, None)
    operator = np.zeros((len(names) + 1, 3, count))
    for row, indices in enumerate([*clusters.values(), whole]):
        operator[row, 0, indices] = 1 / len(indices)
        operator[row, 1:] = _affine_operator(mean_face, indices, face_map) if row < len(names) else face_map
    positions = {name: index for index, name in enumerate(names)}
    return MeshLayout(
        operator.astype(np.float32), tuple(positions[mirror.get(name, name)] for name in names), tuple(names)
    )


def _affine_operator(
    mean_face: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    indices: list[int],
    prior: np.ndarray[tuple[int, int], np.dtype[np.float64]] | None,
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return (2, 478): landmarks to the two columns of the affine map."""
    centred = mean_face[indices] - mean_face[indices].mean(0)  # (n, 2)
    moment = centred.T @ centred / len(indices)  # (2, 2)
    select = np.zeros((2, len(mean_face)))
    select[:, indices] = centred.T / len(indices)
    ridge = 0.0 if prior is None else RIDGE_RADIUS**2
    target = select if prior is None else select + ridge * prior
    return np.linalg.solve(moment + ridge * np.eye(2), target)


def keypoints_from_mesh(landmarks: FloatArray, layout: MeshLayout) -> Keypoints:
    """Read keypoints off a face mesh.

    landmarks: (..., 478, 2 or more), x and y in [0, 1] of a square picture. Returns value (..., K, 2) in [-1, 1] and
    jacobian (..., K, 2, 2). Method: per cluster, mean and least-squares affine against the mean face.
    """
    picture = landmarks[..., :2].astype(np.float32) * 2 - 1  # (..., 478, 2)
    rows = layout.operator.reshape(-1, layout.operator.shape[-1]) @ picture  # (..., 3 (K + 1), 2)
    rows = rows.reshape(*rows.shape[:-2], -1, 3, 2)  # (..., K + 1, 3, 2)
    value = rows[..., :-1, 0, :]
    jacobian = np.swapaxes(rows[..., 1:, :], -1, -2)  # (..., K + 1, 2 [x, y], 2 [d/dx, d/dy])
    local, face = jacobian[..., :-1, :, :], jacobian[..., -1:, :, :]
    ratio = determinant(local) / np.maximum(determinant(face), 1e-9)
    trust = np.clip(ratio / MIN_AREA_RATIO, 0, 1)[..., None, None]
    return Keypoints(np.ascontiguousarray(value), face + trust * (local - face))


def join_keypoints(first: Keypoints, second: Keypoints) -> Keypoints:
    """Return the keypoints of both, (K, 2) and (L, 2) to (K + L, 2), their jacobians alike."""
    return Keypoints(*(np.concatenate(parts) for parts in zip(first, second, strict=True)))


def first_keypoints(keypoints: Keypoints, count: int | None) -> Keypoints:
    """Return the first of the keypoints; all for None."""
    return keypoints if count is None else Keypoints(keypoints.value[:count], keypoints.jacobian[:count])


def with_points(keypoints: Keypoints, points: FloatArray) -> Keypoints:
    """Return keypoints and behind them points (N, 2) in [-1, 1], so that they move as the keypoints are moved.

    Their jacobians are the identity, which nobody reads.
    """
    identity = np.broadcast_to(np.eye(2, dtype=np.float32), (len(points), 2, 2))
    return join_keypoints(keypoints, Keypoints(np.asarray(points, np.float32), identity))


def mirror_keypoints(keypoints: Keypoints, layout: MeshLayout) -> Keypoints:
    """Return the keypoints of the horizontally mirrored picture."""
    order = list(layout.mirror)
    flip = np.array([-1, 1], np.float32)
    value = keypoints.value[..., order, :] * flip
    jacobian = keypoints.jacobian[..., order, :, :] * flip[:, None] * flip[None, :]
    return Keypoints(value, jacobian)


def determinant(matrix: FloatArray) -> FloatArray:
    """Return the determinants of (..., 2, 2) matrices."""
    return matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0]


def invert(matrix: FloatArray) -> FloatArray:
    """Invert (..., 2, 2) matrices in closed form."""
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    adjugate = np.stack([np.stack([d, -b], -1), np.stack([-c, a], -1)], -2)
    return adjugate / determinant(matrix)[..., None, None]


def movement_scale(source: Keypoints, initial: Keypoints) -> float:
    """Return how much larger the source's face is than the driver's.

    Ratio of the keypoints' spreads, the fourth root of their covariance's determinant; FOMM's adapt_movement_scale
    compares convex hulls for the same purpose.
    """

    def spread(value: FloatArray) -> float:
        return float(np.linalg.det(np.cov(value.T.astype(np.float64)))) ** 0.25

    return spread(source.value) / max(spread(initial.value), 1e-6)


def transfer(source: Keypoints, driving: Keypoints, initial: Keypoints, scale: float = 1.0) -> Keypoints:
    """Apply the driver's motion since `initial` to the source (FOMM's relative mode).

    value = source + scale (driving - initial); jacobian = driving initial^-1 source. No motion gives the source back.
    """
    value = source.value + scale * (driving.value - initial.value)
    jacobian = driving.jacobian @ invert(initial.jacobian) @ source.jacobian
    return Keypoints(value.astype(np.float32), jacobian.astype(np.float32))


def blend(first: Keypoints, second: Keypoints, share: float) -> Keypoints:
    """Return keypoints on the line through both: the first at share 0, the second at 1, beyond it above 1.

    All have value (K, 2) and jacobian (K, 2, 2).
    """
    return Keypoints(
        (first.value + np.float32(share) * (second.value - first.value)).astype(np.float32),
        (first.jacobian + np.float32(share) * (second.jacobian - first.jacobian)).astype(np.float32),
    )


class KeypointSmoother:
    """Smooth keypoints over time: steady when still, quick when moving (Casiez et al. 2012, the One-Euro filter).

    One cutoff per keypoint: min_cutoff_hz, which can be set at any time, + beta * speed, speed in picture halves per
    second.
    """

    def __init__(self, min_cutoff_hz: float, beta: float, speed_cutoff_hz: float = 1.0) -> None:
        self.min_cutoff_hz = min_cutoff_hz
        self._beta = beta
        self._speed_cutoff_hz = speed_cutoff_hz
        self._keypoints: Keypoints | None = None
        self._velocity: FloatArray | None = None
        self._time_s = 0.0
        self._shares: FloatArray | None = None

    @property
    def shares(self) -> FloatArray | None:
        """How much of each newest keypoint (K,) was taken in the last call; None if it passed unchanged."""
        return self._shares

    def reset(self) -> None:
        """Forget the past: the next keypoints pass unchanged."""
        self._keypoints = None
        self._velocity = None

    def smooth(self, keypoints: Keypoints, time_s: float) -> Keypoints:
        """Return keypoints, (K, 2) and (K, 2, 2), smoothed, at a time in seconds; times must not go backwards."""
        if self._keypoints is None or self._velocity is None:
            self._keypoints, self._time_s = keypoints, time_s
            self._velocity = np.zeros_like(keypoints.value)
            self._shares = None
            return keypoints
        interval_s = max(time_s - self._time_s, 1e-3)
        past, self._time_s = self._keypoints, time_s
        velocity = (keypoints.value - past.value) / interval_s
        self._velocity = self._velocity + _share(self._speed_cutoff_hz, interval_s) * (velocity - self._velocity)
        speed = np.linalg.norm(self._velocity, axis=-1)  # (K,)
        self._shares = _share(self.min_cutoff_hz + self._beta * speed, interval_s)
        share = self._shares[:, None]  # (K, 1)
        self._keypoints = Keypoints(
            past.value + share * (keypoints.value - past.value),
            past.jacobian + share[..., None] * (keypoints.jacobian - past.jacobian),
        )
        return self._keypoints


def _share(cutoff_hz: FloatArray | float, interval_s: float) -> FloatArray:
    """Return the weight of the newest sample in a first-order low-pass filter."""
    return np.asarray(1 / (1 + 1 / (2 * np.pi * np.asarray(cutoff_hz) * interval_s)), np.float32)
