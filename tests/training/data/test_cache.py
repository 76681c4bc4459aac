"""Clips are decoded once, and a clip that cannot be read costs itself alone."""

import json
from pathlib import Path

import cv2
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


def test_a_clip_that_is_replaced_under_its_name_is_decoded_again(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    clip = folder / "a_1.png"
    clip.write_bytes((clips / "c_1.png").read_bytes())
    before = build_cache(folder, tmp_path / "cache", 32, 1)
    written = (tmp_path / "cache" / f"{tmp_path.name}-data" / "frames.u8").stat().st_mtime_ns
    build_cache(folder, tmp_path / "cache", 32, 1)
    assert (tmp_path / "cache" / f"{tmp_path.name}-data" / "frames.u8").stat().st_mtime_ns == written
    cv2.imwrite(str(clip), np.full((32, 32, 3), 7, np.uint8))
    after = build_cache(folder, tmp_path / "cache", 32, 1)
    assert (after.frames == 7).all() and not (before.frames == 7).all()


def test_a_cache_of_a_version_that_kept_no_times_is_used_and_watched_from_then_on(clips: Path, tmp_path: Path) -> None:
    build_cache(clips, tmp_path, 32, 1)
    (index,) = tmp_path.rglob("index.json")
    values = json.loads(index.read_text())
    del values["wanted"]["stamps"]
    index.write_text(json.dumps(values))
    written = index.with_name("frames.u8").stat().st_mtime_ns
    build_cache(clips, tmp_path, 32, 1)
    assert index.with_name("frames.u8").stat().st_mtime_ns == written
    assert "stamps" in json.loads(index.read_text())["wanted"]
