"""The model in the repository does the main job: the avatar follows the driver, and stays itself."""

from pathlib import Path

import numpy as np
import pytest

from avatarify_plus.bundle import Bundle, open_bundle
from avatarify_plus.config import AppConfig
from avatarify_plus.face.mesh import FaceMesh
from avatarify_plus.live import run
from avatarify_plus.types import FloatArray, Image
from fakes import EXAMPLES, read_video

STRIDE = 10
LIPS = (13, 14)
NOSE = 1
EARS = (234, 454)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle("live-512")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Image], list[Image]]:
    """The README's main job: the example driver and the avatar that followed it, every tenth frame of both."""
    output = tmp_path_factory.mktemp("clips") / "avatar.mp4"
    driver = EXAMPLES / "driver.mp4"
    summary = run(AppConfig(avatar=(EXAMPLES / "avatar_2.jpg",), camera=str(driver), output=output))
    assert summary.frame_count == 250 and summary.faceless_count == 0
    (driving, rate), (pictures, output_rate) = read_video(driver), read_video(output)
    assert len(pictures) == len(driving) and output_rate == rate
    return driving[::STRIDE], pictures[::STRIDE]


def meshes(clip: list[Image]) -> FloatArray:
    """Return (N, 478, 3) landmarks; fails the test where a frame shows no face."""
    with FaceMesh(tracking=False) as finder:
        found = [finder.find(picture) for picture in clip]
    assert all(mesh is not None for mesh in found)
    return np.stack([mesh for mesh in found if mesh is not None])


def turn(faces: FloatArray) -> FloatArray:
    """Return how far the nose is off the middle between the ears, in face widths."""
    left, right, nose = faces[:, EARS[0], 0], faces[:, EARS[1], 0], faces[:, NOSE, 0]
    return (nose - (left + right) / 2) / (right - left)


def opening(faces: FloatArray) -> FloatArray:
    """Return the gap between the lips, in face heights."""
    height = faces[:, 152, 1] - faces[:, 10, 1]
    return np.linalg.norm(faces[:, LIPS[0], :2] - faces[:, LIPS[1], :2], axis=1) / height


def test_the_manifest_says_where_the_model_comes_from(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.licence == "MIT" and manifest.intended_use
    assert manifest.training["steps"] > 0 and manifest.training["data"]["identities"] > 1
    assert manifest.metrics["self-reenactment"]["ours"]["akd_px"] > 0
    assert manifest.network.keypoints in ("mesh", "learned", "both") and manifest.network.image_size == 256


def test_the_head_turns_and_the_mouth_opens_with_the_drivers(clips: tuple[list[Image], list[Image]]) -> None:
    driving, avatar = (meshes(clip) for clip in clips)
    assert np.corrcoef(turn(driving), turn(avatar))[0, 1] > 0.9
    assert np.corrcoef(opening(driving), opening(avatar))[0, 1] > 0.8
    assert np.ptp(turn(avatar)) > 0.5 * np.ptp(turn(driving))


def test_the_picture_moves_but_stays_the_same_person(clips: tuple[list[Image], list[Image]]) -> None:
    pictures = np.stack(clips[1]).astype(np.float32)
    assert np.abs(pictures - pictures[0]).mean(axis=(1, 2, 3)).max() > 2  # it moves
    colours = pictures.mean(axis=(1, 2))
    assert np.abs(colours - colours[0]).max() < 12  # and neither fades nor changes its skin


def test_weights_are_there_to_train_on(bundle: Bundle) -> None:
    sizes = {path.name: path.stat().st_size for path in Path(bundle.folder).iterdir()}
    assert sizes["weights.safetensors"] > 1_000_000
    assert max(sizes.values()) < 45_000_000
