"""What the tests of properties have in common: how many examples, and faces as they come."""

from __future__ import annotations

import math

import cv2
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from avatarify_plus.motion.expression import lid_gaps, set_lid_gaps, set_lip_gaps
from avatarify_plus.motion.face import mesh_of
from avatarify_plus.types import FloatArray
from fakes import face_mesh

REPEATABLE = settings(
    derandomize=True,  # a run of the tests is to say what a change did
    deadline=None,
    database=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""How properties are tried: with the same examples in every run."""


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    """Return numbers of single precision between two."""
    bounds = float(np.float32(low)), float(np.float32(high))
    return st.floats(*bounds, width=32, allow_nan=False, allow_subnormal=False)


@st.composite
def turns(draw: st.DrawFn, largest: float = 0.6) -> FloatArray:
    """Draw a rotation (3, 3) about any axis by `largest` radians at most about each."""
    angles = np.array([draw(numbers(-largest, largest)) for _ in range(3)])
    return np.asarray(cv2.Rodrigues(angles)[0], np.float32)


@st.composite
def meshes(draw: st.DrawFn) -> FloatArray:
    """Draw the mesh (478, 3) of a face of any proportions, size, place and pose, with open eyes and any mouth."""
    mesh = mesh_of(face_mesh((32, 32), 30, 64, 64))
    mesh *= np.array([draw(numbers(0.8, 1.25)), 1, draw(numbers(0.7, 1.3))], np.float32)
    set_lip_gaps(mesh, np.full(9, draw(numbers(0, 0.3)), np.float32))
    gaps = lid_gaps(mesh)
    set_lid_gaps(mesh, gaps / gaps.mean() * draw(numbers(0.2, 0.5)))
    shift = np.array([draw(numbers(-0.5, 0.5)) for _ in range(3)], np.float32)
    size = math.exp(draw(numbers(-0.7, 0.5)))
    return np.asarray(size * mesh @ draw(turns()).T + shift, np.float32)
