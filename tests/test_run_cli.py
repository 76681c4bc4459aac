"""The command line: generated from AppConfig, one line for each mistake."""

import logging
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

import run as program
from avatarify_plus.config import AppConfig
from avatarify_plus.errors import ConfigError, ModelError
from avatarify_plus.live import Summary

ROOT = Path(__file__).resolve().parents[1]


def parse(*arguments: str) -> AppConfig:
    return AppConfig(**vars(program.build_parser().parse_args(["--avatar", "face.jpg", *arguments])))


def summary(**changes: Any) -> Summary:
    values: dict[str, Any] = {
        "frame_count": 250, "skipped_count": 0, "faceless_count": 0, "elapsed_s": 10.0, "fps": 25.0,
        "latency_p50_ms": 30.4, "latency_p95_ms": 41.0, "engine": "openvino", "device": "CPU", "output": None,
    }  # fmt: skip
    return Summary(**values | changes)


def test_every_field_is_an_option_with_its_default_and_help() -> None:
    assert parse() == AppConfig(avatar=Path("face.jpg"))
    text = " ".join(program.build_parser().format_help().split())
    for option in fields(AppConfig):
        name = option.name.replace("_", "-")
        assert f"--no-{name}" in text if option.default is True else f"--{name}" in text
        assert option.metadata["help"].split(",")[0].split(":")[0] in text
        if option.default is not MISSING and option.default not in (None, True, False):
            assert f"(default: {option.default})" in text


def test_options_become_values_of_their_types() -> None:
    config = parse(
        "--camera", "1", "--output", "out.mp4", "--live", "--no-preview", "--no-virtual-camera", "--engine", "torch",
        "--framing", "none", "--motion", "absolute", "--movement-scale", "0.8", "--smoothing", "0", "--mirror",
        "--sequence-fps", "12.5", "--model", "models/mine", "--verbose",
    )  # fmt: skip
    assert config == AppConfig(
        avatar=Path("face.jpg"),
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
    )
    assert parse("--movement-scale", "auto").movement_scale is None


@pytest.mark.parametrize(
    "change",
    [
        {"smoothing": 1.5},
        {"smoothing": float("nan")},
        {"movement_scale": 0.0},
        {"sequence_fps": 0.0},
        {"output": Path("out.gif")},
        {"camera": ""},
        {"engine": "abacus"},
        {"framing": "maybe"},
        {"motion": "sideways"},
        {"preview": False, "virtual_camera": False},
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        AppConfig(avatar=Path("face.jpg"), **change)
    assert next(iter(change)) in str(caught.value)


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
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        program.main(arguments)
    assert caught.value.code == 2
    assert "run.py: error: " in capsys.readouterr().err


def test_a_failure_is_one_line_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(config: AppConfig) -> Summary:
        raise ModelError(f"no model {config.model!r}: give a model's folder")

    monkeypatch.setattr(program, "run", fail)
    assert program.main(["--avatar", "face.jpg", "--model", "best"]) == 1
    captured = capsys.readouterr()
    assert captured.err == "avatarify: error: no model 'best': give a model's folder\n"
    assert captured.out == ""


def test_success_tells_what_was_done(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(program, "run", lambda config: summary(output=config.output, faceless_count=3, skipped_count=2))
    assert program.main(["--avatar", "face.jpg", "--output", "out.mp4"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "250 frames in 10.0 s (25.0 fps), 30 ms a frame (median; 95 % within 41 ms), engine openvino on CPU",
        "2 camera frames were skipped for newer ones",
        "3 frames showed no face and repeat the last picture",
        "wrote out.mp4",
    ]


def test_warnings_are_told_in_the_form_of_errors() -> None:
    record = logging.LogRecord("any", logging.WARNING, __file__, 1, "no %s found", ("virtual camera",), None)
    assert program.LineFormatter().format(record) == "avatarify: warning: no virtual camera found"


def test_nothing_done_is_told_too() -> None:
    assert program.tell(summary(frame_count=0)) == "stopped before the first frame"


def test_the_program_itself_tells_a_mistake_in_one_line() -> None:
    command = [sys.executable, "run.py", "--avatar", "nobody.jpg"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "avatarify: error: cannot read the photo nobody.jpg: No such file or directory; check the path\n"
    )


def test_the_program_imports_no_torch_and_no_runtime_before_it_needs_one() -> None:
    code = "import sys, run; print([n for n in ('torch', 'av', 'openvino', 'mediapipe') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"
