"""A face as it was found: its keypoints, and the mesh they were read off."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avatarify_plus.face.contours import contour_points
from avatarify_plus.motion.keypoints import (
    KeypointSmoother,
    MeshLayout,
    join_keypoints,
    keypoints_from_mesh,
    load_mean_face,
    load_mesh_layout,
    with_points,
)
from avatarify_plus.types import FloatArray, Keypoints


class Face(NamedTuple):
    """A face in a square picture.

    keypoints: (K, 2) and (K, 2, 2), those of the mesh first, then learned ones. mesh: (478, 3), x and y in [-1, 1] as
    the keypoints', z in their scale; None where the model reads no mesh.
    """

    keypoints: Keypoints
    mesh: FloatArray | None = None


class FaceReader:
    """Read a model's faces off meshes, and say what its engine takes of them."""

    def __init__(self, layout_name: str, reads_contours: bool) -> None:
        """layout_name: of the mesh's keypoints. reads_contours: whether contour points go behind the keypoints."""
        self._layout = load_mesh_layout(layout_name)
        self._reads_contours = reads_contours
        self.nearest = _nearest_keypoints(self._layout, load_mean_face(layout_name).astype(np.float32))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the mesh's keypoints."""
        return self._layout.names

    def face(self, mesh: FloatArray, learned: Keypoints | None) -> Face:
        """Return the face with a mesh (478, 3) in [-1, 1] and, where the model has them, learned keypoints."""
        keypoints = keypoints_from_mesh((mesh + np.float32(1)) / np.float32(2), self._layout)
        return Face(keypoints if learned is None else join_keypoints(keypoints, learned), mesh)

    def learned(self, face: Face) -> Keypoints | None:
        """Return the learned keypoints of a face; None if the model has none."""
        own = self._layout.keypoint_count
        value, jacobian = face.keypoints
        return Keypoints(value[own:], jacobian[own:]) if len(value) > own else None

    def shown(self, face: Face) -> Keypoints:
        """Return what the engine takes of a face: the keypoints and, for models that read them, contour points."""
        if not self._reads_contours or face.mesh is None:
            return face.keypoints
        return with_points(face.keypoints, contour_points(face.mesh))


class FaceSmoother:
    """Smooth faces over time: each point of the mesh as the keypoint next to it, see `KeypointSmoother`."""

    def __init__(self, min_cutoff_hz: float, beta: float, nearest: NDArray[np.intp] | None = None) -> None:
        """nearest: for each point of the mesh the keypoint that it is smoothed with; None without a mesh."""
        self.keypoints = KeypointSmoother(min_cutoff_hz, beta)
        self._nearest = nearest
        self._mesh: FloatArray | None = None

    def reset(self) -> None:
        """Forget the past: the next face passes unchanged."""
        self.keypoints.reset()

    def smooth(self, face: Face, time_s: float) -> Face:
        """Return a face, smoothed, at a time in seconds; times must not go backwards."""
        keypoints = self.keypoints.smooth(face.keypoints, time_s)
        if face.mesh is None or self._nearest is None:
            return Face(keypoints)
        shares = self.keypoints.shares
        if shares is None or self._mesh is None:
            self._mesh = face.mesh
        else:
            self._mesh = self._mesh + shares[self._nearest][:, None] * (face.mesh - self._mesh)
        return Face(keypoints, self._mesh)


def mesh_of(landmarks: FloatArray) -> FloatArray:
    """Return landmarks (478, 3), x and y in [0, 1] of a square picture, z in the scale of x, as a `Face` has them."""
    mesh = np.asarray(landmarks, np.float32) * 2
    mesh[:, :2] -= 1
    return mesh


def enlarged(face: Face, factor: float, shift: FloatArray) -> Face:
    """Return a face that is enlarged about the picture's middle and then shifted by (2,)."""
    factor32 = np.float32(factor)
    keypoints = Keypoints(face.keypoints.value * factor32 + shift, face.keypoints.jacobian * factor32)
    if face.mesh is None:
        return Face(keypoints)
    mesh = face.mesh * factor32
    mesh[:, :2] += shift
    return Face(keypoints, mesh)


def mean_distance(first: Face, second: Face) -> float:
    """Return the mean distance between two faces' keypoints."""
    return float(np.linalg.norm(first.keypoints.value - second.keypoints.value, axis=-1).mean())


def _nearest_keypoints(layout: MeshLayout, mean_face: FloatArray) -> NDArray[np.intp]:
    """Return for each point of the mesh (478,) the keypoint whose cluster it is in, or is nearest to."""
    weights = layout.operator[: layout.keypoint_count, 0]  # (K, 478)
    distances = np.linalg.norm(mean_face[:, None] - (weights @ mean_face)[None], axis=-1)  # (478, K)
    distances[weights.T > 0] -= distances.max()
    return distances.argmin(1)
