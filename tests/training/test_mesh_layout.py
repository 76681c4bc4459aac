"""A mesh layout is made of the mean of frontal faces, made symmetric."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from synthetic_cache import mean_face, write_cache
from training import mesh_layout

SHIPPED = json.loads((resources.files("avatarify_plus") / "mesh_layouts" / "face-20.json").read_text())


def faces(count: int = 10) -> np.ndarray:
    """Return frontal faces (N, 478, 3) of several sizes and places."""
    random = np.random.default_rng(0)
    found = np.zeros((count, 478, 3), np.float32)
    found[..., :2] = mean_face() * random.uniform(0.1, 0.3, (count, 1, 1)) + random.uniform(0.3, 0.7, (count, 1, 2))
    return found


def test_the_shipped_mean_face_gives_the_shipped_layout() -> None:
    found = mesh_layout.build_layout(faces())
    assert found["mirror"] == SHIPPED["mirror"] and found["clusters"].keys() == SHIPPED["clusters"].keys()
    assert all(sorted(points) == sorted(SHIPPED["clusters"][name]) for name, points in found["clusters"].items())
    np.testing.assert_allclose(found["mean_face"], SHIPPED["mean_face"], atol=0.01)  # an average is a little smaller


def test_frames_without_a_face_do_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = write_cache(tmp_path / "cache", {"a_1": 12})
    landmarks = np.full((12, 478, 3), np.nan, np.float32)
    landmarks[:10] = faces()
    landmarks.tofile(cache / "landmarks.f32")
    out = tmp_path / "layouts" / "face.json"
    assert mesh_layout.main([str(cache), str(out)]) == 0
    assert "20 keypoints written" in capsys.readouterr().out
    assert json.loads(out.read_text())["mirror"] == SHIPPED["mirror"]


def test_a_crooked_mean_face_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = write_cache(tmp_path / "cache", {"a_1": 5})
    np.random.default_rng(0).random((5, 478, 3)).astype(np.float32).tofile(cache / "landmarks.f32")
    assert mesh_layout.main([str(cache), str(tmp_path / "face.json")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("avatarify: error: the mean face pairs these points badly") and error.count("\n") == 1
