"""Clips and their cache, decoded once for all tests of training."""

from pathlib import Path

import cv2
import pytest

from fakes import EXAMPLES
from training.data.cache import Cache, build_cache, read_clip


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short clips cut from the bundled driver, and one photo."""
    folder = tmp_path_factory.mktemp("clips")
    frames = read_clip(EXAMPLES / "driver.mp4", 256)
    for name, start in (("a_1", 20), ("b_1", 100)):
        writer = cv2.VideoWriter(str(folder / f"{name}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, (256, 256))
        for frame in frames[start : start + 4]:
            writer.write(frame[..., ::-1])
        writer.release()
    photo = cv2.resize(cv2.imread(str(EXAMPLES / "avatar_1.jpg")), (256, 256), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / "c_1.png"), photo)
    return folder


@pytest.fixture(scope="session")
def cache(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return build_cache(clips, tmp_path_factory.mktemp("cache"), 256, 1)
