"""Recording, recording beside the preview window, and several sinks at once."""

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avatarify_plus.errors import SinkError
from avatarify_plus.preview.window import require_x_server
from avatarify_plus.sinks import Outputs
from avatarify_plus.sinks.film_writer import FilmWriter
from avatarify_plus.sinks.outputs import RETRY_S
from avatarify_plus.sinks.own_file import OwnFile
from avatarify_plus.sinks.picture_folder import PictureFolder
from avatarify_plus.sinks.recorder import MAX_BACKLOG, Recorder
from avatarify_plus.types import Image, Size
from fakes import FakeClock, FakeSink, FakeTimeline, plain_picture, read_video
from virtual_screen import virtual_screen

SIZE = Size(64, 64)
ROOT = Path(__file__).resolve().parents[2]


def gradients(count: int) -> list[Image]:
    """Return (64, 64, 3) pictures with a different colour in every corner, changing slowly."""
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[..., 0] = 4 * np.arange(64)[None]
    picture[..., 1] = 4 * np.arange(64)[:, None]
    return [np.dstack([picture[..., :2], np.full((64, 64, 1), 10 * index, np.uint8)]) for index in range(count)]


# --- recorder ---


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(30)])
def test_a_recording_has_the_drivers_rate_count_and_pictures(tmp_path: Path, rate: Fraction) -> None:
    path, sent = tmp_path / "out.mp4", gradients(20)
    recorder = Recorder(path, SIZE, rate, FakeTimeline(rate))
    for index, picture in enumerate(sent):
        recorder.send(picture, float(index / rate))
    recorder.close()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.frames, stream.average_rate, stream.codec_context.name) == (20, rate, "h264")
        assert stream.codec_context.pix_fmt == "yuv420p"  # what every browser and phone plays
        times = [frame.time for frame in container.decode(stream)]
    np.testing.assert_allclose(times, np.arange(20) / float(rate), atol=1e-4)
    pictures, _ = read_video(path)
    for picture, original in zip(pictures, sent, strict=True):
        assert np.abs(picture.astype(int) - original).mean() < 5


