"""What --camera names: files, of which every frame counts, and how failures are reported."""

import contextlib
import functools
import http.server
import re
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from avatarify_plus.camera import (
    CaptureReader,
    FileSource,
    LiveCamera,
    LoopedClip,
    PictureReader,
    open_frame_source,
    open_reader,
)
from avatarify_plus.camera.camera_mode import CameraMode, CaptureRequest
from avatarify_plus.camera.playback_clock import MAX_LATE_S, PlaybackClock
from avatarify_plus.camera.stream import Stream
from avatarify_plus.errors import CameraError
from avatarify_plus.types import Frame, Image, Size
from fakes import FakeClock, plain_picture, write_video

COUNT = 12


def levels(count: int = COUNT) -> list[Image]:
    """Return pictures that can be told apart after compression."""
    return [plain_picture(20 * index, 64, 64) for index in range(count)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", levels(), Fraction(30000, 1001))


def all_frames(name: str | Path, sequence_fps: float = 25.0) -> list[Frame]:
    with open_frame_source(str(name), sequence_fps, plays_live=False) as frame_source:
        return [frame for frame in frame_source.frames(threading.Event()) if frame is not None]


class FakeCapture:
    """OpenCV's part of a device: `answers` says for each try whether a picture comes, None for a damaged one."""

    def __init__(self, answers: list[bool | None], size: tuple[int, int] = (64, 48)) -> None:
        self.settings: dict[int, float] = {cv2.CAP_PROP_FPS: 0.0}
        self.order: list[int] = []
        self._answers = iter(answers)
        self._answer: bool | None = None
        self._size = size

    def get(self, key: int) -> float:
        return self.settings.get(key, 0.0)

    def set(self, key: int, value: float) -> bool:
        self.order.append(key)
        self.settings[key] = value
        return True

    def grab(self) -> bool:
        self._answer = next(self._answers, False)
        return self._answer is not False

    def retrieve(self) -> tuple[bool, Image | None]:
        if self._answer is None:
            return False, None
        return True, np.zeros((self._size[1], self._size[0], 3), np.uint8)


def webcam_reader(answers: list[bool | None]) -> CaptureReader:
    return CaptureReader(FakeCapture(answers), "webcam 0", ends=False)  # type: ignore[arg-type]


# --- files ---


def test_a_file_gives_every_frame_its_rate_and_count(clip: Path) -> None:
    with open_frame_source(str(clip), 25, plays_live=False) as frame_source:
        assert isinstance(frame_source, FileSource)
        assert (frame_source.rate, frame_source.count, frame_source.is_live) == (Fraction(30000, 1001), COUNT, False)
        frames = list(frame_source.frames(threading.Event()))
    assert [frame.index for frame in frames] == list(range(COUNT))
    np.testing.assert_allclose([frame.captured_at for frame in frames], np.arange(COUNT) * 1001 / 30000)
    for frame, picture in zip(frames, levels(), strict=True):
        assert np.abs(frame.image.astype(int) - picture).mean() < 3
    assert frame_source.skipped_count == 0
    assert frame_source.trouble is None


def test_colours_are_rgb(tmp_path: Path) -> None:
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 220
    path = write_video(tmp_path / "red.mp4", [red] * 3)
    picture = all_frames(path)[0].image
    assert picture[..., 0].mean() > 190
    assert picture[..., 2].mean() < 30


def test_stop_ends_a_file(clip: Path) -> None:
    stop = threading.Event()
    with open_frame_source(str(clip), 25, plays_live=False) as frame_source:
        seen = 0
        for _ in frame_source.frames(stop):
            seen += 1
            stop.set()
    assert seen == 1


def test_a_folder_is_a_video_in_the_order_of_names(tmp_path: Path) -> None:
    for index in (2, 0, 1):
        cv2.imwrite(str(tmp_path / f"shot{index}.png"), plain_picture(50 * index))
    (tmp_path / "notes.txt").write_text("not a picture")
    frames = all_frames(tmp_path, 10.0)
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [0, 50, 100]
    assert [frame.captured_at for frame in frames] == [0.0, 0.1, 0.2]


def test_a_pattern_counts_from_one_to_the_first_gap(tmp_path: Path) -> None:
    for index in (1, 2, 3, 5):
        cv2.imwrite(str(tmp_path / f"shot{index:03d}.png"), plain_picture(40 * index))
    frames = all_frames(tmp_path / "shot%03d.png")
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [40, 80, 120]


def test_one_picture_is_a_video_of_one_frame(tmp_path: Path) -> None:
    for index in range(3):  # OpenCV alone would take the numbered neighbours, too
        cv2.imwrite(str(tmp_path / f"shot{index}.png"), plain_picture(40 * index))
    assert len(all_frames(tmp_path / "shot0.png")) == 1


def test_a_folders_pictures_count_as_numbers_do(tmp_path: Path) -> None:
    for index in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f"{index}.png"), plain_picture(20 * index))
    (tmp_path / "._1.png").write_bytes(b"what a Mac leaves on a stick")
    (tmp_path / ".hidden.png").write_bytes(b"what a program is about to write")
    assert [int(frame.image[0, 0, 0]) for frame in all_frames(tmp_path)] == [20, 40, 200]


