"""The command line: generated from AppConfig, one line for each mistake."""

import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from avatarify_plus import __version__, live, settings
from avatarify_plus import app as program
from avatarify_plus.config import AppConfig
from avatarify_plus.errors import ConfigError, ModelError
from avatarify_plus.live import Summary
from avatarify_plus.types import Size

ROOT = Path(__file__).resolve().parents[2]


FACE = (Path("face.jpg"),)


def parse(*arguments: str) -> AppConfig:
    return program.config_of(vars(program.build_parser().parse_args(["--avatar", "face.jpg", *arguments])))


def summary(**changes: Any) -> Summary:
    values: dict[str, Any] = {
        "frame_count": 250, "skipped_count": 0, "faceless_count": 0, "elapsed_s": 10.0, "fps": 25.0,
        "latency_p50_ms": 30.4, "latency_p95_ms": 41.0, "engine": "openvino", "device": "CPU", "output": None,
    }  # fmt: skip
    return Summary(**values | changes)


def test_every_field_is_an_option_with_its_default_and_help() -> None:
    assert parse() == AppConfig(avatar=FACE)
    text = " ".join(program.build_parser().format_help().split())
    for option in fields(AppConfig):
        name = option.name.replace("_", "-")
        assert f"--{name}" in text
        if isinstance(option.default, bool):
            assert f"--no-{name}" in text
        assert option.metadata["help"].split(",")[0].split(":")[0] in text
        if option.default is None and option.metadata["has_auto"]:
            assert option.metadata["help"] + " (default: auto)" in text
        if option.default is not MISSING and option.default not in (None, True, False):
            assert f"(default: {option.default})" in text


def test_a_name_that_no_system_takes_is_left_to_who_opens_it() -> None:
    for name in ("9" * 300, "9" * 300 + ".mp4"):
        config = parse("--output", name)
        assert config.output == Path(name) and config.fills_folder == (not name.endswith(".mp4"))
    assert not AppConfig(avatar=(Path("9" * 300),), output=Path("films")).makes_films


def test_options_become_values_of_their_types() -> None:
    config = parse(
        "--camera", "1", "--output", "out.mp4", "--live", "--no-preview", "--no-virtual-camera", "--engine", "torch",
        "--framing", "none", "--motion", "absolute", "--movement-scale", "0.8", "--smoothing", "0", "--mirror",
        "--sequence-fps", "12.5", "--model", "models/mine", "--verbose", "--camera-size", "auto", "--size", "640x360",
        "--camera-fps", "auto", "--fps-limit", "20", "--no-badge", "--frame", "photo", "--no-search",
    )  # fmt: skip
    assert config == AppConfig(
        avatar=FACE,
        camera="1",
        output=Path("out.mp4"),
        live=True,
        preview=False,
        virtual_camera=False,
        engine="torch",
        framing="none",
        motion="absolute",
        movement_scale=0.8,
        smoothing=0.0,
        mirror=True,
        sequence_fps=12.5,
        model="models/mine",
        verbose=True,
        camera_size=None,
        size=Size(640, 360),
        camera_fps=None,
        fps_limit=20.0,
        badge=False,
        frame="photo",
        search=False,
    )
    assert parse("--avatar", "a.jpg", "more").avatar == (Path("a.jpg"), Path("more"))
    assert parse("--movement-scale", "auto").movement_scale is None


