"""The load test: what is measured of callers, what is printed of it, and one small run of the real thing."""

import argparse
import importlib.util
import json
import math
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("aiortc") is None:
    pytest.skip("requirements-serve.txt is not installed", allow_module_level=True)

from avatarify_plus.bench import bench, callers
from avatarify_plus.bench.callers import ADDRESS, NOBODY, TITLES, Refusal, Server, Stage, cpu_s, read_figures, table
from avatarify_plus.bench.fake_callers import FakeCaller, Heard, Work
from avatarify_plus.errors import RemoteError
from avatarify_plus.service.capacity import Outcome
from fakes import plain_picture

FIGURES = """\
# HELP avatarify_turns_total Turns that were taken
# TYPE avatarify_turns_total counter
avatarify_turns_total 120.0
avatarify_turn_seconds_total 3.6
avatarify_free_places 0.0
avatarify_refused_total{why="full"} 2.0
other_total 1.0
"""


def a_stage(callers: int, refusal: Refusal | None = None, **changes: Any) -> Stage:
    values: dict[str, Any] = {
        "pictures_per_s": [9.0 + place / 2 for place in range(callers)],
        "p50_ms": 41.4,
        "p95_ms": 50.6,
        "left_out": 0.025,
        "turn_ms": 31.0,
        "service_cores": 0.512,
        "callers_cores": 0.2,
        "service_mb": 480.4,
        "model": Outcome(33.0, 45.0, 9.9, 0.01),
        "way_ms": 8.0,
        "refusal": refusal,
    }
    return Stage(**(values | changes))


# --- what is read ---


def test_figures_without_labels_are_read() -> None:
    assert read_figures(FIGURES) == {"turns_total": 120, "turn_seconds_total": 3.6, "free_places": 0}


def test_the_address_is_read_from_the_log() -> None:
    found = ADDRESS.search("avatars for up to 4 callers at http://127.0.0.1:40123/#THE_TOKEN\n")
    assert found is not None
    assert found[1] == "http://127.0.0.1:40123"


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not say")
def test_the_cpu_time_of_a_process_is_read() -> None:
    times = os.times()
    assert cpu_s(os.getpid()) == pytest.approx(times.user + times.system, abs=1)


def test_nobodys_cpu_time_is_not_known() -> None:
    assert math.isnan(cpu_s(NOBODY))


def test_a_server_that_is_not_there_is_one_line() -> None:
    with pytest.raises(RemoteError, match=r"http://127\.0\.0\.1:9 does not show its figures"):
        Server("http://127.0.0.1:9", "token", NOBODY).figures()


# --- what callers hear ---


def test_a_caller_counts_the_frames_that_were_due_in_the_time() -> None:
    work = Work("http://127.0.0.1:9", "token", "", 10, 1, [0.0])
    caller = FakeCaller(work, 0.0, [plain_picture(64)], threading.Event())
    caller.due_s = [0.9, 1.0, 1.5, 1.9, 2.0]
    caller.arrived_s = {0.9: 1.1, 1.0: 1.04, 1.9: 2.01, 2.0: 2.1}  # 1.5 was left out
    with caller.link:  # closes its loop
        pass
    assert caller.heard(1.0, 2.0) == Heard(3, pytest.approx([0.04, 1.01]), pytest.approx([40, 110]))


# --- what is printed ---


def test_a_table_has_a_line_for_each_stage_and_says_what_follows() -> None:
    full = Refusal(1013, "all 2 places are taken", 8.75)
    lines = table([a_stage(1), a_stage(2, full)], 10).splitlines()
    assert len(lines) == 5
    assert all(title in lines[0] for title in TITLES)
    assert lines[2].split() == [
        "2",
        "9.0/9.2/9.5",
        "41",
        "51",
        "2.5",
        "31.0",
        "0.51",
        "0.20",
        "480",
        "9.9",
        "53",
        "1.0",
    ]
    assert "a process holds 2.3 callers at 10 frames/s; the model's p95 includes 8 ms on the way" in lines[3]
    assert lines[4].startswith("caller 3 was closed with 1013, 'all 2 places are taken'")
    assert lines[4].endswith("8.8 pictures/s")


def test_what_is_not_known_is_a_dash_and_null() -> None:
    stage = a_stage(1, service_cores=math.nan, service_mb=math.nan, p50_ms=math.nan, p95_ms=math.nan, way_ms=math.nan)
    assert stage.cells.count("-") == 5
    values = json.loads(json.dumps(stage.values, allow_nan=False))
    assert values["service_mb"] is None
    assert values["model"]["p95_ms"] == 45


def test_a_plan_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["callers", "--plan", "1000", "--fps", "25", "--turn-ms", "3"]) == 0
    assert "need 112 GPUs and 336 processes with up to 3 callers each" in capsys.readouterr().out
    assert bench.main(["callers", "--plan", "10", "--fps", "25", "--turn-ms", "3", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == {"gpus": 2, "processes": 4, "callers": 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--callers 17", "--callers at most 16"),
        ("--callers 0", "must be at least 1"),
        ("--fps nan", "--fps must be at most 120"),
        ("--seconds 0.5", "--seconds at least 1"),
        ("--plan 3", "--plan and --turn-ms"),
        ("--plan 3 --turn-ms 0", "--plan and --turn-ms"),
        ("--server http://127.0.0.1:9", "the environment's AVATARIFY_TOKEN"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    options: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(callers.TOKEN, raising=False)
    with pytest.raises(SystemExit) as left:
        callers.main(options.split())
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


# --- the real thing ---


def test_a_service_that_does_not_start_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert callers.main(["--callers", "1", "--", "--model", "there-is-none"]) == 1
    assert "the service does not start: avatarify: error:" in capsys.readouterr().err


@pytest.mark.parametrize("fps", [5.0])
def test_a_caller_gets_pictures_and_one_more_is_refused(fps: float) -> None:
    options = argparse.Namespace(seed=0, seconds=2.0, fps=fps, clip=str(callers.example("driver.mp4")))
    with callers.started(1, ["--size", "320x180"]) as server:
        stage = callers.measure(server, 1, options)
        assert server.figures()["pictures_total"] > 0
    assert not Path(f"/proc/{server.process_id}").exists()
    assert stage.pictures_per_s[0] > 0
    assert 0 < stage.p50_ms <= stage.p95_ms
    assert 0 <= stage.left_out < 1
    assert stage.refusal is not None
    assert stage.refusal[:2] == (1013, "all 1 places are taken")
