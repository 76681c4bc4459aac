"""Whole runs with a fake engine: what is written, what is reported, and that everything is closed on every way out."""

import itertools
import os
import shutil
import signal
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from avatarify_plus import live, settings
from avatarify_plus.bundle import Bundle
from avatarify_plus.camera import FileSource, LiveCamera
from avatarify_plus.config import AppConfig
from avatarify_plus.errors import AvatarifyError, CameraError, ConfigError, SinkError, SourceError, VirtualCameraError
from avatarify_plus.live import run
from avatarify_plus.motion.keypoints import load_mesh_layout
from avatarify_plus.pictures.badge import still_card
from avatarify_plus.preview.keys import Press, press_of
from avatarify_plus.settings import KeptSettings
from avatarify_plus.types import Image, Keypoints, Size
from fakes import EXAMPLES, FakeEngine, FakeReader, FakeSink, example_driver, plain_picture, read_video, write_video
from films import ends_of, times_of, write_film

COUNT = 8
RATE = Fraction(30000, 1001)
SIZE = Size(64, 64)

AT_START = 3
"""The engine's first calls for an avatar: it at rest, and two faces that show how much of what is asked arrives."""


@pytest.fixture(scope="module")
def frame_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example driver's beginning."""
    return write_video(tmp_path_factory.mktemp("driver") / "driver.mp4", example_driver(COUNT), RATE)


@pytest.fixture
def config(frame_source: Path, tmp_path: Path) -> AppConfig:
    return AppConfig(
        avatar=(EXAMPLES / "avatar_2.jpg",),
        camera=str(frame_source),
        output=tmp_path / "out.mp4",
        smoothing=0.0,
        size=SIZE,
    )


class FakePreview:
    """A window whose user presses a key after each picture, and closes it after the last key."""

    def __init__(self, keys: str = " " * COUNT) -> None:
        self.shown: list[Image] = []
        self.close_count = 0
        self._keys = iter(keys)

    def show(self, image: Image) -> None:
        self.shown.append(image.copy())

    def presses(self) -> list[Press]:
        key = next(self._keys, "\x1b")
        press = press_of(ord(key))
        return [] if press is None else [press]

    def close(self) -> None:
        self.close_count += 1


class Outside:
    """Preview and virtual camera that remember, or are missing; the recorder is the real one."""

    name = "virtual camera"

    def __init__(self) -> None:
        self.preview = FakePreview()
        self.camera = FakeSink(self.name)
        self.missing: dict[str, str] = {}

    def __call__(self, size: Size, rate: Fraction, device: str | None) -> FakeSink:
        if "camera" in self.missing:
            raise VirtualCameraError(self.missing["camera"])
        return self.camera

    def open_preview(self) -> FakePreview:
        if "preview" in self.missing:
            raise SinkError(self.missing["preview"])
        return self.preview


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Outside:
    outside = Outside()
    monkeypatch.setattr(live, "PreviewWindow", outside.open_preview)
    monkeypatch.setattr(live, "VirtualCamera", outside)
    return outside


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


# --- a file, frame by frame ---


def test_a_video_becomes_a_video_of_the_same_count_and_rate(
    config: AppConfig, outside: Outside, capfd: pytest.CaptureFixture[str]
) -> None:
    engine, before = FakeEngine(), handlers()
    summary = run(config, engine)
    assert config.output is not None
    pictures, rate = read_video(config.output)
    assert len(pictures) == COUNT
    assert rate == pytest.approx(float(RATE))
    assert pictures[0].shape == (64, 64, 3)
    assert (summary.frame_count, summary.skipped_count, summary.faceless_count) == (COUNT, 0, 0)
    assert (summary.engine, summary.device, summary.output) == ("fake", "thin air", config.output)
    assert summary.fps > 0
    assert 0 < summary.latency_p50_ms <= summary.latency_p95_ms
    assert not outside.camera.sent + outside.preview.shown  # a video is written, not shown
    assert not engine.is_closed  # it is the caller's
    assert handlers() == before
    errors = capfd.readouterr().err
    assert f"{COUNT}/{COUNT}" in errors  # the progress bar
    assert "W0000" not in errors
    assert "TensorFlow" not in errors


