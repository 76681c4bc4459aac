"""The driver's frames: the newest only from a live camera, every one from a file."""

import functools
import http.server
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from avatarify_plus import camera
from avatarify_plus.camera import CaptureReader, Film, LiveCamera, PictureReader, open_driver, open_reader
from avatarify_plus.errors import CameraError
from avatarify_plus.types import Frame, Image
from fakes import FakeReader, plain_picture, write_film

COUNT = 12


def levels(count: int = COUNT) -> list[Image]:
    """Return pictures that can be told apart after compression."""
    return [plain_picture(20 * index, 64, 64) for index in range(count)]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", levels(), Fraction(30000, 1001))


def all_frames(name: str | Path, sequence_fps: float = 25.0) -> list[Frame]:
    with open_driver(str(name), sequence_fps, plays_live=False) as driver:
        return list(driver.frames(threading.Event()))


# --- live ---


def test_the_newest_frame_wins_and_skipped_ones_are_counted() -> None:
    hold, first_taken = threading.Event(), threading.Event()

    def pictures() -> Iterator[Image]:
        yield levels()[0]
        first_taken.wait(5)
        yield from levels()[1:10]

    reader = FakeReader(pictures(), hold=hold)
    with LiveCamera(reader) as live:
        first = live.latest(5)
        assert first is not None
        first_taken.set()
        assert reader.exhausted.wait(5)
        frame = live.latest(5)
        assert frame is not None
        assert (first.index, frame.index, live.skipped_count) == (0, 9, 8)
        np.testing.assert_array_equal(frame.image, levels()[9])
        assert live.latest(0.02) is None  # never the same frame twice
        hold.set()
    assert reader.close_count == 1


def test_nothing_is_captured_before_it_is_wanted() -> None:
    reader = FakeReader(levels())
    with LiveCamera(reader):
        assert not reader.exhausted.wait(0.05)
    assert reader.close_count == 1


def test_frames_are_in_order_and_account_for_all() -> None:
    def slow_pictures() -> Iterator[Image]:
        for picture in levels():
            time.sleep(0.005)
            yield picture

    with LiveCamera(FakeReader(slow_pictures())) as live:
        frames = []
        for frame in live.frames(threading.Event()):
            frames.append(frame)
            time.sleep(0.012)
    indices = [frame.index for frame in frames]
    times = [frame.captured_at for frame in frames]
    assert indices == sorted(set(indices))
    assert indices[-1] == COUNT - 1
    assert len(frames) + live.skipped_count == COUNT
    assert all(early < late for early, late in itertools.pairwise(times))


def test_a_file_played_live_keeps_its_pace(film: Path) -> None:
    with open_driver(str(film), 25, plays_live=True) as driver:
        assert driver.is_live
        frames = list(driver.frames(threading.Event()))
    assert frames[-1].index == COUNT - 1
    assert len(frames) + driver.skipped_count == COUNT
    assert frames[-1].captured_at - frames[0].captured_at > 0.5 * COUNT / 30


def test_stop_ends_the_frames() -> None:
    hold, stop = threading.Event(), threading.Event()
    with LiveCamera(FakeReader(levels(3), hold=hold)) as live:
        stop.set()
        assert list(live.frames(stop)) == []
        stop.clear()
        threading.Timer(0.05, stop.set).start()
        assert len(list(live.frames(stop))) <= 3  # returns although the camera is silent
        hold.set()


def test_a_failing_camera_is_told_after_its_last_frame() -> None:
    class Broken(FakeReader):
        def read(self) -> Image | None:
            picture = super().read()
            if picture is None:
                raise CameraError("unplugged")
            return picture

    reader = Broken(levels(1))
    with LiveCamera(reader) as live, pytest.raises(CameraError, match="unplugged"):
        list(live.frames(threading.Event()))
    assert reader.close_count == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_unforeseen_failure_does_not_leave_the_loop_waiting() -> None:
    class Buggy(FakeReader):
        def read(self) -> Image | None:
            raise ZeroDivisionError

    with LiveCamera(Buggy([])) as live, pytest.raises(CameraError, match="broke off"):
        list(live.frames(threading.Event()))


def test_a_silent_camera_is_given_up_and_closing_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "STALL_S", 0.2)
    monkeypatch.setattr(camera, "CLOSE_S", 0.1)
    hold = threading.Event()
    reader = FakeReader([], hold=hold)
    started_s = time.perf_counter()
    with LiveCamera(reader) as live, pytest.raises(CameraError, match=r"gave no picture.*start again"):
        list(live.frames(threading.Event()))
    assert time.perf_counter() - started_s < 5
    assert reader.close_count == 0  # closing a device under a hanging read would crash
    hold.set()


