"""Raw footage becomes clips of one face in a fixed square, and the report says what did not."""

import itertools
import json
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from avatarify_plus.errors import DataError
from avatarify_plus.face import driver_framing
from avatarify_plus.face.mesh import FaceMesh
from avatarify_plus.types import Image
from training import prepare
from training.data.cache import build_cache, read_frames
from training.data.datasets import find_clips
from training.data.face_tracks import Boxes, Stretch
from training.data.parallel import each_result
from training.prepare import (
    ClipRange,
    ClipRules,
    Footage,
    FootageJob,
    _read_note,
    clip_or_reason,
    clips_or_reasons,
    main,
    mp4_writer,
    place_square,
)

ROOT = Path(__file__).resolve().parents[2]
RATE_HZ = 25
WIDTH, HEIGHT = 640, 480
TAKE_FRAMES = 26
"""The frames of each take; with --min-seconds 1 a clip needs at least 25."""


def scene(frames: list[Image], left: int, top: int, width: int = 320) -> Iterator[Image]:
    """The driver's frames, pasted onto a still wall."""
    wall = cv2.resize(np.random.default_rng(0).integers(60, 120, (12, 16, 3), np.uint8), (WIDTH, HEIGHT))
    for frame in frames:
        picture = wall.copy()
        small = cv2.resize(frame, (width, width * 3 // 4), interpolation=cv2.INTER_AREA)
        picture[top : top + small.shape[0], left : left + width] = small
        yield picture


def write_video(path: Path, frames: list[Image], rate_hz: int = RATE_HZ) -> None:
    """Write pictures so finely that a crop can be compared."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate_hz, options={"crf": "6", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def takes() -> list[Image]:
    """A face, the same elsewhere after a cut, nobody, and the face again for a moment."""
    driver = read_frames(ROOT / "examples" / "driver.mp4")
    return [
        *scene(driver[:TAKE_FRAMES], 40, 60),
        *scene(driver[100 : 100 + TAKE_FRAMES], 290, 200),
        *[np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 6,
        *scene(driver[200:206], 40, 60),
    ]


@pytest.fixture(scope="module")
def footage(takes: list[Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    write_video(folder / "id7" / "talk.mp4", takes)
    write_video(folder / "short.mp4", takes[:6])
    (folder / "noise.mkv").write_bytes(b"not a video")
    (folder / "notes.txt").write_text("not a video either")
    return folder


@pytest.fixture(scope="module")
def out(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "clips"
    assert main(command(footage, folder)) == 0
    return folder


def command(footage: Path, out: Path, *more: str) -> list[str]:
    return [str(footage), str(out), "--min-seconds", "1", "--processes", "1", *more]


def times(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.glob("*.mp4")}


def test_each_take_of_a_face_is_a_clip(out: Path, footage: Path) -> None:
    clips = find_clips(out)
    assert [clip.name for clip in clips] == ["id7#talk#000000#000025", "id7#talk#000026#000051"]
    assert {clip.identity for clip in clips} == {"id7"}
    assert not [path for path in out.iterdir() if path.suffix == ".part"]
    report = json.loads((out / "report.json").read_text())
    assert report["clips"] == 2 and report["seconds_kept"] == pytest.approx(2 * TAKE_FRAMES / RATE_HZ)
    assert report["seconds"] == pytest.approx((2 * TAKE_FRAMES + 6 + 6 + 6) / RATE_HZ)
    assert report["damaged"].keys() == {"noise"} and report["damaged"]["noise"]
    by_video = {video["video"]: video["rejected"] for video in report["videos"]}
    assert by_video == {"id7#talk": {"no face": 1, "too short": 1}, "noise": {}, "short": {"too short": 1}}
    assert report["rejected"] == {"no face": 1, "too short": 2}


def test_a_clip_is_one_square_that_holds_the_face(out: Path, takes: list[Image]) -> None:
    report = json.loads((out / "report.json").read_text())
    clips = next(video["clips"] for video in report["videos"] if video["video"] == "id7#talk")
    assert len({tuple(clip["square"]) for clip in clips}) == 2
    for number, clip in enumerate(clips):
        left, top, side = clip["square"]
        assert 0 <= left <= WIDTH - side and 0 <= top <= HEIGHT - side
        frames = read_frames(out / clip["name"])
        assert len(frames) == clip["frames"] == TAKE_FRAMES
        with FaceMesh(tracking=True, refine=False) as mesh:
            for frame, take in zip(frames, takes[number * TAKE_FRAMES :], strict=False):
                assert frame.shape == (256, 256, 3)
                wanted = cv2.resize(take[top : top + side, left : left + side], (256, 256))
                assert np.abs(frame.astype(float) - wanted).mean() < 6
                face = mesh.find(frame)
                assert face is not None and face[:, :2].min() > 0 and face[:, :2].max() < 1
                low, high = face[:, :2].min(0), face[:, :2].max(0)
                assert 1.6 < 1 / (high - low).max() < 2.4  # as large in the square as the app makes it


def test_the_clips_are_what_training_reads(out: Path, tmp_path: Path) -> None:
    cache = build_cache(out, tmp_path, 64, 1)
    assert [(clip.identity, clip.count) for clip in cache.clips] == [("id7", TAKE_FRAMES)] * 2
    assert not np.isnan(cache.landmarks[:]).any()


def test_the_table_names_what_is_damaged(out: Path, footage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = times(out)
    assert main(command(footage, out)) == 0
    assert times(out) == before  # nothing was done again
    said = capsys.readouterr().out
    assert "damaged: noise after 0.0 s (" in said
    assert "1 no face, 2 too short" in said.splitlines()[-2]


def test_all_videos_are_used_whatever_their_suffixes_and_the_rest_is_named(
    takes: list[Image], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    footage, out = tmp_path / "footage", tmp_path / "clips"
    for suffix in ("mp4", "m4v", "ts"):
        write_video(footage / "id7" / f"talk.{suffix}", takes[:TAKE_FRAMES])
    (footage / "id7" / "talk.ts").rename(footage / "id7" / "talk.MTS")
    (footage / ".Trashes").mkdir()
    for name in ("face.heic", "id7/talk.braw", "._talk.mp4", ".Trashes/old.mp4", "notes.txt"):
        (footage / name).write_bytes(b"\0\5\x16\7")
    assert main(command(footage, out)) == 0
    names = {clip.name: clip.identity for clip in find_clips(out)}
    assert set(names.values()) == {"id7"}
    assert {name.partition("#0000")[0] for name in names} == {"id7#talk", "id7#talk#m4v", "id7#talk#mp4"}
    report = json.loads((out / "report.json").read_text())
    assert report["clips"] == len(names) == 3 and report["damaged"] == {}
    assert report["left_out"] == ["face.heic", "id7/talk.braw"]
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == "left out, not named as videos are: face.heic, id7/talk.braw"


def test_a_dry_run_says_what_would_be_used_and_writes_nothing(
    footage: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(footage, tmp_path / "clips", "--dry-run")) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"id7#talk ({(2 * TAKE_FRAMES + 12) / RATE_HZ:.1f} s), of id7"
    assert said[1].startswith("noise (damaged: ") and said[2].startswith("short (0.2 s), of short")
    assert said[3].startswith("3 videos, by their names of 3 people; ") and len(said) == 4
    assert not (tmp_path / "clips").exists()
    assert main(command(footage, out, "--dry-run")) == 0
    assert "id7#talk (done before), of id7" in capsys.readouterr().out


def test_a_video_that_is_named_may_be_called_what_it_likes(takes: list[Image], tmp_path: Path) -> None:
    write_video(tmp_path / "talk.mp4", takes[:TAKE_FRAMES])
    (tmp_path / "talk.mp4").rename(tmp_path / "talk")
    assert main(command(tmp_path / "talk", tmp_path / "clips")) == 0
    assert [clip.name for clip in find_clips(tmp_path / "clips")] == ["talk#000000#000025"]


def test_a_stopped_run_goes_on_and_leaves_nothing_half(
    footage: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cropped: list[int] = []

    def stopping(*arguments: object) -> Image:
        cropped.append(1)
        if len(cropped) > TAKE_FRAMES + 5:
            raise KeyboardInterrupt
        return np.zeros((256, 256, 3), np.uint8)

    video, again = footage / "id7" / "talk.mp4", tmp_path / "again"
    monkeypatch.setattr(prepare, "crop", stopping)
    assert main(command(video, again)) == 130
    assert list(times(again)) == ["talk#000000#000025.mp4"]  # black, of a video that is not done
    (again / "talk#000003#000025.mp4").write_bytes(b"of a run with other settings")
    monkeypatch.undo()
    assert main(command(video, again)) == 0
    assert {f"id7#{name}" for name in times(again)} == times(out).keys()
    assert read_frames(again / "talk#000000#000025.mp4")[0].mean() > 30
    assert not list(again.glob(".*.part"))


def test_changed_settings_and_changed_videos_are_done_again(footage: Path, tmp_path: Path) -> None:
    out, video = tmp_path / "out", tmp_path / "footage" / "talk.mp4"
    write_video(video, read_frames(footage / "id7" / "talk.mp4")[:TAKE_FRAMES])
    assert main(command(video, out)) == 0
    before = times(out)
    assert list(before) == ["talk#000000#000025.mp4"]
    os.utime(video, (1, 1))
    assert main(command(video, out)) == 0
    changed = times(out)
    assert changed != before and changed.keys() == before.keys()
    job = FootageJob(video, "talk", out, ClipRules(min_seconds=1.0))
    (note,) = (out / ".done").iterdir()
    written = note.read_text()
    assert _read_note(job) is not None
    for damaged in ("", "[" * 100_000, "[]", "{}", written.replace(": 26,", ": [26],"), written.replace("null", "5")):
        note.write_text(damaged)
        assert damaged != written and _read_note(job) is None, damaged[:200]
    assert main(command(video, out)) == 0
    assert note.read_text() == written and times(out) != changed
    assert main(command(video, out, "--max-seconds", "1")) == 0
    assert list(times(out)) == ["talk#000000#000024.mp4"]  # the other frame is too short a clip
    assert main(command(video, out, "--min-size", "400")) == 1
    assert not times(out)


def test_a_video_that_breaks_off_is_used_up_to_there(footage: Path, tmp_path: Path) -> None:
    path = tmp_path / "footage" / "x.mp4"
    path.parent.mkdir()
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", RATE_HZ, options={"crf": "6", "g": "10"})
        stream.width, stream.height = WIDTH, HEIGHT
        for frame in read_frames(footage / "id7" / "talk.mp4")[:TAKE_FRAMES]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes()[: int(0.9 * path.stat().st_size)])
    assert main([*command(path, tmp_path / "out"), "--min-seconds", "0.3"]) == 0
    outcome = json.loads((tmp_path / "out" / "report.json").read_text())["videos"][0]
    assert outcome["problem"] and len(outcome["clips"]) == 1
    assert 8 <= outcome["clips"][0]["frames"] < TAKE_FRAMES


def test_of_a_fast_video_every_second_frame_is_taken(tmp_path: Path) -> None:
    frames = [np.full((32, 32, 3), 40 * n, np.uint8) for n in range(6)]
    for rate_hz, step in ((60, 2), (50, 2), (30, 1), (24, 1), (120, 4)):
        write_video(tmp_path / "x.mp4", frames, rate_hz)
        footage = Footage(tmp_path / "x.mp4")
        assert footage.rate_hz == Fraction(rate_hz, step)
        assert [number for number, _ in footage.frames()] == list(range(0, 6, step))


def face_at(left: float, top: float, side: float = 100) -> Boxes:
    return np.array([left, top, left + side, top + side], np.float32)


def test_the_square_is_the_apps_and_stays_in_the_picture() -> None:
    random = np.random.default_rng(0)
    placed = 0
    for _ in range(300):
        boxes = random.uniform([0, 0], [540, 380]) + random.uniform(0, 40, (5, 2))
        boxes = np.concatenate([boxes, boxes + random.uniform(60, 140)], 1).astype(np.float32)
        square = place_square(boxes, 640, 480)
        if square is None:
            continue
        placed += 1
        right, bottom = square.left + square.width, square.top + square.height
        assert square.width == square.height and all(float(value).is_integer() for value in square)
        assert square.left >= 0 and square.top >= 0 and right <= 640 and bottom <= 480
        assert (boxes[:, 0] >= square.left).all() and (boxes[:, 2] <= right).all()
        assert (boxes[:, 1] >= square.top).all() and (boxes[:, 3] <= bottom).all()
    assert 50 < placed < 300
    mesh = np.tile(np.float32([[250, 200], [350, 300]]), (239, 1))
    wanted, found = driver_framing.square_around(mesh), place_square(face_at(250, 200)[None], 640, 480)
    np.testing.assert_allclose(found, wanted, atol=1)


def test_a_stretch_becomes_a_clip_or_says_why_not() -> None:
    rules, rate_hz = ClipRules(min_size=192, min_seconds=1), Fraction(25)

    def stretch(box: Boxes, count: int = 25) -> Stretch:
        return Stretch(640, 480, list(range(count)), [box] * count)

    assert clip_or_reason(Stretch(640, 480, [1, 2]), rules, rate_hz) == "no face"
    assert clip_or_reason(stretch(face_at(270, 190), 24), rules, rate_hz) == "too short"
    assert clip_or_reason(stretch(face_at(270, 190, 90)), rules, rate_hz) == "face too small"
    assert clip_or_reason(stretch(face_at(0, 190)), rules, rate_hz) == "outside the picture"
    assert clip_or_reason(stretch(face_at(150, 70, 340)), rules, rate_hz) == "outside the picture"
    made = clip_or_reason(stretch(face_at(270, 190)), rules, rate_hz)
    assert isinstance(made, ClipRange) and (made.first, made.last, made.square.width) == (0, 24, 196)


@pytest.mark.parametrize(
    ("box", "width", "height", "side"),
    [
        (face_at(20, 190), 640, 480, 196),  # moved
        (face_at(5, 190), 640, 480, 156),  # moved and shrunk as little as it takes
        (face_at(100, 90, 320), 512, 512, 512),  # a close-up: as large as the picture
        (face_at(400, 12, 60), 640, 480, 111),  # below the upper edge
    ],
)
def test_a_square_near_the_edge_is_moved_and_shrunk_before_it_is_given_up(
    box: Boxes, width: int, height: int, side: int
) -> None:
    square = place_square(box[None], width, height)
    assert square is not None
    assert square.width == pytest.approx(side, abs=1)
    assert 0 <= square.left <= box[0] and 0 <= square.top <= box[1]
    assert box[2] <= square.left + square.width <= width and box[3] <= square.top + square.height <= height


def test_a_stretch_is_divided_where_its_head_is_outside_for_a_while() -> None:
    rules, rate_hz = ClipRules(min_size=192, min_seconds=1), Fraction(25)
    lefts = [*[270.0] * 40, *range(270, -30, -10), *[-30.0] * 20, *range(-30, 270, 10), *[270.0] * 30]
    boxes = [face_at(left, 190) for left in lefts]
    found = clips_or_reasons(Stretch(640, 480, [2 * n for n in range(len(boxes))], boxes), rules, rate_hz)
    assert found[-1] == "outside the picture"
    clips = [clip for clip in found if isinstance(clip, ClipRange)]
    assert len(clips) == len(found) - 1 >= 2
    frames = [range(clip.first // 2, clip.last // 2 + 1) for clip in clips]
    assert all(before[-1] < after[0] for before, after in itertools.pairwise(frames))
    assert min(map(len, frames)) >= 25 and sum(map(len, frames)) > 90
    for clip, numbers in zip(clips, frames, strict=True):
        for number in numbers:
            assert clip.square.left <= boxes[number][0] and boxes[number][2] <= clip.square.left + clip.square.width
    lost = Stretch(640, 480, list(range(60)), [face_at(-30, 190)] * 60)
    assert clips_or_reasons(lost, rules, rate_hz) == ["outside the picture"]


def test_wrong_usage_and_missing_footage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["--size", "255"], ["--min-seconds", "5", "--max-seconds", "4"], ["--processes", "0"]):
        with pytest.raises(SystemExit) as caught:
            main([str(tmp_path), str(tmp_path / "out"), *wrong])
        assert caught.value.code == 2
        assert wrong[0] in capsys.readouterr().err
    assert main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert "no videos found" in capsys.readouterr().err
    assert main([str(tmp_path / "nowhere"), str(tmp_path / "out")]) == 1
    assert "there is no folder or video" in capsys.readouterr().err
    assert main([str(ROOT / "examples" / "avatar_1.jpg"), str(tmp_path / "out")]) == 1
    assert "is a picture" in capsys.readouterr().err
    (tmp_path / "talk.braw").write_bytes(b"")
    assert main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert "no videos found in" in (error := capsys.readouterr().err) and "but talk.braw" in error
    (tmp_path / "same").mkdir()
    for name in ("same.mp4", "same.mov", "same/mp4.avi"):
        (tmp_path / name).write_bytes(b"")
    assert main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert f"{Path('same') / 'mp4.avi'} and" in capsys.readouterr().err
    for name in ("same.mov", "same/mp4.avi"):
        (tmp_path / name).unlink()
    assert main([str(tmp_path), str(tmp_path / "out"), "--processes", "1"]) == 1
    assert "no clip came out" in capsys.readouterr().err


def test_a_written_video_holds_its_pictures_at_its_rate(tmp_path: Path) -> None:
    with mp4_writer(tmp_path / ".x.part", 64, Fraction(30000, 1001)) as write:  # the name of a draft says no format
        for value in (0, 100, 200):
            write(np.full((64, 64, 3), value, np.uint8))
    (tmp_path / ".x.part").replace(tmp_path / "x.mp4")
    assert [round(frame.mean() / 100) for frame in read_frames(tmp_path / "x.mp4")] == [0, 1, 2]
    assert Footage(tmp_path / "x.mp4").rate_hz == Fraction(30000, 1001)


def test_processes_give_every_result_and_a_dead_one_is_named() -> None:
    assert sorted(each_result(abs, [-1, 2, -3], 2)) == [1, 2, 3]
    assert list(each_result(abs, [-1, 2], 1)) == [1, 2]
    with pytest.raises(DataError, match="a process died"):
        list(each_result(os._exit, [1, 1], 2))
