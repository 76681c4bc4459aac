"""Clips are found in every layout, read whatever their pictures are like, and the cache names what it cannot read."""

import json
import logging
import os
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import PIL.Image
import pytest

import training.data.cache
import training.data.datasets
from avatarify_plus.errors import DataError
from avatarify_plus.types import Image
from training.data.cache import LOCK, Cache, build_cache, list_clips, open_cache, read_clip, read_frames
from training.data.datasets import (
    ClipError,
    clip_identity,
    count_pictures,
    find_clips,
    frame_rate,
    look_through,
    read_pairs,
    stream_pictures,
)

ROOT = Path(__file__).resolve().parents[3]
SIZE = 64


@pytest.fixture(scope="module")
def frames() -> list[Image]:
    """The first twelve frames of the bundled driver, small."""
    return read_clip(ROOT / "examples" / "driver.mp4", 128)[:12]


def write_pictures(folder: Path, frames: list[Image], name: str = "{:07d}.png", first: int = 0) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, first):
        cv2.imwrite(str(folder / name.format(number)), frame[..., ::-1])


def write_video(path: Path, frames: list[Image], rate_hz: int = 25, turned: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate_hz, options={"crf": "10", "bf": "0", "g": "4"})
        stream.height, stream.width = frames[0].shape[:2]
        if turned:
            stream.set_display_rotation(turned)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame))))
        container.mux(stream.encode(None))