def test_the_avatar_moves_as_the_driver_does(config: AppConfig) -> None:
    engine = FakeEngine()
    run(replace(config, search=False), engine)
    rest, *_ = played = [keypoints.value for keypoints in engine.animated]
    first, *later = played[AT_START:]
    assert np.abs(first - rest).mean() < 0.01  # the first frame is the neutral one
    assert np.abs(later[-1] - first).max() > 1e-4
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
    monkeypatch.setattr("avatarify_plus.face.driver_framing.FaceMesh", None)
    engine = FakeEngine("learned")
    assert run(replace(config, framing="none"), engine).frame_count == COUNT
    assert len(engine.detected) == 1 + 2 * COUNT  # the photo, and the driver twice: the first time to know him


def test_frames_without_a_face_repeat_the_picture(config: AppConfig, tmp_path: Path) -> None:
    faces = example_driver(2)
    blank = np.zeros_like(faces[0])
    video = write_video(tmp_path / "gaps.mp4", [blank, faces[0], faces[1], blank, blank])
    engine = FakeEngine()
    summary = run(replace(config, camera=str(video)), engine)
    assert summary.frame_count == 5
    assert summary.faceless_count >= 2  # the tracker may hold on for a moment
    assert len(engine.animated) == AT_START + 5 - summary.faceless_count


def test_a_video_needs_an_output(config: AppConfig) -> None:
    with pytest.raises(ConfigError, match=r"nowhere to go: add --output .* or --live"):
        run(replace(config, output=None), FakeEngine())


def test_the_driver_is_never_overwritten(config: AppConfig) -> None:
    before = Path(config.camera).read_bytes()
    with pytest.raises(ConfigError, match="is the file of --camera: choose another name"):
        run(replace(config, output=Path(config.camera)), FakeEngine())
    assert Path(config.camera).read_bytes() == before


def test_a_driver_that_is_handed_over_stays_open(config: AppConfig) -> None:
    reader = FakeReader(example_driver(3), is_live=False)
    summary = run(replace(config, camera="nowhere.mp4"), FakeEngine(), FileSource(reader))
    assert summary.frame_count == 3
    assert reader.close_count == 0


def test_a_film_has_the_times_and_the_sound_of_its_driver(config: AppConfig, tmp_path: Path) -> None:
    times_s = [0.0, 0.03, 0.2, 0.7]
    driver = write_film(tmp_path / "uneven.mp4", example_driver(4), times_s, sound="aac", sound_s=0.7)
    run(replace(config, camera=str(driver)), FakeEngine())
    assert config.output is not None
    np.testing.assert_allclose(times_of(config.output), times_s, atol=1e-3)
    assert ends_of(config.output).keys() == {"video", "audio"}
    assert ends_of(config.output)["video"] == pytest.approx(ends_of(driver)["video"], abs=0.01)
    run(replace(config, camera=str(driver), sound=False), FakeEngine())
    assert ends_of(config.output).keys() == {"video"}


@pytest.mark.parametrize("search", [True, False])
@pytest.mark.parametrize("output", ["out.mp4", "shots"])
def test_a_driver_without_any_face_is_an_error_and_nothing_is_left(
    config: AppConfig, tmp_path: Path, search: bool, output: str
) -> None:
    walls = write_video(tmp_path / "walls.mp4", [plain_picture(10 * index, 240, 320) for index in range(8)])
    changed = replace(config, camera=str(walls), output=tmp_path / output, search=search)
    with pytest.raises(CameraError, match=r"no face was found in the driver .*walls\.mp4: give a video of one person"):
        run(changed, FakeEngine())
    assert not (tmp_path / output).exists()


