"""All programs speak alike: help, one line for a mistake, exit codes, reports that are not lost."""

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from avatarify_plus import __version__
from avatarify_plus.__main__ import main
from avatarify_plus.errors import DataError, ModelError, SinkError
from avatarify_plus.program.command_line import (
    LineFormatter,
    ProgramParser,
    configure_logging,
    print_report,
    python_problem,
    require_json_file,
    require_writable,
    run_program,
)
from avatarify_plus.program.ending import FAILED
from avatarify_plus.program.examples import example

ROOT = Path(__file__).resolve().parents[2]


def raising(error: BaseException) -> None:
    raise error


def test_exit_codes_say_how_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(lambda: None) == 0
    assert run_program(lambda: 1) == 1
    assert run_program(lambda: raising(DataError("no clips in x: give a folder of videos"))) == 1
    assert capsys.readouterr().err == "avatarify: error: no clips in x: give a folder of videos\n"
    assert run_program(lambda: raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == ""
    with pytest.raises(ZeroDivisionError):  # a fault of ours keeps its traceback
        run_program(lambda: raising(ZeroDivisionError()))


def test_what_nothing_has_words_for_is_one_line_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long_name = tmp_path / ("x" * 300)
    assert run_program(lambda: long_name.write_text("")) == FAILED
    assert capsys.readouterr().err == f"avatarify: error: {long_name}: File name too long\n"
    assert run_program(lambda: raising(OSError("the device fell asleep"))) == FAILED
    assert run_program(lambda: raising(MemoryError())) == FAILED
    assert capsys.readouterr().err.splitlines() == [
        "avatarify: error: the device fell asleep",
        "avatarify: error: there is not enough memory for this",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--avatar", "{long}.jpg", "--camera", "{driver}", "--output", "out.mp4"),
        ("--avatar", "{photo}", "--camera", "{long}.mp4", "--output", "out.mp4"),
        ("--avatar", "{photo}", "--camera", "{driver}", "--output", "{long}.mp4"),
        ("--avatar", "{photo}", "--camera", "{driver}", "--output", "{long}"),
        ("--avatar", "{photo}", "--list-faces", "{long}.png"),
        ("bench", "--model", "{long}"),
        ("bench", "--json", "{long}"),
        ("adapt", "anna", "{long}.mp4", "--agreed"),
    ],
)
def test_names_that_are_too_long_are_one_line(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"long": "x" * 300, "photo": example("avatar_2.jpg"), "driver": example("driver.mp4")}
    assert main([argument.format_map(names) for argument in arguments]) == FAILED
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith("avatarify: error: ") and "xxx" in line


def test_a_wrong_option_is_one_line_that_says_where_the_right_ones_are(capsys: pytest.CaptureFixture[str]) -> None:
    parser = ProgramParser(prog="avatarify juggle", description="Juggle.")
    parser.add_argument("--balls", type=int)
    for arguments in (["--clubs", "3"], ["--balls", "many"], ["--ball", "3"]):
        with pytest.raises(SystemExit) as caught:
            parser.parse_args(arguments)
        assert caught.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert re.fullmatch(r"avatarify: error: .*(clubs|balls|ball).* \(see avatarify juggle --help\)", line)


def test_what_is_quoted_in_an_error_neither_ends_its_line_nor_steers_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise ModelError("no model at one\ntwo\x1b[2J")

    with pytest.raises(SystemExit):
        ProgramParser(prog="avatarify juggle").parse_args(["one\ntwo\x1b[2J\u2028"])
    assert run_program(fail) == 1
    wrong_usage, failure = capsys.readouterr().err.splitlines()
    assert r"one\ntwo\x1b[2J\u2028 (see" in wrong_usage and failure == r"avatarify: error: no model at one\ntwo\x1b[2J"


def test_help_ends_with_examples_and_every_program_knows_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    parser = ProgramParser(prog="juggle", description="Juggle.", examples=("juggle --verbose   with sound",))
    assert parser.format_help().endswith("examples:\n  juggle --verbose   with sound\n")
    assert parser.parse_args(["--verbose"]).verbose is True
    with pytest.raises(SystemExit):
        parser.parse_args(["--version"])
    assert capsys.readouterr().out == f"avatarify_plus {__version__}\n"


def test_warnings_have_the_form_of_errors_and_infos_are_plain() -> None:
    def line(level: int) -> str:
        return LineFormatter().format(logging.LogRecord("any", level, __file__, 1, "no %s", ("camera",), None))

    assert line(logging.WARNING) == "avatarify: warning: no camera"
    assert line(logging.ERROR) == "avatarify: error: no camera"
    assert line(logging.INFO) == "no camera"