@pytest.mark.parametrize(
    "change",
    [
        {"smoothing": 1.5},
        {"smoothing": float("nan")},
        {"movement_scale": 0.0},
        {"sequence_fps": 0.0},
        {"output": Path("out.avi")},
        {"camera": ""},
        {"engine": "abacus"},
        {"precision": "fp8"},
        {"framing": "maybe"},
        {"motion": "sideways"},
        {"size": Size(641, 360)},
        {"size": Size(16, 16)},
        {"camera_size": Size(9000, 480)},
        {"camera_format": "h264"},
        {"frame": "hat"},
        {"fit": "stretch"},
        {"zoom": 0.0},
        {"strength": 3.0},
        {"fps_limit": 0.0},
        {"overlay": -0.1},
        {"preview": False, "virtual_camera": False},
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        AppConfig(avatar=FACE, **change)
    option = f"--{next(iter(change)).replace('_', '-')}"
    assert option in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--avatar"],
        ["--avatar", "face.jpg", "--smoothing", "7"],
        ["--avatar", "face.jpg", "--smoothing", "much"],
        ["--avatar", "face.jpg", "--movement-scale", "much"],
        ["--avatar", "face.jpg", "--engine", "abacus"],
        ["--avatar", "face.jpg", "--out", "x.mp4"],  # no guessing of abbreviations
        ["--avatar", "face.jpg", "--output", "out.avi"],
        ["--avatar", "face.jpg", "--size", "large"],
        ["--avatar", "face.jpg", "--size", "1280"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        program.main(arguments)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("avatarify: error: ") and "avatarify --help" in line


def test_a_failure_is_one_line_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(config: AppConfig, **others: Any) -> Summary:
        raise ModelError(f"no model {config.model!r}: give a model's folder")

    monkeypatch.setattr(live, "run", fail)
    assert program.main(["--avatar", "face.jpg", "--model", "best"]) == 1
    captured = capsys.readouterr()
    assert captured.err == "avatarify: error: no model 'best': give a model's folder\n"
    assert captured.out == ""


def test_success_prints_what_was_done(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def succeed(config: AppConfig, **others: Any) -> Summary:
        return summary(output=config.output, faceless_count=3, skipped_count=2)

    monkeypatch.setattr(live, "run", succeed)
    assert program.main(["--avatar", "face.jpg", "--output", "out.mp4"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "250 frames in 10.0 s (25.0 fps), 30 ms a frame (median; 95 % within 41 ms), engine openvino on CPU",
        "2 camera frames were skipped for newer ones",
        "3 frames showed no face",
        "wrote out.mp4",
    ]


def test_the_command_line_beats_settings_and_settings_beat_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[AppConfig] = []

    def look(config: AppConfig, kept: settings.KeptSettings | None, **others: Any) -> Summary:
        seen.append(config if kept is None else kept.applied(config))
        return summary()

    monkeypatch.setattr(live, "run", look)
    settings.save({"strength": 1.3, "smoothing": 0.9, "mirror_preview": False, "mirror_output": True})
    for more in ([], ["--strength", "0.7"], ["--mirror-preview", "--no-mirror-output"], ["--no-config"]):
        assert program.main(["--avatar", "face.jpg", *more]) == 0
    assert [(c.strength, c.smoothing, c.mirror_preview, c.mirror_output) for c in seen] == [
        (1.3, 0.9, False, True),
        (0.7, 0.9, False, True),
        (1.3, 0.9, True, False),
        (1.0, 0.5, True, False),
    ]


def test_what_keys_changed_is_kept_unless_unwanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(config: AppConfig, kept: settings.KeptSettings | None, **others: Any) -> Summary:
        if kept is not None:
            kept.keep({"zoom": 1.5})
        return summary()

    monkeypatch.setattr(live, "run", change)
    program.main(["--avatar", "face.jpg", "--no-config"])
    assert settings.load() == {}
    program.main(["--avatar", "face.jpg"])
    assert settings.load() == {"zoom": 1.5}


def test_listing_cameras_needs_no_avatar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("avatarify_plus.camera.list_cameras", list)
    with pytest.raises(SystemExit) as caught:
        program.main(["--list-cameras"])
    assert caught.value.code == 0
    assert "no webcam was found" in capsys.readouterr().out


def test_faces_are_numbered_instead_of_animated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, out = ROOT / "examples" / "avatar_1.jpg", tmp_path / "faces.png"
    assert program.main(["--avatar", str(photo), "--list-faces", str(out)]) == 0
    assert capsys.readouterr().out == f"the photo {photo} shows one face; wrote {out}\n"
    assert out.exists()
    assert program.main(["--avatar", str(photo), "--list-faces", str(tmp_path / "faces.jpg")]) == 1
    assert "--list-faces must be a file name ending in .png, found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "message"),
    [("0", "--face must be from 1 to 1000, found 0"), ("left", "argument --face: 'left' is not a whole number")],
)
def test_a_face_is_chosen_by_a_number(number: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        program.main(["--avatar", "face.jpg", "--face", number])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(f"avatarify: error: {message}")


def test_nothing_done_is_printed_too() -> None:
    assert program.describe_run(summary(frame_count=0)) == "stopped before the first frame"


def test_the_program_itself_reports_a_mistake_in_one_line() -> None:
    command = [sys.executable, "run.py", "--no-config", "--avatar", "nobody.jpg"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "avatarify: error: cannot read the photo nobody.jpg: No such file or directory; check the path\n"
    )


def test_the_program_imports_no_torch_and_no_runtime_before_it_needs_one() -> None:
    heavy = ("torch", "av", "openvino", "mediapipe", "cv2")
    code = f"import sys, avatarify_plus.app; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        program.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"avatarify_plus {__version__}\n"
