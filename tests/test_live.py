"""Whole runs with a fake engine: what is written, what is told, and that everything is closed on every way out."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatarify_plus import live
from avatarify_plus.camera import Film, LiveCamera
from avatarify_plus.config import AppConfig
from avatarify_plus.errors import AvatarifyError, CameraError, ConfigError, SinkError, SourceError, VirtualCameraError
from avatarify_plus.live import run
from avatarify_plus.motion import load_mesh_layout
from avatarify_plus.types import Image, Keypoints
from fakes import EXAMPLES, FakeEngine, FakeReader, FakeSink, example_driver, plain_picture, read_film, write_film

COUNT = 8
RATE = Fraction(30000, 1001)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example driver's beginning."""
    return write_film(tmp_path_factory.mktemp("driver") / "driver.mp4", example_driver(COUNT), RATE)


@pytest.fixture
def config(driver: Path, tmp_path: Path) -> AppConfig:
    return AppConfig(avatar=EXAMPLES / "avatar_2.jpg", camera=str(driver), output=tmp_path / "out.mp4", smoothing=0.0)


@pytest.fixture
def sinks(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeSink]:
    """Preview and virtual camera that remember; the recorder is the real one."""
    fakes = {"preview": FakeSink("preview"), "virtual camera": FakeSink("virtual camera")}
    monkeypatch.setattr(live, "Preview", lambda size_px, on_exit: fakes["preview"])
    monkeypatch.setattr(live, "VirtualCamera", lambda size_px, rate: fakes["virtual camera"])
    return fakes


def refuse(message: str, kind: type[SinkError] = SinkError) -> Callable[[int, Any], FakeSink]:
    """Return the constructor of a sink that is not there."""

    def construct(size_px: int, more: object) -> FakeSink:
        raise kind(message)

    return construct


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


# --- a file, frame by frame ---


def test_a_film_becomes_a_film_of_the_same_count_and_rate(
    config: AppConfig, sinks: dict[str, FakeSink], capfd: pytest.CaptureFixture[str]
) -> None:
    engine, before = FakeEngine(), handlers()
    summary = run(config, engine)
    assert config.output is not None
    pictures, rate = read_film(config.output)
    assert len(pictures) == COUNT
    assert rate == pytest.approx(float(RATE))
    assert pictures[0].shape == (64, 64, 3)
    assert (summary.frame_count, summary.skipped_count, summary.faceless_count) == (COUNT, 0, 0)
    assert (summary.engine, summary.device, summary.output) == ("fake", "thin air", config.output)
    assert summary.fps > 0
    assert 0 < summary.latency_p50_ms <= summary.latency_p95_ms
    assert not any(sink.sent for sink in sinks.values())  # a film is written, not shown
    assert not engine.is_closed  # it is the caller's
    assert handlers() == before
    errors = capfd.readouterr().err
    assert f"{COUNT}/{COUNT}" in errors  # the progress bar
    assert "W0000" not in errors
    assert "TensorFlow" not in errors


def test_the_avatar_moves_as_the_driver_does(config: AppConfig) -> None:
    engine = FakeEngine()
    run(config, engine)
    rest, first, *later = [keypoints.value for keypoints in engine.animated]
    np.testing.assert_allclose(first, rest, atol=1e-5)  # the first frame is the neutral one
    assert np.abs(later[-1] - rest).max() > 1e-4
    assert len(engine.sources) == 1


def test_mirroring_mirrors_the_driver_not_the_avatar(config: AppConfig) -> None:
    plain, mirrored = FakeEngine(), FakeEngine()
    absolute = replace(config, motion="absolute")
    run(absolute, plain)
    run(replace(absolute, mirror=True), mirrored)
    np.testing.assert_array_equal(plain.sources[0], mirrored.sources[0])
    order = list(load_mesh_layout("face-20").mirror)
    expected = plain.animated[-1].value[order] * (-1, 1)
    assert np.abs(mirrored.animated[-1].value - expected).mean() < 0.03