def write_gif(path: Path, frames: list[Image]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = (PIL.Image.fromarray(frame) for frame in frames)
    first.save(path, save_all=True, append_images=rest, duration=40)


def cut_short(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


def make_voxceleb(folder: Path, frames: list[Image]) -> None:
    write_pictures(folder / "train" / "id10001#7w0IBEWc9Qw#000993#000996.mp4", frames[:3])
    write_pictures(folder / "train" / "id10001#zZZ#000001#000003.mp4", frames[3:5])
    write_pictures(folder / "train" / "id10002#a_b#000001#000003.mp4", frames[5:7])
    write_pictures(folder / "test" / "id10270#8jEAjG6SegY#000008#000010.mp4", frames[7:9])


def make_taichi(folder: Path, frames: list[Image]) -> None:
    write_pictures(folder / "train" / "-_Vid_1#000261#000263.mp4", frames[:2], "{:04d}.jpg")
    write_pictures(folder / "test" / "oNkBx4CZuEg#000000#000002.mp4", frames[2:4], "{:04d}.jpg")


def make_mgif(folder: Path, frames: list[Image]) -> None:
    write_gif(folder / "train" / "00000.gif", frames[:3])
    write_gif(folder / "train" / "00001.gif", frames[3:5])
    write_gif(folder / "test" / "00002.gif", frames[5:7])


def make_ours(folder: Path, frames: list[Image]) -> None:
    write_video(folder / "anna_01.mp4", frames[:4])
    write_video(folder / "more" / "anna_02.mp4", frames[4:8])
    write_video(folder / "ben.mp4", frames[:2])
    cv2.imwrite(str(folder / "carl_1.jpg"), frames[0][..., ::-1])
    (folder / "notes.txt").write_text("not a clip")
    (folder / "._anna_01.mp4").write_bytes(b"what another system leaves behind")


LAYOUTS = {
    make_voxceleb: {
        "id10001#7w0IBEWc9Qw#000993#000996": ("id10001", 3),
        "id10001#zZZ#000001#000003": ("id10001", 2),
        "id10002#a_b#000001#000003": ("id10002", 2),
    },
    make_taichi: {"-_Vid_1#000261#000263": ("-_Vid_1", 2)},
    make_mgif: {"00000": ("00000", 3), "00001": ("00001", 2)},
    make_ours: {"anna_01": ("anna", 4), "ben": ("ben", 2), "carl_1": ("carl", 1), "anna_02": ("anna", 4)},
}


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_a_layout_is_recognised(make: Callable[[Path, list[Image]], None], frames: list[Image], tmp_path: Path) -> None:
    make(tmp_path, frames)
    clips = find_clips(tmp_path)
    assert {c.name: (c.identity, len(read_frames(c.path))) for c in clips} == LAYOUTS[make]
    assert [count_pictures(c.path) for c in clips] == [len(read_frames(c.path)) for c in clips]
    assert [c.path for c in clips] == sorted(c.path for c in clips) == list_clips(tmp_path)
    first = read_frames(clips[0].path)[0].astype(float)
    assert np.abs(first - frames[0]).mean() < 8  # in order, and RGB


def test_layouts_may_be_mixed_and_their_test_parts_stay_out(frames: list[Image], tmp_path: Path) -> None:
    make_voxceleb(tmp_path / "vox", frames)
    make_taichi(tmp_path / "taichi", frames)
    make_ours(tmp_path / "own", frames)
    train, test = ({clip.name for clip in find_clips(tmp_path, split)} for split in ("train", "test"))
    assert train == {name for make in (make_voxceleb, make_taichi, make_ours) for name in LAYOUTS[make]}
    held_out = {"id10270#8jEAjG6SegY#000008#000010", "oNkBx4CZuEg#000000#000002"}
    assert test == held_out | set(LAYOUTS[make_ours])  # what is not split is whole in each


def test_a_split_is_never_guessed(frames: list[Image], tmp_path: Path) -> None:
    write_pictures(tmp_path / "a" / "test" / "x#1#2.mp4", frames[:2])
    with pytest.raises(DataError, match="without train"):
        find_clips(tmp_path / "a")
    assert [clip.name for clip in find_clips(tmp_path / "a", "val")] == ["x#1#2"]  # the held-out part it has
    assert [clip.name for clip in find_clips(tmp_path / "a" / "test")] == ["x#1#2"]  # named by the user
    write_pictures(tmp_path / "a" / "val" / "y#1#2.mp4", frames[:2])
    assert [clip.name for clip in find_clips(tmp_path / "a", "val")] == ["y#1#2"]
    assert [clip.name for clip in find_clips(tmp_path / "a", "test")] == ["x#1#2"]
    with pytest.raises(DataError, match="no folder"):
        find_clips(tmp_path / "b")


def test_numbered_frames_in_a_split_are_a_clip_and_portraits_are_not(frames: list[Image], tmp_path: Path) -> None:
    write_pictures(tmp_path / "train" / "000017", frames[:4], "{}.png", first=8)
    clip = find_clips(tmp_path)[0]
    assert (clip.path.name, clip.name) == ("000017", "000017")
    pictures = read_frames(clip.path)
    assert [np.array_equal(a, b) for a, b in zip(pictures, frames, strict=False)] == [True] * 4  # 8, 9, 10, 11
    stills = {
        "loose in the split": (tmp_path / "1" / "train", "{:05d}.png", "train"),
        "named by person": (tmp_path / "2" / "train" / "people", "anna_{}.png", "people"),
        "outside a split": (tmp_path / "3" / "people", "{:05d}.png", "people"),
    }
    for case, (folder, name, _) in stills.items():
        write_pictures(folder, frames[:3], name)
        assert [count_pictures(path) for path in list_clips(folder.parents[0])] == [1, 1, 1], case
    gap = tmp_path / "4" / "train" / "chosen"
    write_pictures(gap, frames[:3])
    (gap / "0000001.png").rename(gap / "0000007.png")
    assert len(list_clips(tmp_path / "4")) == 3


@pytest.fixture(scope="module")
def portraits() -> list[Image]:
    """The bundled photos of three people, small, upright and mirrored."""
    photos = [read_frames(ROOT / "examples" / f"avatar_{number}.jpg")[0] for number in (1, 2, 3)]
    return [
        picture for photo in photos for picture in (cv2.resize(photo, (96, 96)), cv2.resize(photo[:, ::-1], (96, 96)))
    ]


@pytest.mark.parametrize("split", ["train", "."])
@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("frame_{:04d}.png", range(2)),
        ("frame{}.jpg", range(8, 12)),
        ("ann-frame-{:03d}.png", (0, 5, 30)),
        ("{:04d}.png", range(0, 60, 5)),
        ("out{}.webp", (3, 4, 9, 10, 11, 40)),
        ("ann_{:03d}_small.png", range(6)),
        ("shot_{0:04d}_00.{0:02d}0.png", range(10, 22)),
    ],
)
def test_folders_of_frames_are_clips_however_they_are_numbered(
    frames: list[Image], tmp_path: Path, split: str, name: str, numbers: Iterable[int]
) -> None:
    for person in ("ann", "bob"):
        (tmp_path / split / person).mkdir(parents=True)
        for frame, number in zip(frames, numbers, strict=False):
            cv2.imwrite(str(tmp_path / split / person / name.format(number)), frame[..., ::-1])
        (tmp_path / split / person / "._frame_0001.png").write_bytes(b"what another system leaves behind")
    clips = find_clips(tmp_path)
    assert [(clip.name, clip.identity) for clip in clips] == [("ann", "ann"), ("bob", "bob")]
    pictures = read_frames(clips[0].path)
    assert len(pictures) == count_pictures(clips[0].path) == len(list(numbers))
    assert all(np.abs(a.astype(float) - b).mean() < 8 for a, b in zip(pictures, frames, strict=False))  # in order