# --- files, live ---


def test_a_file_played_live_goes_on_for_ever(clip: Path) -> None:
    with open_frame_source(str(clip), 25, plays_live=True) as frame_source:
        assert isinstance(frame_source, LiveCamera)
        assert (frame_source.is_live, frame_source.rate, frame_source.count) == (True, Fraction(30000, 1001), None)
        indices = []
        for frame in frame_source.frames(threading.Event()):
            if frame is not None:
                indices.append(frame.index)
                if frame.index >= 2 * COUNT:
                    break
    assert indices == sorted(set(indices))


def test_a_folder_played_live_goes_on_for_ever(tmp_path: Path) -> None:
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"shot{index}.png"), plain_picture(100 * index))
    with open_frame_source(str(tmp_path), 200, plays_live=True) as frame_source:
        frames: Iterator[Frame] = (frame for frame in frame_source.frames(threading.Event()) if frame is not None)
        seen = {(frame.index % 2, int(frame.image[0, 0, 0])) for frame, _ in zip(frames, range(20), strict=False)}
    assert seen <= {(0, 0), (1, 100)}


def test_a_clip_starts_again_without_a_pause(clip: Path) -> None:
    reader = LoopedClip(str(clip), Fraction(30))
    pictures = [reader.read() for _ in range(3 * COUNT)]
    reader.close()
    for picture, level in zip(pictures, levels() * 3, strict=True):
        assert picture is not None
        assert np.abs(picture.astype(int) - level).mean() < 3