def test_framing_none_uses_the_pictures_as_they_are(config: AppConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """With learned keypoints nobody needs a face: drawings and animals are welcome, MediaPipe is not even started."""
    monkeypatch.setattr("avatarify_plus.framing.FaceMesh", None)
    engine = FakeEngine("learned")
    assert run(replace(config, framing="none"), engine).frame_count == COUNT
    assert len(engine.detected) == COUNT + 1


def test_frames_without_a_face_repeat_the_picture(config: AppConfig, tmp_path: Path) -> None:
    faces = example_driver(2)
    blank = np.zeros_like(faces[0])
    film = write_film(tmp_path / "gaps.mp4", [blank, faces[0], faces[1], blank, blank])
    engine = FakeEngine()
    summary = run(replace(config, camera=str(film)), engine)
    assert summary.frame_count == 5
    assert summary.faceless_count >= 2  # the tracker may hold on for a moment
    assert len(engine.animated) == 1 + 5 - summary.faceless_count


def test_a_film_needs_somewhere_to_go(config: AppConfig) -> None:
    with pytest.raises(ConfigError, match=r"nowhere to go: add --output .* or --live"):
        run(replace(config, output=None), FakeEngine())


def test_the_driver_is_never_overwritten(config: AppConfig) -> None:
    before = Path(config.camera).read_bytes()
    with pytest.raises(ConfigError, match="is the file of --camera: choose another name"):
        run(replace(config, output=Path(config.camera)), FakeEngine())
    assert Path(config.camera).read_bytes() == before


def test_a_driver_that_is_handed_over_stays_open(config: AppConfig) -> None:
    reader = FakeReader(example_driver(3), is_live=False)
    summary = run(replace(config, camera="nowhere.mp4"), FakeEngine(), Film(reader))
    assert summary.frame_count == 3
    assert reader.close_count == 0


# --- live ---


def test_a_film_played_live_goes_to_all_sinks(config: AppConfig, sinks: dict[str, FakeSink]) -> None:
    summary = run(replace(config, live=True), FakeEngine())
    assert config.output is not None
    assert summary.frame_count + summary.skipped_count == COUNT
    assert summary.frame_count == len(read_film(config.output)[0])
    for sink in sinks.values():
        assert len(sink.sent) == summary.frame_count
        assert sink.close_count == 1
        times = [time_s for _, time_s in sink.sent]
        assert times == sorted(times)


def test_what_is_switched_off_is_not_opened(config: AppConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "Preview", refuse("opened"))
    monkeypatch.setattr(live, "VirtualCamera", refuse("opened"))
    assert run(replace(config, live=True, preview=False, virtual_camera=False), FakeEngine()).frame_count


def test_a_missing_virtual_camera_costs_one_warning(
    config: AppConfig, sinks: dict[str, FakeSink], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "VirtualCamera", refuse("no virtual camera found: modprobe", VirtualCameraError))
    summary = run(replace(config, live=True), FakeEngine())
    assert len(sinks["preview"].sent) == summary.frame_count > 0
    assert [record.getMessage() for record in caplog.records] == [
        "no virtual camera found: modprobe; going on without it"
    ]


def test_nothing_left_to_show_is_an_error(config: AppConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "VirtualCamera", refuse("no virtual camera found", VirtualCameraError))
    monkeypatch.setattr(live, "Preview", refuse("there is no screen"))
    with pytest.raises(
        SinkError, match="nothing is left to show pictures: there is no screen; no virtual camera found"
    ):
        run(replace(config, live=True, output=None), FakeEngine())


def test_closing_the_preview_ends_the_run(config: AppConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(FakeSink):
        def __init__(self, size_px: int, on_exit: Callable[[], None]) -> None:
            super().__init__("preview")
            self._on_exit = on_exit

        def send(self, image: Image, time_s: float) -> None:
            super().send(image, time_s)
            self._on_exit()

    monkeypatch.setattr(live, "Preview", Impatient)
    assert run(replace(config, live=True, virtual_camera=False), FakeEngine()).frame_count == 1


# --- ways out ---


class Interrupted(FakeEngine):
    """Somebody presses Ctrl-C, or the system shuts down, while the fourth picture is computed."""

    signal = signal.SIGINT

    def animate(self, source: Any, keypoints: Keypoints) -> Image:
        if len(self.animated) == 4:
            os.kill(os.getpid(), self.signal)
        return super().animate(source, keypoints)


class Terminated(Interrupted):
    signal = signal.SIGTERM


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send itself these signals")
@pytest.mark.parametrize("kind", [Interrupted, Terminated])
def test_a_signal_leaves_a_recording_that_plays(config: AppConfig, kind: type[FakeEngine]) -> None:
    before = handlers()
    summary = run(config, kind())
    assert config.output is not None
    assert summary.frame_count == len(read_film(config.output)[0]) == 4  # the first call showed the avatar at rest
    assert handlers() == before


def test_a_failing_engine_leaves_a_recording_that_plays(config: AppConfig) -> None:
    class Broken(FakeEngine):
        def animate(self, source: Any, keypoints: Keypoints) -> Image:
            if len(self.animated) == 4:
                raise AvatarifyError("out of memory")
            return super().animate(source, keypoints)

    with pytest.raises(AvatarifyError, match="out of memory"):
        run(config, Broken())
    assert config.output is not None
    assert len(read_film(config.output)[0]) == 3


def test_an_unplugged_camera_closes_everything(
    config: AppConfig, sinks: dict[str, FakeSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unplugged(FakeReader):
        def read(self) -> Image | None:
            picture = super().read()
            if picture is None:
                raise CameraError("webcam 0 gives no pictures any more")
            return picture

    reader = Unplugged(example_driver(2))
    monkeypatch.setattr(live, "open_driver", lambda camera, sequence_fps, plays_live: LiveCamera(reader))
    with pytest.raises(CameraError, match="gives no pictures any more"):
        run(config, FakeEngine())
    assert reader.close_count == 1
    assert [sink.close_count for sink in sinks.values()] == [1, 1]


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"avatar": Path("nobody.jpg")}, SourceError, "cannot read the photo nobody.jpg"),
        ({"camera": "nowhere.mp4"}, CameraError, "there is no driver nowhere.mp4"),
        ({"output": Path("no/such/folder/out.mp4")}, SinkError, "there is no folder"),
    ],
)
def test_a_wrong_path_is_told(
    config: AppConfig, change: dict[str, Any], kind: type[AvatarifyError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        run(replace(config, **change), FakeEngine())


def test_a_photo_without_a_face_is_told_and_nothing_is_written(config: AppConfig, tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "wall.png"), plain_picture(120, 200, 200))
    with pytest.raises(SourceError, match="no face found in the photo"):
        run(replace(config, avatar=tmp_path / "wall.png"), FakeEngine())
    assert config.output is not None
    assert not config.output.exists()


def test_a_run_outside_the_main_thread_leaves_signals_alone(config: AppConfig) -> None:
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(run(config, FakeEngine()).frame_count))
    thread.start()
    thread.join(60)
    assert counts == [COUNT]


def test_the_square_of_the_avatar_reaches_the_engine(config: AppConfig) -> None:
    engine = FakeEngine(image_size=128)
    run(config, engine)
    assert engine.sources[0].shape == (128, 128, 3)
    rest = engine.animated[0].value
    assert np.all(np.abs(rest) < 0.8)