def test_a_driver_that_breaks_off_leaves_the_film_up_to_there(config: AppConfig, tmp_path: Path) -> None:
    driver = write_film(tmp_path / "cut.mkv", example_driver(30), sound="aac")
    driver.write_bytes(driver.read_bytes()[: driver.stat().st_size // 2])
    with pytest.raises(CameraError, match="breaks off after"):
        run(replace(config, camera=str(driver)), FakeEngine())
    assert config.output is not None
    assert 5 < len(read_video(config.output)[0]) < 28


def test_a_folder_takes_the_pictures(config: AppConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    driver = write_film(tmp_path / "driver.mp4", example_driver(3), sound="aac")
    changed = replace(config, camera=str(driver), output=tmp_path / "shots")
    assert run(changed, FakeEngine()).frame_count == 3
    assert len(list((tmp_path / "shots").glob("*.png"))) == 3
    assert "shots has no sound, because pictures can hold none" in caplog.text
    with pytest.raises(SinkError, match="holds pictures already"):
        run(changed, FakeEngine())


def test_several_photos_and_a_folder_make_a_film_each(
    config: AppConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("2.jpg", "10.jpg"):
        shutil.copy(EXAMPLES / "avatar_2.jpg", photos / name)
    shutil.copy(EXAMPLES / "avatar_1.jpg", tmp_path / "2.jpg")  # of the same name
    (photos / "wall.png").write_bytes(b"not a photo")
    engine = FakeEngine()
    summary = run(replace(config, avatar=(photos, tmp_path / "2.jpg"), output=tmp_path / "films"), engine)
    films = sorted((tmp_path / "films").iterdir())
    assert [film.name for film in films] == ["10.mp4", "2-2.mp4", "2.mp4"]
    assert [len(read_video(film)[0]) for film in films] == [COUNT] * 3
    assert (summary.frame_count, summary.output) == (3 * COUNT, tmp_path / "films")
    assert len(engine.sources) == 3
    assert "wall.png" in caplog.text
    assert "this photo is left out" in caplog.text


def test_without_a_usable_photo_no_folder_is_left(config: AppConfig, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), plain_picture(120, 200, 200))
    photos = (tmp_path / "a.png", tmp_path / "b.png")
    with pytest.raises(SourceError, match=r"no face found in the photo .*a\.png"):
        run(replace(config, avatar=photos, output=tmp_path / "films"), FakeEngine())
    assert not (tmp_path / "films").exists()


def test_one_film_of_several_photos_says_whose_it_is(config: AppConfig, caplog: pytest.LogCaptureFixture) -> None:
    photos = (EXAMPLES / "avatar_2.jpg", EXAMPLES / "avatar_1.jpg")
    run(replace(config, avatar=photos), FakeEngine())
    assert "shows the first photo" in caplog.text
    assert "for a film of each, give a folder as --output" in caplog.text


# --- live ---


def test_a_live_recording_is_no_folder(config: AppConfig, tmp_path: Path) -> None:
    for photos in (config.avatar, (EXAMPLES,)):
        with pytest.raises(
            ConfigError, match=r"is a folder, and a live recording is one film: give --output FILE\.mp4"
        ):
            run(replace(config, avatar=photos, output=tmp_path / "shots", live=True), FakeEngine())
    assert not (tmp_path / "shots").exists()


def test_a_video_played_live_goes_everywhere(config: AppConfig, outside: Outside) -> None:
    summary = run(replace(config, live=True), FakeEngine())
    assert config.output is not None
    assert summary.frame_count > 0  # the video goes on for ever, the user does not
    assert len(outside.preview.shown) == COUNT + 1
    recorded = read_video(config.output)[0]
    assert len(recorded) == len(outside.camera.sent) >= summary.frame_count
    assert {picture.shape for picture, _ in outside.camera.sent} == {(64, 64, 3)}
    times = [time_s for _, time_s in outside.camera.sent]
    assert times == sorted(times)
    assert (outside.preview.close_count, outside.camera.close_count) == (1, 1)


def test_calls_get_the_size_they_expect(config: AppConfig, outside: Outside) -> None:
    run(replace(config, live=True, output=None, size=None), FakeEngine())
    assert {picture.shape for picture, _ in outside.camera.sent} == {(720, 1280, 3)}


def test_what_is_switched_off_is_not_opened(
    config: AppConfig, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    outside.missing = {"camera": "opened", "preview": "opened"}
    run(replace(config, live=True, preview=False, virtual_camera=False, seconds=0.3), FakeEngine())
    assert not caplog.records


def test_a_missing_virtual_camera_costs_one_warning(
    config: AppConfig, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    outside.missing = {"camera": "no virtual camera found: modprobe"}
    run(replace(config, live=True), FakeEngine())
    assert len(outside.preview.shown) == COUNT + 1
    assert [record.getMessage() for record in caplog.records] == [
        "no virtual camera found: modprobe; it is looked for while going on without it"
    ]


def test_nothing_left_to_show_is_an_error(config: AppConfig, outside: Outside) -> None:
    outside.missing = {"camera": "no virtual camera found", "preview": "there is no screen"}
    with pytest.raises(
        SinkError, match="nothing is left to show pictures: there is no screen; no virtual camera found"
    ):
        run(replace(config, live=True, output=None), FakeEngine())


def test_closing_the_preview_ends_the_run(config: AppConfig, outside: Outside) -> None:
    outside.preview = FakePreview("")
    run(replace(config, live=True), FakeEngine())
    assert len(outside.preview.shown) == 1


def test_keys_act_at_once_and_are_kept(config: AppConfig, outside: Outside) -> None:
    """Panic at the second turn, back at the fourth; strength up, stats on."""
    outside.preview = FakePreview(" p  p]]i   ")
    run(replace(config, live=True, output=None), FakeEngine(), kept=KeptSettings(()))
    pictures = [picture for picture, _ in outside.camera.sent][1:]  # the first one is the avatar at rest
    card = still_card(SIZE)
    np.testing.assert_array_equal(pictures[2], card)
    assert not np.array_equal(pictures[1], card)
    assert not np.array_equal(pictures[-1], card)
    assert settings.load() == {"strength": pytest.approx(1.2), "show_stats": True}


def test_kept_settings_count_for_live_runs_only(config: AppConfig, outside: Outside) -> None:
    """T was pressed in a call, so what is sent is mirrored; a video made of a file is not."""
    outside.preview = FakePreview("t" + " " * 5)
    run(replace(config, live=True, output=None), FakeEngine(), kept=KeptSettings(()))
    assert settings.load() == {"mirror_output": True}
    videos = []
    for name, kept in (("plain", None), ("kept", KeptSettings(()))):
        output = config.output.with_name(f"{name}.mp4") if config.output else None
        assert output is not None
        run(replace(config, output=output), FakeEngine(), kept=kept)
        videos.append(output.read_bytes())
    assert videos[0] == videos[1]
    outside.preview = FakePreview("R" + " " * 3)
    run(replace(config, live=True, output=None), FakeEngine(), kept=KeptSettings(()))
    assert settings.load() == {}


def test_without_a_change_nothing_is_kept(config: AppConfig, outside: Outside) -> None:
    outside.preview = FakePreview("pp  ")
    run(replace(config, live=True), FakeEngine(), kept=KeptSettings(()))
    assert not settings.path().exists()


def test_a_camera_without_new_frames_keeps_the_virtual_camera_alive(config: AppConfig, outside: Outside) -> None:
    hold = threading.Event()
    outside.preview = FakePreview(" " * 5)
    with LiveCamera(FakeReader(example_driver(2), hold=hold)) as camera:
        summary = run(replace(config, output=None), FakeEngine(), camera)
        hold.set()
    pictures = [picture for picture, _ in outside.camera.sent]
    assert len(pictures) > summary.frame_count > 0
    np.testing.assert_array_equal(pictures[-1], pictures[-2])


def test_two_avatars_are_switched_by_keys(config: AppConfig, outside: Outside) -> None:
    engine = FakeEngine()
    outside.preview = FakePreview("  2   ")
    photos = (EXAMPLES / "avatar_1.jpg", EXAMPLES / "avatar_2.jpg")
    run(replace(config, avatar=photos, live=True, output=None), engine)
    assert len(engine.sources) == 2  # encoded at start, never again
    shown = engine.played[2 * AT_START :]
    changes = [index for index, (a, b) in enumerate(itertools.pairwise(shown)) if a is not b]
    assert changes in ([1], [2])  # with the picture after the key: the window was refreshed twice or thrice before


# --- ways out ---


class Interrupted(FakeEngine):
    """Somebody presses Ctrl-C, or the system shuts down, while the fourth picture is computed."""

    signal = signal.SIGINT

    def animate(self, source: Any, keypoints: Keypoints) -> Image:
        if len(self.animated) == AT_START + 3:
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
    assert summary.frame_count == len(read_video(config.output)[0]) == 4
    assert handlers() == before


@pytest.mark.parametrize("waits_for", ["camera", "engine"])
def test_a_run_that_is_stopped_before_its_first_frame_has_done_nothing(
    config: AppConfig, monkeypatch: pytest.MonkeyPatch, waits_for: str
) -> None:
    stop, engine = threading.Event(), FakeEngine()

    def open_camera(*given: Any) -> FileSource:
        stop.set()
        raise CameraError("it has not answered yet")

    def open_engine(config: AppConfig) -> FakeEngine:
        stop.set()
        return engine

    if waits_for == "camera":
        monkeypatch.setattr(live, "open_frame_source", open_camera)
    monkeypatch.setattr(live, "open_wanted_engine", open_engine)
    assert run(config, stop=stop) == live.NOTHING_DONE
    assert config.output is not None and not config.output.exists()
    assert not engine.sources and engine.is_closed is (waits_for == "engine")


def test_a_failing_engine_leaves_a_recording_that_plays(config: AppConfig) -> None:
    class Broken(FakeEngine):
        def animate(self, source: Any, keypoints: Keypoints) -> Image:
            if len(self.animated) == AT_START + 3:
                raise AvatarifyError("out of memory")
            return super().animate(source, keypoints)

    with pytest.raises(AvatarifyError, match="out of memory"):
        run(config, Broken())
    assert config.output is not None
    assert len(read_video(config.output)[0]) == 3


def test_a_camera_that_never_gives_a_picture_closes_everything(
    config: AppConfig, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unplugged(FakeReader):
        def read(self) -> Image | None:
            picture = super().read()
            if picture is None:
                raise CameraError("webcam 0 gives no pictures any more")
            return picture

    reader = Unplugged([])
    monkeypatch.setattr(live, "open_frame_source", lambda *_: LiveCamera(reader))
    with pytest.raises(CameraError, match="gives no pictures any more"):
        run(config, FakeEngine())
    assert reader.close_count == 1
    assert (outside.preview.close_count, outside.camera.close_count) == (1, 1)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"avatar": (Path("nobody.jpg"),)}, SourceError, "cannot read the photo nobody.jpg"),
        ({"camera": "nowhere.mp4"}, CameraError, "there is no driver nowhere.mp4"),
        ({"output": Path("no/such/folder/out.mp4")}, SinkError, "there is no folder"),
    ],
)
def test_a_wrong_path_is_an_error(
    config: AppConfig, change: dict[str, Any], kind: type[AvatarifyError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        run(replace(config, **change), FakeEngine())


def test_a_photo_without_a_face_is_an_error_and_nothing_is_written(config: AppConfig, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wall.png"), plain_picture(120, 200, 200))
    with pytest.raises(SourceError, match="no face found in the photo"):
        run(replace(config, avatar=(tmp_path / "wall.png",)), FakeEngine())
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


def test_a_film_has_the_size_that_the_photo_has(config: AppConfig, photo_bundle: Bundle) -> None:
    """The photo's square has 684 pixels."""
    for photo_px, side in ((512, 512), (1024, 684), (64, 256)):
        changed = replace(config, size=None, model=str(photo_bundle.folder), engine="openvino", photo_px=photo_px)
        assert run(changed).frame_count == COUNT
        assert config.output is not None
        pictures, _ = read_video(config.output)
        assert pictures[0].shape == (side, side, 3)