def test_a_clip_opens_the_next_round_before_the_last_one_ends(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a large video takes longer than the time between two of its pictures."""
    is_open, threads = threading.Event(), []

    def open_late(clip: str, sequence_fps: float) -> PictureReader:
        threads.append(threading.current_thread())
        is_open.set()
        return open_reader(clip, sequence_fps)

    monkeypatch.setattr("avatarify_plus.camera.looped_clip.open_reader", open_late)
    reader = LoopedClip(str(clip), Fraction(30))
    is_open.clear()
    assert reader.read() is not None
    assert is_open.wait(5)
    reader.close()
    assert threads[0] is threading.current_thread()
    assert threads[1] is not threading.current_thread()


def test_a_clip_that_vanishes_is_reported_when_it_starts_again(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "shot.png"), plain_picture(40))
    reader = LoopedClip(str(tmp_path), Fraction(30))
    (tmp_path / "shot.png").rename(tmp_path / "shot.txt")
    with pytest.raises(CameraError, match=r"cannot read the picture|holds no pictures"):
        [reader.read() for _ in range(3)]
    reader.close()


def test_a_clip_is_played_at_its_rate_and_delays_are_not_caught_up_with() -> None:
    clock = FakeClock()
    playback, times_s = PlaybackClock(clock), iter(np.arange(20) / 10)
    assert playback.wait_s(next(times_s)) == 0
    clock.pass_ms(30)
    assert playback.wait_s(next(times_s)) == pytest.approx(0.07)
    clock.pass_ms(170)  # a little late: the next one waits the less
    assert playback.wait_s(next(times_s)) == pytest.approx(0)
    clock.pass_ms(20)
    assert playback.wait_s(next(times_s)) == pytest.approx(0.08)
    clock.pass_ms(10_000)  # the computer slept
    waits = [playback.wait_s(next(times_s)) for _ in range(10)]
    assert sum(wait < 1e-6 for wait in waits) == 1 + int(MAX_LATE_S * 10)
    assert waits[-1] > 0


# --- webcams and streams, as far as they need no device ---


def test_a_webcam_is_asked_in_the_order_that_keeps_what_was_asked_before() -> None:
    from avatarify_plus.camera.capture import ask

    capture = FakeCapture([])
    mode = ask(capture, CaptureRequest(Size(1280, 720), 30.0, "mjpg"), ())  # type: ignore[arg-type]
    assert mode == CameraMode(Size(1280, 720), (30.0,), "MJPG")
    names = ("BUFFERSIZE", "FOURCC", "FRAME_WIDTH", "FRAME_HEIGHT", "FPS")
    assert capture.order == [getattr(cv2, f"CAP_PROP_{name}") for name in names]
    untouched = FakeCapture([])
    ask(untouched, CaptureRequest(), ())  # type: ignore[arg-type]
    assert untouched.order == [cv2.CAP_PROP_BUFFERSIZE]


def test_an_unplugged_webcam_is_reported() -> None:
    reader = webcam_reader([False])
    assert (reader.rate, reader.count) == (Fraction(30), None)
    with pytest.raises(CameraError, match="webcam 0 gives no pictures any more"):
        reader.read()


def test_a_webcam_may_be_late_at_first_but_not_later() -> None:
    reader = webcam_reader([False, True, False, True])
    assert reader.read() is not None
    with pytest.raises(CameraError, match="webcam 0 gives no pictures any more"):
        reader.read()


def test_damaged_pictures_are_passed_over() -> None:
    reader = webcam_reader([True, None, None, True, None, None, None, True])
    assert [reader.read() is not None for _ in range(2)] == [True, True]
    with pytest.raises(CameraError, match="gives no pictures"):
        reader.read()


def test_a_proxy_is_named_and_no_password_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:9")
    stream = Stream("http://user:hidden@camera.example/video")
    assert stream.name == "http://user:***@camera.example/video"
    with pytest.raises(CameraError, match=r"camera\.example/video through the proxy http://me:\*\*\*@127") as caught:
        stream.open()
    assert not {"secret", "hidden"} & set(re.findall(r"\w+", str(caught.value)))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(CameraError) as caught:
        Stream("http://127.0.0.1:9/none.mp4").open()
    assert "proxy" not in str(caught.value)


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback; give its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://me:secret@127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_url_is_a_live_stream(clip: Path) -> None:
    shutil.copy(clip, clip.with_name("video"))
    with web_server(clip.parent) as address:
        url = f"{address}/video"
        reader = open_reader(url, 25)
        assert reader.is_live
        assert count_pictures(reader) == COUNT
        with open_frame_source(url, 25, plays_live=False, stop=threading.Event()) as frame_source:
            assert isinstance(frame_source, LiveCamera)
            for frame in frame_source.frames(threading.Event()):
                if frame is not None and frame.index >= COUNT:  # it ended and was opened again
                    break


def test_a_film_at_a_url_is_played_like_a_file_and_ends(clip: Path) -> None:
    with web_server(clip.parent) as address:
        url = f"{address}/{clip.name}?at=0"
        with open_frame_source(url, 25, plays_live=False) as frame_source:
            assert isinstance(frame_source, FileSource)
            assert "me:***@127" in frame_source.name
            frames = [frame for frame in frame_source.frames(threading.Event()) if frame is not None]
        with open_frame_source(str(clip), 25, plays_live=False) as file_source:
            expected = [frame for frame in file_source.frames(threading.Event()) if frame is not None]
        assert [frame.captured_at for frame in frames] == [frame.captured_at for frame in expected]
        np.testing.assert_array_equal(frames[-1].image, expected[-1].image)
        with pytest.raises(CameraError, match=r"cannot read the film http://me:\*\*\*@.*/none\.mp4: check the address"):
            open_reader(f"{address}/none.mp4", 25)


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """Take connections on loopback and never answer; give the address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    for thread in threading.enumerate():  # now that the connection is reset, they end
        if thread.name == "opening":
            thread.join(30)


@pytest.mark.parametrize("name", ["video", "film.mp4"])
def test_a_camera_that_does_not_answer_is_not_waited_for_once_all_is_to_stop(name: str) -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with silent_server() as address:
        began_s = time.monotonic()
        with pytest.raises(CameraError, match=rf"{address}/{name} has not answered yet"):
            open_frame_source(f"{address}/{name}", 25, plays_live=True, stop=stop)
        assert time.monotonic() - began_s < 4  # FFmpeg would wait for ten seconds


def count_pictures(reader: PictureReader) -> int:
    count = 0
    while reader.read() is not None:
        count += 1
    reader.close()
    return count


# --- what goes wrong ---


def test_a_missing_webcam_is_reported() -> None:
    with pytest.raises(CameraError, match=r"cannot open webcam 97: check that it is plugged in.*found: ") as caught:
        open_reader("97", 25)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.mp4", "there is no driver .*nowhere.mp4: give a webcam's number or name .found: "),
        ("junk.mp4", "cannot read .*junk.mp4 as a video: .*convert it"),
        ("empty.mp4", "cannot read .*empty.mp4 as a video"),
        ("cut.mp4", "cannot read .*cut.mp4 as a video"),
        ("hollow", "holds no pictures; put"),
        ("shot%03d.png", "no pictures match .*shot%03d.png: neither .*shot000.png nor .*shot001.png exists"),
        ("shot%03q.png", "is not a pattern for one number"),
        ("bad.png", "cannot read the picture .*bad.png"),
        ("http://127.0.0.1:9/none", "cannot open the stream http://127.0.0.1:9/none: check the address"),
    ],
)
def test_what_is_not_a_driver_is_reported_in_one_line(tmp_path: Path, clip: Path, name: str, message: str) -> None:
    (tmp_path / "junk.mp4").write_bytes(b"not a clip" * 100)
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:300])
    (tmp_path / "hollow").mkdir()
    with pytest.raises(CameraError, match=message) as caught:
        all_frames(name if "://" in name else tmp_path / name)
    assert "\n" not in str(caught.value)


def test_opening_what_is_missing_prints_nothing(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "junk.mp4").write_bytes(b"not a clip" * 100)
    for name in ("97", str(tmp_path / "junk.mp4")):
        with pytest.raises(CameraError):
            open_reader(name, 25)
    print("still there", file=sys.stderr)
    assert capfd.readouterr().err == "still there\n"