def test_verbose_lets_everything_through_and_infos_are_always_shown() -> None:
    ours, shown = logging.getLogger("avatarify_plus.anything"), logging.getLogger("avatarify_plus.shown")
    levels = {name: logging.getLogger(name).level for name in ("avatarify_plus", "export", "training")}
    try:
        configure_logging(False, ["avatarify_plus.shown"])
        assert (ours.isEnabledFor(logging.INFO), shown.isEnabledFor(logging.INFO)) == (False, True)
        configure_logging(True, ["avatarify_plus.shown"])
        assert ours.isEnabledFor(logging.DEBUG) and shown.isEnabledFor(logging.DEBUG)
    finally:
        shown.setLevel(logging.NOTSET)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def test_a_report_goes_to_people_to_a_file_or_to_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.json"
    print_report("all is well", {"fps": 30}, str(file))
    assert capsys.readouterr().out == "all is well\n"
    assert json.loads(file.read_text()) == {"fps": 30}
    print_report("all is well", {"fps": 30}, "-")
    assert json.loads(capsys.readouterr().out) == {"fps": 30}
    print_report("all is well", {"fps": 30}, None)
    assert capsys.readouterr().out == "all is well\n"


def test_what_cannot_be_written_is_said_before_the_work_and_leaves_no_trace(tmp_path: Path) -> None:
    require_json_file(None)
    require_json_file("-")
    require_json_file(str(tmp_path / "new.json"))
    assert not (tmp_path / "new.json").exists()
    (tmp_path / "old.json").write_text("{}")
    require_writable(tmp_path / "old.json", "--json")
    assert (tmp_path / "old.json").read_text() == "{}"
    for wrong in (tmp_path, tmp_path / "no folder" / "x.json"):
        with pytest.raises(SinkError, match="choose another file for --json"):
            require_json_file(str(wrong))


def test_a_report_that_cannot_be_written_is_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(SinkError, match=r"cannot write .*; it is kept as (.*)$") as caught:
        print_report("all is well", {"fps": 30}, str(tmp_path / "gone" / "x.json"))
    kept = Path(str(caught.value).rpartition("it is kept as ")[2])
    assert json.loads(kept.read_text()) == {"fps": 30}
    assert capsys.readouterr().out == "all is well\n"


@pytest.mark.parametrize("version", [(3, 9), (3, 15), (3, 16)])
def test_other_pythons_get_one_line(version: tuple[int, int]) -> None:
    problem = python_problem(version)
    assert problem is not None and "\n" not in problem
    assert "3.10 to 3.14" in problem and ".".join(map(str, version)) in problem


def test_this_python_will_do() -> None:
    assert python_problem() is None
    assert [python_problem((3, minor)) for minor in (10, 11, 12)] == [None] * 3


@pytest.mark.parametrize("command", [["run.py"], ["-m", "avatarify_plus"], ["-m", "avatarify_plus", "doctor"]])
def test_each_way_in_answers(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command, "--version"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"avatarify_plus {__version__}\n"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_console_gets_escapes_for_what_it_cannot_show(tmp_path: Path, encoding: str) -> None:
    def answer(*command: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONIOENCODING": encoding}
        return subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )

    film = str(tmp_path / "\u0444\u0438\u043b\u044c\u043c.mp4")
    avatar = ("--avatar", "examples/avatar_2.jpg", "--camera", "examples/driver.mp4", "--seconds", "0.2")
    made = answer("run.py", "--no-config", *avatar, "--output", film)
    assert made.returncode == 0 and "Traceback" not in made.stderr and Path(film).exists()
    assert "wrote " in made.stdout and "\\u0444\\u0438\\u043b\\u044c\\u043c.mp4" in made.stdout
    missing = answer("run.py", "--no-config", "--avatar", str(tmp_path / "\u043d\u0435\u0442.jpg"), "--camera", "x.mp4")
    assert missing.returncode == 1 and "Traceback" not in missing.stderr
    assert missing.stderr.startswith("avatarify: error: ") and "\\u043d\\u0435\\u0442.jpg" in missing.stderr
    footage = tmp_path / "\u0444.mp4"
    footage.write_bytes(b"not a video")
    damaged = answer("training/prepare.py", str(footage), str(tmp_path / "clips"), "--processes", "1")
    assert damaged.returncode == 1 and "Traceback" not in damaged.stderr
    assert "damaged: \\u0444 after 0.0 s" in damaged.stdout  # the table, on stdout, is whole