def test_a_live_recording_keeps_the_times(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4", SIZE, Fraction(30))
    for picture, time_s in zip(gradients(5), (100.0, 100.04, 100.04, 100.5, 101.0), strict=True):
        recorder.send(picture, time_s)
    recorder.close()
    with av.open(str(tmp_path / "out.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, [0, 0.04, 0.04, 0.5, 1.0], atol=1e-3)


def test_a_killed_program_leaves_a_video_that_plays(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    code = (
        "import os, sys, numpy as np\n"
        "from fractions import Fraction\nfrom pathlib import Path\n"
        "from avatarify_plus.sinks.recorder import Recorder\n"
        "sys.path.append('tests')\n"
        "from fakes import FakeTimeline\n"
        "from avatarify_plus.types import Size\n"
        "recorder = Recorder(Path(sys.argv[1]), Size(64, 64), Fraction(25), FakeTimeline(Fraction(25)))\n"
        "for index in range(100): recorder.send(np.full((64, 64, 3), index, np.uint8), index / 25)\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False, timeout=60)
    assert len(read_video(path)[0]) >= 50


def test_a_recording_without_frames_leaves_no_file(tmp_path: Path) -> None:
    Recorder(tmp_path / "out.mp4", SIZE, Fraction(25), FakeTimeline(Fraction(25))).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("path", "message"), [("none/out.mp4", "there is no folder"), ("taken.mp4", "cannot write")])
def test_what_cannot_be_written_is_reported(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "taken.mp4").mkdir()
    with pytest.raises(SinkError, match=message) as caught:
        Recorder(tmp_path / path, SIZE, Fraction(25), FakeTimeline(Fraction(25)))
    assert "\n" not in str(caught.value)


def test_a_closed_recording_refuses_pictures(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4", SIZE, Fraction(25), FakeTimeline(Fraction(25)))
    recorder.send(plain_picture(9, 64, 64), 0.0)
    recorder.close()
    recorder.close()
    with pytest.raises(SinkError, match="closed"):
        recorder.send(plain_picture(9, 64, 64), 0.04)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, Linux's full disk")
def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").symlink_to("/dev/full")
    with pytest.raises(SinkError, match=r"No space left.*free space"):
        recorder = Recorder(tmp_path / "out.mp4", SIZE, Fraction(25), FakeTimeline(Fraction(25)))
        for index, picture in enumerate(gradients(20) * 4):
            recorder.send(picture, index / 25)
        recorder.close()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("timeline", [FakeTimeline(Fraction(25)), None])
def test_a_disk_that_fills_up_is_reported_once_and_leaves_a_video_that_plays(
    tmp_path: Path, timeline: FakeTimeline | None
) -> None:
    """In a program of its own: the limit holds for the whole program."""
    path, made = tmp_path / "out.mp4", "FakeTimeline(Fraction(25))" if timeline else None
    code = (
        "import resource, signal, sys, time, numpy as np\n"
        "from fractions import Fraction\nfrom pathlib import Path\n"
        "from avatarify_plus.errors import SinkError\n"
        "from avatarify_plus.sinks.recorder import Recorder\n"
        "sys.path.append('tests')\n"
        "from fakes import FakeTimeline\n"
        "from avatarify_plus.types import Size\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))\n"
        "random = np.random.default_rng(0)\n"
        f"recorder, failures = Recorder(Path(sys.argv[1]), Size(64, 64), Fraction(25), {made}), []\n"
        "try:\n"
        "    for index in range(400):\n"
        "        recorder.send(random.integers(0, 256, (64, 64, 3), np.uint8), index / 25)\n"
        "        time.sleep(0.002)\n"
        "except SinkError as error: print(error)\n"
        "try: recorder.close()\n"
        "except SinkError: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert "check the free space" in done.stdout
    assert len(read_video(path)[0]) >= 25


@pytest.mark.parametrize("made", ["FakeTimeline(Fraction(25))", "None"])
def test_a_film_that_cannot_even_begin_is_one_line(tmp_path: Path, made: str) -> None:
    """In a program of its own: FFmpeg would die of writing the beginning a second time."""
    code = (
        "import sys, time, numpy as np\n"
        "from fractions import Fraction\nfrom pathlib import Path\n"
        "from avatarify_plus.errors import SinkError\n"
        "from avatarify_plus.sinks.own_file import OwnFile\n"
        "from avatarify_plus.sinks.recorder import Recorder\n"
        "sys.path.append('tests')\n"
        "from fakes import FakeTimeline\n"
        "from avatarify_plus.types import Size\n"
        "def full(file, data): raise OSError(28, 'No space left on device')\n"
        "OwnFile.write = full\n"
        f"recorder = Recorder(Path(sys.argv[1]), Size(64, 64), Fraction(25), {made})\n"
        "for index in range(60):\n"
        "    try:\n"
        "        recorder.send(np.full((64, 64, 3), 4 * index, np.uint8), index / 25)\n"
        "    except SinkError as error:\n"
        "        print(error)\n"
        "        break\n"
        "    time.sleep(0.002)\n"
        "try: recorder.close()\n"
        "except SinkError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out.mp4")], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1 and "No space left" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_when_the_film_is_closed_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path / "out.mp4", SIZE, Fraction(25), FakeTimeline(Fraction(25)))
    recorder.send(plain_picture(9, 64, 64), 0.0)
    close = OwnFile.close

    def fail(file: OwnFile) -> None:
        close(file)
        raise OSError(122, "Disk quota exceeded")  # as disks in a network do

    monkeypatch.setattr(OwnFile, "close", fail)
    with pytest.raises(SinkError, match=r"cannot finish .*quota exceeded.*free space"):
        recorder.close()


def test_half_a_picture_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = PictureFolder(tmp_path / "pictures")
    pictures.send(plain_picture(9), 0.0)
    opened = os.fdopen

    def full(descriptor: int, mode: str) -> Any:
        file = opened(descriptor, mode)
        file.write = lambda data: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        return contextlib.closing(file)

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(SinkError, match=r"No space left.*free space"):
        pictures.send(plain_picture(9), 0.04)
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["000001.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not delete open files")
def test_a_deleted_recording_is_reported(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4", SIZE, Fraction(25), FakeTimeline(Fraction(25)))
    recorder.send(plain_picture(9, 64, 64), 0.0)
    (tmp_path / "out.mp4").unlink()
    with pytest.raises(SinkError, match="deleted"):
        recorder.send(plain_picture(9, 64, 64), 0.04)
    recorder.close()


@pytest.mark.parametrize("timeline", [FakeTimeline(Fraction(25)), None])
def test_a_recording_may_be_wide_and_says_how_its_colours_are_coded(
    tmp_path: Path, timeline: FakeTimeline | None
) -> None:
    picture = np.zeros((36, 64, 3), np.uint8)
    picture[:, :32], picture[:, 32:] = (220, 40, 60), (20, 90, 200)
    recorder = Recorder(tmp_path / "out.mp4", Size(64, 36), Fraction(25), timeline)
    for index in range(5):
        recorder.send(picture, index / 25)
    recorder.close()
    with av.open(str(tmp_path / "out.mp4")) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.width, codec.height, codec.colorspace, codec.color_range) == (64, 36, 6, 1)
    written = read_video(tmp_path / "out.mp4")[0]
    assert len(written) == 5
    for columns in (slice(2, 28), slice(36, 62)):
        error = np.abs(written[-1][2:-2, columns].astype(int) - picture[2:-2, columns])
        assert error.max() <= 6


def test_odd_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="even sizes, found 65x64"):
        Recorder(tmp_path / "out.mp4", Size(65, 64), Fraction(25), FakeTimeline(Fraction(25)))


def test_a_slow_disk_costs_pictures_but_never_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the encoder standing still, `send` comes back at once, or this test would never end."""
    may_write, write = threading.Event(), FilmWriter.write

    def write_later(*arguments: object) -> None:
        may_write.wait()
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(FilmWriter, "write", write_later)
    recorder, reused = Recorder(tmp_path / "out.mp4", SIZE, Fraction(25)), plain_picture(0, 64, 64)
    for index in range(MAX_BACKLOG + 5):
        reused[:] = 10 * index  # the sink must not keep the array
        recorder.send(reused, index / 25)
    may_write.set()
    recorder.close()
    levels = [picture.mean() for picture in read_video(tmp_path / "out.mp4")[0]]
    np.testing.assert_allclose(levels, 10 * np.arange(MAX_BACKLOG), atol=3)
    assert "5 pictures are missing" in caplog.text


# --- preview ---


@pytest.mark.parametrize(
    ("display", "message"),
    [
        ("", "DISPLAY is not set"),
        ("nonsense", "DISPLAY is not set"),
        (":4711", "no X server answers at DISPLAY=:4711"),
        ("127.0.0.1:4711.0", "no X server answers"),
    ],
)
def test_a_missing_screen_is_reported(display: str, message: str) -> None:
    with pytest.raises(SinkError, match=message) as caught:
        require_x_server(display)
    assert "--no-preview" in str(caught.value)


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb, a screen in memory")
def test_the_window_opens_while_a_film_is_read_and_recorded(tmp_path: Path) -> None:
    """In a program of its own: PyAV loaded before OpenCV's window makes it hang, and here both are loaded."""
    code = (
        "import sys, numpy as np\n"
        "from fractions import Fraction\nfrom pathlib import Path\n"
        "from avatarify_plus.preview.window import PreviewWindow\n"
        "from avatarify_plus.camera import open_clip\n"
        "from avatarify_plus.sinks.recorder import Recorder\n"
        "sys.path.append('tests')\n"
        "from fakes import FakeTimeline\n"
        "from avatarify_plus.types import Size\n"
        "recorder = Recorder(Path(sys.argv[1]), Size(64, 64), Fraction(25), FakeTimeline(Fraction(25)))\n"
        "driver = open_clip('examples/driver.mp4', 25)\n"
        "driver.read()\n"
        "preview = PreviewWindow()\n"
        "for index in range(3):\n"
        "    picture = np.full((64, 64, 3), 80 * index, np.uint8)\n"
        "    recorder.send(picture, index / 25), preview.show(picture), preview.presses()\n"
        "preview.close(), recorder.close()\n"
    )
    with virtual_screen() as display:
        environment = os.environ | {"DISPLAY": display}
        command = [sys.executable, "-c", code, str(tmp_path / "out.mp4")]
        shown = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert len(read_video(tmp_path / "out.mp4")[0]) == 3


# --- several at once ---


def test_every_sink_gets_every_picture_and_is_closed_once() -> None:
    sinks = [FakeSink(), FakeSink()]
    with Outputs() as outputs:
        for sink in sinks:
            outputs.add(sink)
        assert len(outputs) == 2
        for index, picture in enumerate(gradients(3)):
            outputs.send(picture, index / 25)
    for sink in sinks:
        np.testing.assert_array_equal([picture for picture, _ in sink.sent], gradients(3))
        assert [time_s for _, time_s in sink.sent] == [0.0, 0.04, 0.08]
        assert sink.close_count == 1


def test_a_failing_sink_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = FakeSink("good sink"), FakeSink("bad sink", fails_at=1, fails_to_close=True)
    with Outputs() as outputs:
        outputs.add(bad)
        outputs.add(good)
        for picture in gradients(3):
            outputs.send(picture, 0.0)
    assert (len(good.sent), len(bad.sent), bad.close_count) == (3, 1, 1)
    assert [record.getMessage() for record in caplog.records] == ["bad sink is full; going on without the bad sink"]


def test_the_last_sinks_failure_ends_the_run() -> None:
    bad = FakeSink(fails_at=0)
    with Outputs() as outputs:
        outputs.add(bad)
        with pytest.raises(SinkError, match="is full"):
            outputs.send(plain_picture(1), 0.0)
    assert bad.close_count == 1


def test_all_are_closed_even_if_one_cannot() -> None:
    sinks = [FakeSink(), FakeSink(fails_to_close=True), FakeSink()]
    outputs = Outputs()
    for sink in sinks:
        outputs.add(sink)
    with pytest.raises(SinkError, match="cannot close"):
        outputs.close()
    assert [sink.close_count for sink in sinks] == [1, 1, 1]


def test_a_sink_that_can_be_reopened_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    """Tried every RETRY_S, warned about once, reported when it is back; the third try opens but takes nothing."""
    caplog.set_level(logging.INFO)
    clock, opened = FakeClock(), [FakeSink("camera", fails_at=0), FakeSink("camera")]
    tries: list[float] = []

    def reopen() -> FakeSink:
        tries.append(clock.now_s)
        if len(tries) < 3:
            raise SinkError("still missing")
        return opened.pop(0)

    first = FakeSink("camera", fails_at=1)
    with Outputs(clock) as outputs:
        outputs.add(first, reopen)
        assert outputs.trouble is None
        outputs.send(plain_picture(1), 0.0)
        outputs.send(plain_picture(2), 0.1)  # fails; the only sink, and yet the session goes on
        assert (len(outputs), first.close_count) == (0, 1)
        assert "camera" in str(outputs.trouble)
        back = opened[-1]
        for _ in range(100):
            clock.pass_ms(100)
            outputs.send(plain_picture(3), clock.now_s)
        assert (len(outputs), outputs.trouble) == (1, None)
    assert len(tries) == 4
    np.testing.assert_allclose(np.diff([100, *tries]), RETRY_S, atol=0.11)  # a picture comes every 0.1 s
    assert len(back.sent) > 10
    assert back.close_count == 1
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == ["camera is full; going on without the camera until it is back"]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.INFO] == [
        "the camera takes pictures"
    ]


def test_a_sink_may_join_later(caplog: pytest.LogCaptureFixture) -> None:
    clock, late, recording = FakeClock(), FakeSink("camera"), FakeSink("recording", fails_at=1)
    with Outputs(clock) as outputs:
        outputs.add(recording)
        outputs.add_later("camera", lambda: late)
        assert (len(outputs), outputs.trouble) == (1, "no camera, looking for it every 2 seconds")
        outputs.send(plain_picture(1), 0.0)
        outputs.send(plain_picture(2), 0.1)  # the recording is lost for good, the camera may still come
        assert outputs.trouble == "recording is full; no camera, looking for it every 2 seconds"
        clock.pass_ms(1000 * RETRY_S)
        outputs.send(plain_picture(3), 0.2)
        assert (len(outputs), outputs.trouble) == (1, "recording is full")
    assert [time_s for _, time_s in late.sent] == [0.2]
    assert (late.close_count, recording.close_count) == (1, 1)
    assert "going on without the recording" in caplog.text


def test_without_any_sink_pictures_go_nowhere() -> None:
    with Outputs() as outputs:
        outputs.send(plain_picture(1), 0.0)
        assert (len(outputs), outputs.trouble) == (0, None)