@pytest.mark.parametrize("name", ["{:05d}.png", "IMG_{}.png", "anna_{}.png", "anna_{0}_e{0}.png"])
def test_numbered_portraits_are_stills_and_no_number_is_a_person(
    portraits: list[Image], tmp_path: Path, name: str
) -> None:
    for folder in ("here", "there"):
        write_pictures(tmp_path / "train" / folder, portraits, name, first=1000)
    clips = find_clips(tmp_path)
    assert [count_pictures(clip.path) for clip in clips] == [1] * 12
    assert len({clip.identity for clip in clips}) == (1 if name.startswith("anna") else 12)


def test_what_lies_beside_frames_is_found_too(frames: list[Image], tmp_path: Path) -> None:
    write_pictures(tmp_path / "ann", frames[:3], "frame_{}.png")
    write_video(tmp_path / "ann" / "talk.mp4", frames[:3])
    write_pictures(tmp_path / "ann" / "second", frames[3:6], "frame_{}.png")
    assert [clip.path.relative_to(tmp_path).as_posix() for clip in find_clips(tmp_path)] == [
        "ann",
        "ann/second",
        "ann/talk.mp4",
    ]


def test_equal_names_in_different_folders_are_different_people(frames: list[Image], tmp_path: Path) -> None:
    for person in ("ann", "bob"):
        write_pictures(tmp_path / person / "frames", frames[:2], "frame_{}.png")
        for number in (1, 2):
            write_video(tmp_path / person / f"clip_{number}.mp4", frames[:2])
        cv2.imwrite(str(tmp_path / person / "IMG_1000.jpg"), frames[0])
    clips = find_clips(tmp_path)
    assert len(clips) == len({clip.identity for clip in clips}) == 8
    assert "ann/clip_1" in {clip.identity for clip in clips}


def test_a_cover_beside_frames_and_what_systems_leave_do_not_hide_the_clip(frames: list[Image], tmp_path: Path) -> None:
    write_pictures(tmp_path / "ann", frames[:8], "frame_{:04d}.png")
    cv2.imwrite(str(tmp_path / "ann" / "cover.jpg"), frames[0])
    (tmp_path / "ann" / "Thumbs.db").write_bytes(b"\0")
    write_pictures(tmp_path / "@eaDir" / "ann.jpg", frames[:1], "SYNOPHOTO_THUMB_{}.jpg")
    write_pictures(tmp_path / "__MACOSX", frames[:1])
    found = look_through(tmp_path)
    assert [(clip.name, count_pictures(clip.path)) for clip in found.clips] == [("ann", 8), ("cover", 1)]
    assert len(read_frames(tmp_path / "ann")) == 8 and not found.left_out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are not files here")
