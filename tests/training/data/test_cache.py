"""Clips are decoded once, and a clip that cannot be read costs itself alone."""

from pathlib import Path

import numpy as np
import pytest

from avatarify_plus.errors import DataError
from training.data.cache import Cache, build_cache, list_clips, read_clip


def test_the_cache_holds_every_frame_and_its_face(cache: Cache) -> None:
    assert [(clip.identity, clip.count) for clip in cache.clips] == [("a", 4), ("b", 4), ("c", 1)]
    assert cache.frames.shape == (9, 256, 256, 3)
    assert not np.isnan(cache.landmarks).any()


def test_a_corrupt_clip_is_skipped(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "bad_1.mp4").write_bytes(b"not a video")
    (folder / "good_1.mp4").write_bytes((clips / "a_1.mp4").read_bytes())
    assert [clip.name for clip in build_cache(folder, tmp_path / "cache", 64, 1).clips] == ["good_1"]
    with pytest.raises(DataError, match="bad_1"):
        read_clip(folder / "bad_1.mp4", 64)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no videos"):
        list_clips(tmp_path)