# --- files ---


def test_a_file_gives_every_frame_its_rate_and_count(film: Path) -> None:
    with open_driver(str(film), 25, plays_live=False) as driver:
        assert isinstance(driver, Film)
        assert (driver.rate, driver.count, driver.is_live) == (Fraction(30000, 1001), COUNT, False)
        frames = list(driver.frames(threading.Event()))
    assert [frame.index for frame in frames] == list(range(COUNT))
    np.testing.assert_allclose([frame.captured_at for frame in frames], np.arange(COUNT) * 1001 / 30000)
    for frame, picture in zip(frames, levels(), strict=True):
        assert np.abs(frame.image.astype(int) - picture).mean() < 3
    assert driver.skipped_count == 0


def test_colours_are_rgb(tmp_path: Path) -> None:
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 220
    path = write_film(tmp_path / "red.mp4", [red] * 3)
    picture = all_frames(path)[0].image
    assert picture[..., 0].mean() > 190
    assert picture[..., 2].mean() < 30


def test_stop_ends_a_film(film: Path) -> None:
    stop = threading.Event()
    with open_driver(str(film), 25, plays_live=False) as driver:
        seen = 0
        for _ in driver.frames(stop):
            seen += 1
            stop.set()
    assert seen == 1


def test_a_folder_is_a_film_in_the_order_of_names(tmp_path: Path) -> None:
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


def test_one_picture_is_a_film_of_one_frame(tmp_path: Path) -> None:
    for index in range(3):  # OpenCV alone would take the numbered neighbours, too
        cv2.imwrite(str(tmp_path / f"shot{index}.png"), plain_picture(40 * index))
    assert len(all_frames(tmp_path / "shot0.png")) == 1


def test_a_url_is_a_live_stream(film: Path) -> None:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(film.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        reader = open_reader(f"http://127.0.0.1:{server.server_port}/{film.name}", 25)
        assert reader.is_live
        assert count_pictures(reader) == COUNT
    finally:
        server.shutdown()
        server.server_close()


def count_pictures(reader: PictureReader) -> int:
    count = 0
    while reader.read() is not None:
        count += 1
    reader.close()
    return count


# --- what goes wrong ---


def test_a_missing_webcam_is_told() -> None:
    with pytest.raises(CameraError, match=r"cannot open webcam 97: check that it is plugged in"):
        open_reader("97", 25)


def test_an_unplugged_webcam_is_told() -> None:
    class Unplugged:
        def get(self, key: int) -> float:
            return 0.0

        def read(self) -> tuple[bool, None]:
            return False, None

    reader = CaptureReader(Unplugged(), "webcam 0", is_live=True, ends=False)  # type: ignore[arg-type]
    assert (reader.rate, reader.count) == (Fraction(30), None)
    with pytest.raises(CameraError, match="webcam 0 gives no pictures any more"):
        reader.read()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.mp4", "there is no driver .*nowhere.mp4: give a webcam's number"),
        ("junk.mp4", "cannot read .*junk.mp4 as a video: .*convert it"),
        ("empty.mp4", "cannot read .*empty.mp4 as a video"),
        ("cut.mp4", "cannot read .*cut.mp4 as a video"),
        ("hollow", "holds no pictures; put"),
        ("shot%03d.png", "no pictures match .*shot%03d.png: neither .*shot000.png nor .*shot001.png exists"),
        ("shot%03q.png", "is no pattern for one number"),
        ("bad.png", "cannot read the picture .*bad.png"),
        ("http://127.0.0.1:9/none.mp4", "cannot open the stream http://127.0.0.1:9/none.mp4: check the address"),
    ],
)
def test_what_is_no_driver_is_told_in_one_line(tmp_path: Path, film: Path, name: str, message: str) -> None:
    (tmp_path / "junk.mp4").write_bytes(b"not a film" * 100)
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "cut.mp4").write_bytes(film.read_bytes()[:300])
    (tmp_path / "hollow").mkdir()
    with pytest.raises(CameraError, match=message) as caught:
        all_frames(name if "://" in name else tmp_path / name)
    assert "\n" not in str(caught.value)


def test_opening_what_is_missing_prints_nothing(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "junk.mp4").write_bytes(b"not a film" * 100)
    for name in ("97", str(tmp_path / "junk.mp4")):
        with pytest.raises(CameraError):
            open_reader(name, 25)
    print("still there", file=sys.stderr)
    assert capfd.readouterr().err == "still there\n"
