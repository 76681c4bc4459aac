"""Tiny models, exported once per test run through the command lines that users run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from avatarify_plus import settings
from avatarify_plus.bundle import Bundle, open_bundle
from avatarify_plus.program.command_line import python_problem
from tiny_models import lively_model, photo_model, save_as_training_does

if (problem := python_problem()) is not None:
    pytest.exit(f"avatarify: error: {problem}", returncode=1)

FIXTURES = Path(__file__).resolve().parent / "fixtures"


@pytest.fixture(scope="session", autouse=True)
def config_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Put an empty folder in the place of the one where the user's programs keep their settings and models."""
    folder = tmp_path_factory.mktemp("config")
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("CONFIG", "DATA"):
            patch.setenv(f"XDG_{kind}_HOME", str(folder))  # Linux, and macOS where platformdirs heeds it
        for name in ("APPDATA", "LOCAL_APPDATA"):
            patch.setenv(f"WIN_PD_OVERRIDE_{name}", str(folder))
        assert settings.path().is_relative_to(folder), "platformdirs heeds none of these: the tests would touch yours"
        yield folder


@pytest.fixture(autouse=True)
def no_settings(config_home: Path) -> None:
    """Let every test begin without settings."""
    shutil.rmtree(config_home / "avatarify_plus", ignore_errors=True)


@pytest.fixture(scope="session")
def fomm_checkpoint() -> Path:
    """Return a checkpoint of the original First Order Model code with a narrow network; seeded random weights."""
    return FIXTURES / "fomm-tiny.pth.tar"


@pytest.fixture(scope="session")
def fomm_io() -> Path:
    """Return what the original code computes with that checkpoint."""
    return FIXTURES / "fomm-tiny-io.npz"


@pytest.fixture(scope="session")
def blend_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a training checkpoint of a tiny `ours-skip` network with keypoints from the mesh."""
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.pt"
    save_as_training_does(lively_model("ours-skip", "mesh", 20), path)
    return path


@pytest.fixture(scope="session")
def blend_bundle(blend_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return that checkpoint, exported."""
    from export import onnx_bundle

    folder = tmp_path_factory.mktemp("bundles")
    metrics = folder / "metrics.json"
    metrics.write_text(json.dumps({"L1": 0.25}))
    out = folder / "tiny-skip"
    assert onnx_bundle.main([str(blend_checkpoint), str(out), "--metrics", str(metrics), "--licence", "CC0"]) == 0
    return open_bundle(out)


@pytest.fixture(scope="session")
def ours_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a tiny `ours` network with learned keypoints, exported."""
    from export import onnx_bundle

    folder = tmp_path_factory.mktemp("bundles")
    save_as_training_does(lively_model("ours", "learned", 10), folder / "checkpoint.pt")
    assert onnx_bundle.main([str(folder / "checkpoint.pt"), str(folder / "tiny-ours")]) == 0
    return open_bundle(folder / "tiny-ours")


@pytest.fixture(scope="session")
def fomm_bundle(fomm_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return the original First Order Model checkpoint, imported."""
    from export import import_fomm

    out = tmp_path_factory.mktemp("bundles") / "tiny-fomm"
    assert import_fomm.main([str(fomm_checkpoint), str(out)]) == 0
    return open_bundle(out)


@pytest.fixture(scope="session")
def mixed_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a tiny `ours-skip` network with keypoints from the mesh and from its detector, exported."""
    from export import onnx_bundle

    folder = tmp_path_factory.mktemp("bundles")
    save_as_training_does(lively_model("ours-skip", "both", 24, learned_count=4), folder / "checkpoint.pt")
    assert onnx_bundle.main([str(folder / "checkpoint.pt"), str(folder / "tiny-mixed")]) == 0
    return open_bundle(folder / "tiny-mixed")


@pytest.fixture(scope="session")
def photo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a tiny network with `photo_reach`, contours and painters of mouth and eyes, exported."""
    from export import onnx_bundle

    folder = tmp_path_factory.mktemp("bundles")
    save_as_training_does(photo_model(), folder / "checkpoint.pt")
    assert onnx_bundle.main([str(folder / "checkpoint.pt"), str(folder / "tiny-photo")]) == 0
    return open_bundle(folder / "tiny-photo")
