"""Clips are decoded once, and a clip that cannot be read costs itself alone."""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from avatarify_plus.errors import DataError
from avatarify_plus.program.file_lock import locked
from training.data.cache import Cache, _read_done, build_cache, cache_folder, list_clips, open_cache, read_clip


def test_the_cache_holds_every_frame_and_its_face(cache: Cache) -> None:
    assert [(clip.identity, clip.count) for clip in cache.clips] == [("a", 4), ("b", 4), ("c", 1)]
    assert cache.frames.shape == (9, 256, 256, 3)
    assert not np.isnan(cache.landmarks[:]).any()


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
    assert (after.frames[:] == 7).all() and not (before.frames[:] == 7).all()


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
    assert (build_cache(folder, tmp_path / "cache", 32, 1).frames[:] == 50).all()
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


DAMAGE = {
    "pictures cut": (lambda out: os.truncate(out / "frames.u8", 1000), "frames.u8 has 1000 bytes instead of"),
    "meshes gone": (lambda out: (out / "landmarks.f32").unlink(), "landmarks.f32 has 0 bytes"),
    "a clip beyond the end": (lambda out: altered(out, lambda v: v["clips"][1].update(start=9000)), "beyond the 9"),
    "a clip without its number": (
        lambda out: altered(out, lambda v: v["clips"][0].pop("count")),
        "a clip that is none",
    ),
    "no count": (lambda out: altered(out, lambda v: v.pop("count")), "does not say what it holds"),
    "another count": (lambda out: altered(out, lambda v: v.update(count=8)), "lists the clip 'c_1' beyond the 8"),
    "a text for a number": (lambda out: altered(out, lambda v: v["clips"][0].update(start="0")), "lists the clip"),
}


def altered(out: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads((out / "index.json").read_text())
    change(values)
    (out / "index.json").write_text(json.dumps(values))


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_cache_is_one_line_and_made_again(
    clips: Path, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = build_cache(clips, tmp_path, 32, 1).frames[:]
    (out,) = (path.parent for path in tmp_path.rglob("index.json"))
    damage, message = DAMAGE[name]
    damage(out)
    with pytest.raises(DataError, match=f"the cache in .* is damaged: .*{message}.*; delete it"):
        open_cache(out)
    np.testing.assert_array_equal(build_cache(clips, tmp_path, 32, 1).frames[:], before)
    assert "is damaged, it is made again" in caplog.text


def test_an_index_that_is_none_is_no_cache(tmp_path: Path) -> None:
    for text in ("[1]", "{", "5", "[" * 100_000):
        (tmp_path / "index.json").write_text(text)
        with pytest.raises(DataError, match="holds no finished cache"):
            open_cache(tmp_path)


def test_an_index_of_a_folder_that_no_folder_can_be_is_nobodys(tmp_path: Path) -> None:
    plain = cache_folder(tmp_path / "clips", tmp_path)
    plain.mkdir()
    for name in ("\ud800", "a\0b"):
        (plain / "index.json").write_text(json.dumps({"folder": name}))
        assert cache_folder(tmp_path / "clips", tmp_path) == plain


UNSOUND: dict[str, Callable[[dict[str, Any]], object]] = {
    "problems of clips that there are none of": lambda plan: plan.update(problems={"a": "none"}),
    "a problem that is no text": lambda plan: plan.update(problems={"1": [1]}),
    "more pictures than the files hold": lambda plan: plan.update(counts=[1, 10**19]),
    "fewer": lambda plan: plan.update(counts=[1, 0]),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_a_damaged_plan_of_an_unfinished_cache_is_made_again(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in (1, 2):
        cv2.imwrite(str(folder / f"a_{number}.png"), np.full((32, 32, 3), 40 * number, np.uint8))
    build_cache(folder, tmp_path / "cache", 32, 1, subject="body")
    (index,) = (tmp_path / "cache").rglob("index.json")
    values = json.loads(index.read_text())
    plan = {"wanted": values["wanted"], "folder": values["folder"], "counts": [1, 1], "problems": {}}
    UNSOUND[name](plan)
    index.with_name("plan.json").write_text(json.dumps(plan))
    index.with_name("done.jsonl").write_text(
        "\n".join(
            ('{"index": 0, "count": 1, "problem": null}', '{"index": 1, "count": 1, "problem": null}', "[" * 9000)
        )
    )
    index.with_name("frames.u8").write_bytes(bytes(2 * 32 * 32 * 3))  # all that is done is black
    index.unlink()
    assert [int(frame.mean()) for frame in build_cache(folder, tmp_path / "cache", 32, 1, subject="body").frames] == [
        40,
        80,
    ]


def test_what_is_done_of_an_unfinished_cache_is_kept_beside_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "done.jsonl").write_text('{"index": 0, "count": 1, "problem": null}\n' + "[" * 100_000 + "\n[1]\n5")
    assert list(_read_done(tmp_path)) == [0]


def test_folders_of_like_names_are_kept_apart(tmp_path: Path) -> None:
    folders = [tmp_path / place / "data" / "train" for place in ("one", "two", "three")]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "a_1.png"), np.full((32, 32, 3), 10 * number + 10, np.uint8))
    for _ in range(2):
        for number, folder in enumerate(folders):
            assert (build_cache(folder, tmp_path / "cache", 32, 1).frames[:] == 10 * number + 10).all()
    assert len(list((tmp_path / "cache").iterdir())) == 3
    assert cache_folder(folders[0], tmp_path / "cache").name == "data-train", "the first keeps the short name"


def test_a_cache_of_a_version_that_named_no_folder_is_its_clips(tmp_path: Path) -> None:
    folders = [tmp_path / place / "data" for place in ("one", "two")]
    for folder in folders:
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "a_1.png"), np.full((32, 32, 3), 10, np.uint8))
    build_cache(folders[0], tmp_path / "cache", 32, 1)
    out = tmp_path / "cache" / "one-data"
    altered(out, lambda values: values.pop("folder"))
    assert cache_folder(folders[0], tmp_path / "cache") == out


def test_two_programs_do_not_write_one_cache(clips: Path, tmp_path: Path) -> None:
    out = cache_folder(clips, tmp_path)
    out.mkdir(parents=True)
    began, found = threading.Event(), []

    def build() -> None:
        began.set()
        found.append(build_cache(clips, tmp_path, 32, 1))

    with locked(out / ".lock") as is_held:
        assert is_held
        other = threading.Thread(target=build)
        other.start()
        began.wait()
        time.sleep(0.3)
        assert not (out / "plan.json").exists()
    other.join(60)
    assert len(found[0].clips) == 3
