"""Recording, virtual camera, preview, and several at once."""

import os
import shutil
import subprocess
import sys
import types
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avatarify_plus.errors import SinkError, VirtualCameraError
from avatarify_plus.preview import require_x_server
from avatarify_plus.sinks import Outputs
from avatarify_plus.sinks.recorder import Recorder
from avatarify_plus.sinks.virtual_camera import VirtualCamera, fix
from avatarify_plus.types import Image
from fakes import FakeSink, plain_picture, read_film

ROOT = Path(__file__).resolve().parents[1]


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
    recorder = Recorder(path, 64, rate, is_constant=True)
    for index, picture in enumerate(sent):
        recorder.send(picture, float(index / rate))
    recorder.close()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.frames, stream.average_rate, stream.codec_context.name) == (20, rate, "h264")
        assert stream.codec_context.pix_fmt == "yuv420p"  # what every browser and phone plays
        times = [frame.time for frame in container.decode(stream)]
    np.testing.assert_allclose(times, np.arange(20) / float(rate), atol=1e-4)
    pictures, _ = read_film(path)
    for picture, original in zip(pictures, sent, strict=True):
        assert np.abs(picture.astype(int) - original).mean() < 5


def test_a_live_recording_keeps_the_times(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4", 64, Fraction(30), is_constant=False)
    for picture, time_s in zip(gradients(5), (100.0, 100.04, 100.04, 100.5, 101.0), strict=True):
        recorder.send(picture, time_s)
    recorder.close()
    with av.open(str(tmp_path / "out.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, [0, 0.04, 0.04, 0.5, 1.0], atol=1e-3)


def test_a_killed_program_leaves_a_film_that_plays(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    code = (
        "import os, sys, numpy as np\n"
        "from fractions import Fraction\nfrom pathlib import Path\n"
        "from avatarify_plus.sinks.recorder import Recorder\n"
        "recorder = Recorder(Path(sys.argv[1]), 64, Fraction(25), is_constant=True)\n"
        "for index in range(100): recorder.send(np.full((64, 64, 3), index, np.uint8), index / 25)\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False, timeout=60)
    assert len(read_film(path)[0]) >= 50


def test_a_recording_without_frames_leaves_no_file(tmp_path: Path) -> None:
    Recorder(tmp_path / "out.mp4", 64, Fraction(25), is_constant=True).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("path", "message"), [("none/out.mp4", "there is no folder"), ("taken.mp4", "cannot write")])
def test_what_cannot_be_written_is_told(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "taken.mp4").mkdir()
    with pytest.raises(SinkError, match=message) as caught:
        Recorder(tmp_path / path, 64, Fraction(25), is_constant=True)
    assert "\n" not in str(caught.value)


def test_a_closed_recording_refuses_pictures(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4", 64, Fraction(25), is_constant=True)
    recorder.send(plain_picture(9, 64, 64), 0.0)
    recorder.close()
    recorder.close()
    with pytest.raises(SinkError, match="closed"):
        recorder.send(plain_picture(9, 64, 64), 0.04)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, Linux's full disk")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").symlink_to("/dev/full")
    with pytest.raises(SinkError, match=r"No space left.*free space"):
        recorder = Recorder(tmp_path / "out.mp4", 64, Fraction(25), is_constant=True)
        for index, picture in enumerate(gradients(20) * 4):
            recorder.send(picture, index / 25)
        recorder.close()


# --- virtual camera ---


class FakeDevice:
    """pyvirtualcam's Camera with a device that takes two pictures."""

    device = "/dev/video9"

    def __init__(self, width: int, height: int, fps: float) -> None:
        self.asked = (width, height, fps)
        self.sent: list[Image] = []
        self.is_closed = False

    def send(self, picture: Image) -> None:
        if len(self.sent) == 2:
            raise RuntimeError("device gone")
        self.sent.append(picture)

    def close(self) -> None:
        self.is_closed = True


def fake_pyvirtualcam(monkeypatch: pytest.MonkeyPatch, camera: object) -> None:
    module = types.ModuleType("pyvirtualcam")
    module.Camera = camera  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)


def test_the_virtual_camera_gets_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    devices: list[FakeDevice] = []

    def open_device(width: int, height: int, fps: float) -> FakeDevice:
        devices.append(FakeDevice(width, height, fps))
        return devices[-1]

    fake_pyvirtualcam(monkeypatch, open_device)
    sink = VirtualCamera(64, Fraction(30000, 1001))
    assert devices[0].asked[:2] == (64, 64)
    assert devices[0].asked[2] == pytest.approx(29.97, abs=0.001)
    sent = gradients(3)
    sink.send(sent[0], 0.0)
    sink.send(sent[1], 0.1)
    np.testing.assert_array_equal(devices[0].sent, sent[:2])
    with pytest.raises(VirtualCameraError, match="device gone"):
        sink.send(sent[2], 0.2)
    sink.close()
    assert devices[0].is_closed


@pytest.mark.parametrize(("platform", "hint"), [("linux", "sudo modprobe v4l2loopback"), ("win32", "OBS Studio")])
def test_a_missing_driver_names_the_fix(monkeypatch: pytest.MonkeyPatch, platform: str, hint: str) -> None:
    def refuse(width: int, height: int, fps: float) -> None:
        raise RuntimeError("no device")

    fake_pyvirtualcam(monkeypatch, refuse)
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(VirtualCameraError, match=hint) as caught:
        VirtualCamera(64, Fraction(30))
    assert "\n" not in str(caught.value)


def test_every_system_has_a_fix() -> None:
    assert "Start Virtual Camera" in fix("darwin")
    assert "--output" in fix("plan9")


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(VirtualCameraError, match="pip install pyvirtualcam"):
        VirtualCamera(64, Fraction(30))


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
def test_a_missing_screen_is_told(display: str, message: str) -> None:
    with pytest.raises(SinkError, match=message) as caught:
        require_x_server(display)
    assert "--no-preview" in str(caught.value)


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb, a screen in memory")
def test_the_window_opens_while_recording(tmp_path: Path) -> None:
    """In a program of its own: PyAV loaded before OpenCV's window makes it hang, and here both are loaded."""
    code = (
        "import sys, numpy as np\n"
        "from fractions import Fraction\nfrom pathlib import Path\n"
        "from avatarify_plus.preview import Preview\n"
        "from avatarify_plus.sinks.recorder import Recorder\n"
        "recorder = Recorder(Path(sys.argv[1]), 64, Fraction(25), is_constant=True)\n"
        "preview = Preview(64, lambda: None)\n"
        "for index in range(3):\n"
        "    for sink in (recorder, preview): sink.send(np.full((64, 64, 3), 80 * index, np.uint8), index / 25)\n"
        "preview.close(), recorder.close()\n"
    )
    reading, writing = os.pipe()
    screen = subprocess.Popen(["Xvfb", "-displayfd", str(writing)], pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        with os.fdopen(reading) as numbers:
            display = f":{numbers.readline().strip()}"
        environment = os.environ | {"DISPLAY": display}
        command = [sys.executable, "-c", code, str(tmp_path / "out.mp4")]
        shown = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    finally:
        screen.terminate()
        screen.wait(10)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert len(read_film(tmp_path / "out.mp4")[0]) == 3


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
