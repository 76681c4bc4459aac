"""The mesh of a face, for all tests of evaluation."""

import json
from pathlib import Path

import numpy as np
import pytest

from avatarify_plus.types import FloatArray


@pytest.fixture(scope="session")
def face() -> FloatArray:
    """The mean face of the mesh layout, flat, in the middle of the picture; (478, 3)."""
    file = Path(__file__).resolve().parents[3] / "avatarify_plus" / "mesh_layouts" / "face-20.json"
    flat = np.array(json.loads(file.read_text())["mean_face"]) * 0.15 + 0.5
    return np.concatenate([flat, np.zeros((478, 1))], 1).astype(np.float32)
