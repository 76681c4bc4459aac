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


def test_a_frame_that_is_replaced_in_a_folder_has_it_decoded_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for number in range(3):
        (folder / "ann").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / "ann" / f"frame_{number}.png"), np.full((32, 32, 3), 50, np.uint8))
    assert (build_cache(folder, tmp_path / "cache", 32, 1).frames == 50).all()
    state = (folder / "ann").stat()
    frame = folder / "ann" / "frame_1.png"
    frame.write_bytes(cv2.imencode(".png", np.full((32, 32, 3), 90, np.uint8))[1].tobytes())
    assert (folder / "ann").stat().st_mtime_ns == state.st_mtime_ns  # the folder does not say so
    assert (build_cache(folder, tmp_path / "cache", 32, 1).frames[1] == 90).all()


def test_a_cache_is_kept_but_whose_faces_it_shows_is_read_again(clips: Path, tmp_path: Path) -> None:
    build_cache(clips, tmp_path, 32, 1)
    (index,) = tmp_path.rglob("index.json")
    values = json.loads(index.read_text())
    for clip in values["clips"]:
        clip["identity"] = "somebody"
    index.write_text(json.dumps(values))
    written = index.with_name("frames.u8").stat().st_mtime_ns
    assert [clip.identity for clip in build_cache(clips, tmp_path, 32, 1).clips] == ["a", "b", "c"]
    assert index.with_name("frames.u8").stat().st_mtime_ns == written