def test_pipes_and_links_to_nothing_are_named_and_not_waited_for(
    frames: list[Image], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "data"
    write_pictures(folder / "ann", frames[:2], "frame_{}.png")
    os.mkfifo(folder / "pipe.mp4")
    os.mkfifo(folder / "pipe.png")
    (folder / "gone.mp4").symlink_to("nowhere.mp4")
    cache = build_cache(folder, tmp_path / "cache", SIZE, 1, subject="any")
    assert [clip.name for clip in cache.clips] == ["ann"]
    (said,) = (record.message for record in caplog.records if record.message.startswith("skipped"))
    assert said.startswith("skipped 3 of 4 clips: ") and said.count("it is a pipe or a device") == 2
    assert "gone (No such file or directory)" in said
    with pytest.raises(ClipError, match="it is a pipe"):
        frame_rate(folder / "pipe.mp4")


@pytest.mark.parametrize("fault", [NotImplementedError, OverflowError, MemoryError, KeyError, EOFError])
def test_whatever_a_decoder_raises_costs_the_clip_alone(
    fault: type[Exception], frames: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "data" / "ann_1.mp4", frames[:2])
    write_pictures(tmp_path / "data" / "bob", frames[:2], "frame_{}.png")

    def failing(frame: object) -> Image:
        raise fault("no such pixels")

    monkeypatch.setattr(training.data.datasets, "_to_picture", failing)
    cache = build_cache(tmp_path / "data", tmp_path / "cache", SIZE, 1, subject="any")
    assert [clip.name for clip in cache.clips] == ["bob"]


@pytest.mark.parametrize("suffix", ["m4v", "MTS", "mpg", "wmv", "ts"])
def test_videos_are_known_by_all_their_suffixes(frames: list[Image], tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ann_1.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video" if suffix == "mpg" else "libx264" if suffix != "wmv" else "wmv2", 25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode(None))
    (clip,) = find_clips(tmp_path)
    assert (clip.name, clip.identity) == ("ann_1", "ann")
    assert len(read_frames(path)) == len(frames)
    assert build_cache(tmp_path, tmp_path / "cache", SIZE, 1, subject="any").clips[0].count == len(frames)


@pytest.mark.parametrize("suffix", ["webp", "bmp", "tif", "tiff", "JPEG"])
def test_photos_are_known_by_all_their_suffixes(frames: list[Image], tmp_path: Path, suffix: str) -> None:
    PIL.Image.fromarray(frames[0]).save(tmp_path / f"ann_1.{suffix}")
    assert [(clip.name, count_pictures(clip.path)) for clip in find_clips(tmp_path)] == [("ann_1", 1)]
    assert np.abs(read_frames(tmp_path / f"ann_1.{suffix}")[0].astype(float) - frames[0]).mean() < 8


def test_what_is_left_out_is_named(frames: list[Image], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "data"
    cv2.imwrite(str(tmp_path / "x.png"), frames[0])
    for name in ("more/talk.braw", "face.raw", "._face.jpg", ".Trashes/old.mp4", "notes.txt", "report.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0\5\x16\7")
    with pytest.raises(
        DataError, match=r"no videos or photos .* files that are not named .*: face\.raw, more/talk\.braw$"
    ):
        find_clips(folder)
    (tmp_path / "x.png").rename(folder / "IMG_1000.png")
    with caplog.at_level(logging.INFO):
        build_cache(folder, tmp_path / "cache", SIZE, 1)
    said = [record.message for record in caplog.records]
    assert [line for line in said if ": left out 2 files" in line and line.endswith(": face.raw, more/talk.braw")]
    assert [line for line in said if ": 1 photo, by their names of 1 person; 1 photo such as IMG_1000.png" in line]
    cv2.imwrite(str(folder / "ann_1.png"), frames[0])
    cv2.imwrite(str(folder / "ann_2.png"), frames[0])
    first, second = training.data.cache.take_stock(folder).splitlines()
    assert first.startswith(f"{folder}: 3 photos, by their names of 2 people; several of ann (2); 1 photo such as")
    assert second.strip().startswith("left out 2 files")
    assert training.data.cache.take_stock(tmp_path / "cache" / "-".join(folder.parts[-2:])).endswith(
        ": a cache of 1 clip, 1 picture, of 1 person"
    )


def test_links_that_run_in_a_circle_end(frames: list[Image], tmp_path: Path) -> None:
    write_pictures(tmp_path / "data" / "x.mp4", frames[:2])
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    (tmp_path / "here").symlink_to(tmp_path / "data")
    assert [clip.name for clip in find_clips(tmp_path / "here")] == ["x"]


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("id1#v_1#2", "id1"),
        ("v_1#2#3", "v_1"),
        ("anna_1_2", "anna"),
        ("017_3", "017"),
        ("00017", "00017"),
        ("_x", "_x"),
        ("#1", "#1"),
        *((name, name) for name in ("IMG_1000", "img_1", "DSC_0001", "100_0001", "PXL_20240131", "20240131_120000")),
        *((name, name) for name in ("frame_0001", "IMG-20240131-WA0001", "photo_1", "_MG_0001", "VID_2")),
        *((name, name) for name in ("Screen_Recording_1", "session_2", "talk_1", "Subject_12", "part_3")),
    ],
)
def test_identities(name: str, identity: str) -> None:
    assert clip_identity(name) == identity


def test_every_kind_of_picture_becomes_rgb(tmp_path: Path) -> None:
    folder = tmp_path / "kinds.mp4"
    colour = np.full((8, 8, 3), (10, 20, 30), np.uint8)  # blue, green, red, as OpenCV has them
    clear = np.dstack([colour, np.zeros((8, 8), np.uint8)])
    kinds = [colour, colour.astype(np.uint16) * 257, colour[..., 0], clear, clear.astype(np.uint16) * 257]
    folder.mkdir()
    for number, kind in enumerate(kinds):
        cv2.imwrite(str(folder / f"{number}.png"), kind)
    pictures = read_frames(folder)
    assert all(picture.shape == (8, 8, 3) and picture.dtype == np.uint8 for picture in pictures)
    expected = [(30, 20, 10), (30, 20, 10), (10, 10, 10), (255, 255, 255), (255, 255, 255)]
    assert [tuple(int(v) for v in picture[4, 4]) for picture in pictures] == expected


def test_a_transparent_gif_shows_white(tmp_path: Path) -> None:
    red = PIL.Image.new("RGBA", (16, 16), (255, 0, 0, 255))
    red.paste((0, 0, 0, 0), (0, 0, 8, 16))
    red.save(tmp_path / "x.gif", save_all=True, append_images=[red.rotate(180)], disposal=2)
    for picture, (left, right) in zip(read_frames(tmp_path / "x.gif"), ("wr", "rw"), strict=True):
        colours = {"w": (255, 255, 255), "r": (254, 0, 0)}
        np.testing.assert_allclose(picture[8, 3], colours[left], atol=4)
        np.testing.assert_allclose(picture[8, 12], colours[right], atol=4)


@pytest.mark.skipif(not hasattr(av.video.stream.VideoStream, "set_display_rotation"), reason="PyAV cannot write it")
@pytest.mark.parametrize("turned", [90, -90, 180])
def test_a_phone_video_is_upright(turned: int, frames: list[Image], tmp_path: Path) -> None:
    upright = frames[0][:, :96]
    write_video(tmp_path / "x.mp4", [np.rot90(upright, -turned // 90)] * 2, turned=turned)
    picture = read_frames(tmp_path / "x.mp4")[0]
    assert picture.shape == upright.shape and np.abs(picture.astype(float) - upright).mean() < 4


def test_a_clip_that_breaks_off_is_used_up_to_there(frames: list[Image], tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    write_video(path, frames, rate_hz=50)
    assert frame_rate(path) == Fraction(50)
    cut_short(path, 0.7)
    found = []
    with pytest.raises(ClipError, match=r"x\.mp4") as caught:
        found.extend(stream_pictures(path))
    assert str(path) not in caught.value.reason
    usable = read_frames(path)
    assert 2 <= len(usable) < len(frames)
    assert all(np.abs(a.astype(float) - b).mean() < 4 for a, b in zip(usable, frames, strict=False))
    cut_short(path, 0.15)
    with pytest.raises(DataError, match=r"x\.mp4"):
        read_frames(path)


@pytest.mark.parametrize(("name", "content"), [("x.gif", b"GIF89a"), ("x.webm", b"\x1a\x45\xdf\xa3"), ("x.mp4", b"")])
def test_a_video_that_ends_at_once_is_a_clip_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    for read in (count_pictures, frame_rate, lambda path: list(stream_pictures(path))):
        with pytest.raises(ClipError, match=name.replace(".", r"\.")):
            read(tmp_path / name)


def test_a_video_without_a_decoder_is_a_clip_error(frames: list[Image], tmp_path: Path) -> None:
    path = tmp_path / "x.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", 25)
        stream.height, stream.width = frames[0].shape[:2]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode(None))
    assert len(read_frames(path)) == len(frames)
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"ZZZZ"))
    with pytest.raises(ClipError, match=r"x\.avi"):
        list(stream_pictures(path))


def test_pairs_lists(frames: list[Image], tmp_path: Path) -> None:
    make_voxceleb(tmp_path / "vox", frames)
    clips = find_clips(tmp_path / "vox")
    names = [clip.path.name for clip in clips]
    table = tmp_path / "vox256.csv"
    table.write_text(f"distance,source,driving,frame\n3.5,{names[0]},{names[1]},1\n0,{clips[2].name},{names[0]},\n")
    pairs = read_pairs(table, clips)
    assert [(p.source, p.driving, p.best_frame) for p in pairs] == [(clips[0], clips[1], 1), (clips[2], clips[0], 0)]
    for text, expected in (
        ("source,best_frame\nx,0\n", "lacks driving"),
        ("", "lacks source and driving"),
        (f"source,driving\n{names[0]},id10270#x.mp4\n", "line 2: there is no clip 'id10270#x.mp4'"),
        (f"source,driving\n{names[0]}\n", "line 2: there is no clip ''"),
        (f"source,driving\n\n{names[0]},{names[1]}\n\n{names[0]},gone\n", "line 5: there is no clip 'gone'"),
        ("source,driving\n..\\,/\n", "line 2: there is no clip"),
        (f"source,driving,best_frame\n{names[0]},{names[1]},first\n", "'first' is not the number"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=expected) as caught:
            read_pairs(table, clips)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"none\.csv"):
        read_pairs(tmp_path / "none.csv", clips)


def test_pairs_lists_as_other_programs_write_them(frames: list[Image], tmp_path: Path) -> None:
    write_pictures(tmp_path / "ann", frames[:1], "a_{}.png")
    write_pictures(tmp_path / "bob", frames[:1], "b_{}.png")
    write_pictures(tmp_path / "jürgen", frames[:1], "ü_{}.png")
    clips = find_clips(tmp_path)
    rows = [("a_0", "b_0", 3), ("ü_0", "a_0", 0)]
    by_name = {clip.name: clip for clip in clips}
    expected = [(by_name[source], by_name[driving], frame) for source, driving, frame in rows]
    table = tmp_path / "pairs.csv"
    for content in (
        ",source,driving,best_frame\n0,a_0.png,b_0.png,3.0\n1,ü_0.png,a_0.png,\n".encode(),  # pandas, with an index
        b"\xef\xbb\xbf" + '"source","driving","frame"\n"a_0","b_0","3"\n"ü_0","a_0","nan"\n'.encode(),
        "source;driving;frame\r\nann\\a_0.png;bob\\b_0.png;3\r\njürgen\\ü_0.png;ann\\a_0.png;\r\n;;\r\n".encode(
            "cp1252"
        ),
        f"sep=;\r\n Source ; Driving ;Frame\r\n{tmp_path}/ann/a_0.png; b_0 ;3\r\nü_0;./ann/a_0;0\r\n".encode(),
        "source\tdriving\tframe\r\na_0\tb_0\t3\r\nü_0\tC:\\d\\ann\\a_0.png\t0\r\n".encode("utf-16"),
    ):
        table.write_bytes(content)
        pairs = [(p.source, p.driving, p.best_frame) for p in read_pairs(table, [*clips, *clips])]
        assert pairs == expected, content


def test_a_pair_of_clips_with_equal_names_is_told_by_their_folders(frames: list[Image], tmp_path: Path) -> None:
    write_pictures(tmp_path / "ann", frames[:1], "{}.png")
    write_pictures(tmp_path / "bob", frames[:1], "{}.png")
    clips, table = find_clips(tmp_path), tmp_path / "pairs.csv"
    table.write_text("source,driving\nbob/0.png,ann\\0.png\n")
    assert [(p.source, p.driving) for p in read_pairs(table, clips)] == [(clips[1], clips[0])]
    table.write_text("source,driving\n0,ann/0\n")
    with pytest.raises(DataError, match="line 2: 2 clips are called '0': write its folder"):
        read_pairs(table, clips)


@pytest.fixture
def mixed(frames: list[Image], tmp_path: Path) -> Path:
    """Three sound clips, one that breaks off and three that cannot be read."""
    folder = tmp_path / "data" / "mixed"
    write_pictures(folder / "train" / "id1#a#1#3.mp4", frames[:3])
    write_gif(folder / "train" / "id2#b.gif", frames[:2])
    write_video(folder / "train" / "id3#c.mp4", frames[:4])
    write_video(folder / "train" / "id4#short.mp4", frames, rate_hz=50)
    cut_short(folder / "train" / "id4#short.mp4", 0.7)
    (folder / "train" / "id5#noise.mp4").write_bytes(b"not a video")
    (folder / "train" / "id6#empty.png").write_bytes(b"")
    write_video(folder / "train" / "id7#stump.mp4", frames)
    cut_short(folder / "train" / "id7#stump.mp4", 0.2)
    write_pictures(folder / "test" / "id8#t#1#3.mp4", frames[:2])
    return folder


def contents(cache: Cache) -> dict[str, list[int]]:
    return {
        clip.name: [int(cache.frames[row].mean()) for row in range(clip.start, clip.start + clip.count)]
        for clip in cache.clips
    }


def test_the_cache_names_what_it_skips(mixed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        cache = build_cache(mixed, tmp_path / "cache", SIZE, 1)
    counts = {clip.name: clip.count for clip in cache.clips}
    assert 2 <= counts.pop("id4#short") < 12
    assert counts == {"id1#a#1#3": 3, "id2#b": 2, "id3#c": 4}
    said = [record.message for record in caplog.records]
    assert said[0].endswith("5 videos, 1 folder of frames, 1 photo, by their names of 7 people")
    assert "GB" in said[1] and said[1].startswith("decoding")
    assert any("1 of 7 clips break off: id4#short" in line for line in said)
    assert said[-1].startswith("skipped 3 of 7 clips: id5#noise (") and "id7#stump" in said[-1]
    out = tmp_path / "cache" / "mixed-train"
    index = json.loads((out / "index.json").read_text())
    assert [clip["name"] for clip in index["skipped"]] == ["id5#noise", "id6#empty", "id7#stump"]
    assert all(clip["reason"] for clip in index["skipped"])
    left = sorted(path.name for path in out.iterdir() if path.name != LOCK)
    assert left == ["frames.u8", "index.json", "landmarks.f32"]
    for row, frame in enumerate(read_clip(mixed / "train" / "id1#a#1#3.mp4", SIZE)):
        np.testing.assert_array_equal(cache.frames[row], frame)
    used = {row for clip in cache.clips for row in range(clip.start, clip.start + clip.count)}
    assert np.isnan(cache.landmarks[:][[row for row in range(len(cache.landmarks)) if row not in used]]).all()


def test_each_split_has_a_cache_and_an_index_of_before_still_counts(mixed: Path, tmp_path: Path) -> None:
    root = tmp_path / "cache"
    cache = build_cache(mixed, root, SIZE, 1)
    assert [clip.identity for clip in build_cache(mixed, root, SIZE, 1, "test").clips] == ["id8"]
    index = root / "mixed-train" / "index.json"
    values = json.loads(index.read_text())
    del values["skipped"]
    index.write_text(json.dumps(values))
    os.utime(index, (1, 1))
    assert contents(build_cache(mixed, root, SIZE, 1)) == contents(cache)
    assert index.stat().st_mtime == 1  # not made again
    assert contents(build_cache(mixed / "train", root, SIZE // 2, 1)).keys() == contents(cache).keys()
    assert index.stat().st_mtime != 1  # another size
    index.write_text(index.read_text()[:50])
    with pytest.raises(DataError, match="no finished cache"):
        open_cache(index.parent)


def test_a_killed_build_goes_on(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build_cache(mixed, tmp_path / "whole", SIZE, 1)
    out, decode = tmp_path / "cache" / "mixed-train", training.data.cache._decode
    decoded: list[str] = []

    def dying(job: training.data.cache.DecodeJob) -> training.data.cache.Decoded:
        if len(decoded) == 2:
            raise KeyboardInterrupt
        decoded.append(job.path.name)
        return decode(job)

    monkeypatch.setattr(training.data.cache, "_decode", dying)
    with pytest.raises(KeyboardInterrupt):
        build_cache(mixed, tmp_path / "cache", SIZE, 1)
    with pytest.raises(DataError, match="no finished cache"):
        open_cache(out)
    with open(out / "done.jsonl", "a") as file:
        file.write('{"index": 2, "cou')  # killed while writing
    before = list(decoded)
    monkeypatch.setattr(training.data.cache, "_decode", lambda job: (decoded.append(job.path.name), decode(job))[1])
    cache = build_cache(mixed, tmp_path / "cache", SIZE, 1)
    assert len(decoded) == len(set(decoded)) and decoded[:2] == before
    assert contents(cache) == contents(whole)
    np.testing.assert_array_equal(cache.landmarks[:], whole.landmarks[:])


def test_a_full_disk_is_reported_before_decoding(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = training.data.cache.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(training.data.cache.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DataError, match=r"needs .* GB, .* GB free"):
        build_cache(mixed, tmp_path / "cache", SIZE, 1)


def test_nothing_but_damage_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in "abcdefghijkl":
        (tmp_path / "data" / f"{name}.mp4").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"none of the 12 clips can be read: a \(.*\(and 2 more\)"):
        build_cache(tmp_path / "data", tmp_path / "cache", SIZE, 1)
