"""The bench: what takes part, what works when, and that what is reported is what was measured."""

import json
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatarify_plus.bench import bench, latency
from avatarify_plus.bench.contender import Contender, parse_contender
from avatarify_plus.bench.full_speed import BLOCK_S, FullSpeedLoop, take_turns
from avatarify_plus.bench.machine import Machine, this_machine
from avatarify_plus.bench.report import PICTURE, ROWS, TURN, Absence, EngineResult, Report, Speed, ratios, table
from avatarify_plus.bench.startup import FRAME_COUNT, Start, measure_start
from avatarify_plus.bundle import Bundle
from avatarify_plus.camera import LoopedClip
from avatarify_plus.config import AppConfig
from avatarify_plus.errors import CameraError, ConfigError, EngineError
from avatarify_plus.session.timing import PICTURE_STAGES, Timing, TurnStage
from avatarify_plus.types import Frame, Size
from fakes import EXAMPLES, FakeClock, FakeEngine, FakeReader, example_driver, plain_picture, read_video, write_video

ROOT = Path(__file__).resolve().parents[2]
MACHINE = Machine("a CPU", 2, 0.5, "an OS", "3.11", {"numpy": "2.0"})
FACE_COUNT = 6


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example driver's beginning."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", example_driver(FACE_COUNT))


@pytest.fixture
def quick(clip: Path) -> list[str]:
    """Options of a short run."""
    return ["--clip", str(clip), "--seconds", "0.2", "--warm-up", "2"]


# --- what takes part ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("openvino", ("openvino", "auto", "mine")),
        ("openvino:int8", ("openvino", "int8", "mine")),
        ("torch@paper", ("torch", "auto", "paper")),
        ("auto:fp32@models/other", ("auto", "fp32", "models/other")),
        (r"onnxruntime@C:\models\other", ("onnxruntime", "auto", r"C:\models\other")),
    ],
)
def test_a_contender_is_read(text: str, expected: tuple[str, str, str]) -> None:
    contender = parse_contender(text, "mine")
    assert (contender.engine, contender.precision, contender.model) == expected
    assert contender.text == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abacus", "engine must be one of auto, openvino.*found 'abacus'"),
        ("", "engine must be one of .*found ''"),
        ("openvino:int3", "precision must be one of auto, fp32.*found 'int3'"),
        ("openvino:", "precision must be one of .*found ''"),
        ("openvino@", "nothing follows the @"),
        ("openvino:int8@paper", "only the torch engines"),
    ],
)
def test_a_contender_that_makes_no_sense_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_contender(text, "mine")
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_untrained_network_needs_no_bundle() -> None:
    with parse_contender("torch@live", "mine").open(threads=None) as engine:
        assert (engine.config.preset, engine.config.size, engine.config.keypoints) == ("ours", "live", "learned")
        keypoints = engine.detect(plain_picture(90, 256, 256))
        picture = engine.animate(engine.encode_source(plain_picture(90, 256, 256), keypoints), keypoints)
    assert picture.shape == (256, 256, 3)


# --- the clip ---


def test_the_clip_begins_again(clip: Path) -> None:
    reader = LoopedClip(str(clip), Fraction(30))
    pictures = [reader.read() for _ in range(2 * FACE_COUNT + 1)]
    reader.close()
    assert reader.rate == 30
    for first, again in zip(pictures, pictures[FACE_COUNT:], strict=False):
        assert first is not None and again is not None
        np.testing.assert_array_equal(first, again)


def test_a_webcam_cannot_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = FakeReader([], is_live=True)
    monkeypatch.setattr("avatarify_plus.camera.looped_clip.open_reader", lambda clip, sequence_fps: reader)
    with pytest.raises(CameraError, match="give a video file or a folder"):
        LoopedClip("0", Fraction(30))
    assert reader.close_count == 1


# --- taking turns ---


class FakeSession:
    """A turn takes a given time; `log` remembers who worked."""

    def __init__(self, name: str, turn_ms: float, clock: FakeClock, log: list[str]) -> None:
        self.timing = Timing(clock)
        self._name, self._turn_ms, self._clock, self._log = name, turn_ms, clock, log

    def turn(self, frame: Frame) -> None:
        begun_s = self.timing.lap(TurnStage.CAPTURE)
        self._clock.pass_ms(self._turn_ms)
        sent_s = self.timing.lap(TurnStage.ANIMATE)
        self.timing.tick(begun_s, sent_s)
        self._log.append(self._name)


def fake_turns(turns_ms: dict[str, float], seconds: float, warm_up_count: int) -> tuple[list[str], dict[str, Timing]]:
    clock, log = FakeClock(), []  # type: ignore[var-annotated]
    sessions: dict[str, Any] = {name: FakeSession(name, turn_ms, clock, log) for name, turn_ms in turns_ms.items()}
    frame = Frame(plain_picture(0), 0, 0.0)
    take_turns(
        [FullSpeedLoop(session, iter(lambda: frame, None)) for session in sessions.values()], seconds, warm_up_count
    )
    return log, {name: session.timing for name, session in sessions.items()}


def test_loops_take_turns() -> None:
    log, timings = fake_turns({"fast": 20.0, "slow": 101.0}, seconds=2.0, warm_up_count=3)
    assert log[:6] == ["fast"] * 3 + ["slow"] * 3
    blocks = [name for name, before in zip(log[6:], ["", *log[6:]], strict=False) if name != before]
    assert blocks == ["fast", "slow"] * (len(blocks) // 2)
    assert len(blocks) >= 2 * 2.0 / BLOCK_S
    for timing in timings.values():
        assert 2.0 <= timing.busy_s <= 2.0 + 4 * 0.101
    assert log.count("fast") - 3 == timings["fast"].frame_count  # those that warm up do not count
    assert Speed.of(timings["fast"], 3).pictures_per_s == pytest.approx(50)


def test_waiting_for_others_costs_nothing() -> None:
    alone = fake_turns({"fast": 20.0}, 1.0, 0)[1]["fast"]
    beside = fake_turns({"fast": 20.0, "slow": 7000.0}, 1.0, 0)[1]["fast"]
    for percent in (50, 99, 100):
        assert beside.stages_ms(percent, *TurnStage) == pytest.approx(alone.stages_ms(percent, *TurnStage))


def test_a_loop_slower_than_a_block_makes_one_picture_each_time() -> None:
    log, _ = fake_turns({"fast": 90.0, "slow": 7000.0}, 1.0, 0)
    assert log == (["fast"] * 6 + ["slow"]) * 2


# --- what is reported ---


def result_of(name: str, turn_ms: float) -> EngineResult:
    timing = fake_turns({name: turn_ms}, 1.0, 0)[1][name]
    return EngineResult(name, "live-256", name, "fp32", "thin air", Speed.of(timing, 7), None, Start(1.25, 345.6, 100))


def test_ratios_are_of_the_first() -> None:
    found = ratios([result_of("a", 10.0), result_of("b", 25.0), result_of("c", 5.0)])
    assert [(ratio.first, ratio.other) for ratio in found] == [("a", "b"), ("a", "c")]
    assert [ratio.pictures_per_s for ratio in found] == pytest.approx([2.5, 0.5])
    assert [ratio.median for ratio in found] == pytest.approx([2.5, 0.5])


def test_the_rows_are_the_stages_and_their_sums() -> None:
    clock = FakeClock()
    timing = Timing(clock)
    for stage in TurnStage:
        clock.pass_ms(2**stage)
        timing.lap(stage)
    timing.tick(0, 1)
    rows = Speed.of(timing, 0).ms
    for stage in TurnStage:
        assert rows[stage.name.lower()].p95 == pytest.approx(2**stage)
    assert rows[PICTURE].p50 == pytest.approx(sum(2**stage for stage in PICTURE_STAGES))
    assert rows[TURN].p99 == pytest.approx(2 ** len(TurnStage) - 1)


def test_the_table_shows_all() -> None:
    results = [result_of("one", 10.0), result_of("other", 31.0)]
    absences = [Absence("torch-cuda", "no GPU was found")]
    shown = table(Report(MACHINE, "clip.mp4", "face.jpg", results, absences, ratios(results)))
    for fact in (
        "a CPU, 2 cores, load 0.5", "numpy 2.0", "clip.mp4 drives face.jpg", "thin air", "fp32", "live-256", "1.25",
        "346", "torch-cuda does not work here: no GPU was found", "one is 3.10 times as fast as other", "7 to warm up",
    ):  # fmt: skip
        assert fact in shown
    assert all(name in shown for name in ROWS)


def test_this_machine_is_described() -> None:
    machine = this_machine()
    assert machine.cpu and machine.cores >= 1 and "numpy" in machine.packages
    assert str(machine.cores) in str(machine)


# --- whole runs ---


def test_engines_are_surveyed(
    blend_bundle: Bundle, quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that works is measured, start-up in a process of its own included; one that does not is listed."""
    report = tmp_path / "report.json"
    options = ["--model", str(blend_bundle.folder), "--json", str(report)]
    assert bench.main([*quick, *options, "--engines", "onnxruntime:fp32", "openvino:int8"]) == 0
    captured = capsys.readouterr()
    found = json.loads(report.read_text())
    (measured,), (absent,) = found["results"], found["absences"]
    assert (measured["engine"], measured["precision"]) == ("onnxruntime", "fp32")
    assert measured["device"].startswith("CPUExecutionProvider")
    assert measured["speed"]["warm_up_count"] == 2
    assert measured["speed"]["frame_count"] > 0 and measured["latency"]["frame_count"] > 0
    assert set(measured["speed"]["ms"]) == set(ROWS)
    for row in (*measured["speed"]["ms"].values(), measured["latency"]["ms"]):
        assert 0 <= row["p50"] <= row["p95"] <= row["p99"]
        assert all(f"{value:.2f}" in captured.out for value in row.values())
    assert measured["start"]["first_picture_s"] > 0 and measured["start"]["peak_memory_mb"] > 30
    assert measured["start"]["frame_count"] == min(FACE_COUNT, FRAME_COUNT)
    assert absent["contender"] == "openvino:int8" and "no int8 graph" in absent["reason"]
    for value in (measured["device"], f"{measured['start']['first_picture_s']:.2f}", absent["reason"]):
        assert value in captured.out
    assert captured.err.splitlines() == ["measuring onnxruntime:fp32 ...", "measuring openvino:int8 ..."]


def test_engines_are_compared_and_recorded(
    quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Contender, "open", lambda contender, threads: FakeEngine())
    report = tmp_path / "report.json"
    options = ["--json", str(report), "--output", str(tmp_path)]
    assert bench.main([*quick, *options, "--compare", "openvino:fp32", "torch"]) == 0
    found = json.loads(report.read_text())
    assert [result["contender"] for result in found["results"]] == ["openvino:fp32", "torch"]
    (ratio,) = found["ratios"]
    assert f"openvino:fp32 is {ratio['pictures_per_s']:.2f} times as fast as torch" in capsys.readouterr().out
    for result, name in zip(found["results"], ("openvino-fp32", "torch"), strict=True):
        pictures, _ = read_video(tmp_path / f"{name}.mp4")
        assert len(pictures) == result["speed"]["frame_count"] + 2


def test_no_engine_at_all_is_a_failure(
    quick: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(contender: Contender, threads: int | None) -> FakeEngine:
        raise EngineError("it is not installed")

    monkeypatch.setattr(Contender, "open", refuse)
    assert bench.main([*quick, "--engines", "torch@live"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "avatarify: error: no engine works here: torch@live: it is not installed"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--clip", "nowhere.mp4"], "there is no driver .*nowhere.mp4"),
        (["--avatar", "nobody.jpg"], "cannot read the photo nobody.jpg"),
        (["--model", "best", "--engines", "torch"], "no model 'best'"),
    ],
)
def test_a_wrong_path_is_one_line(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(options) == 1
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if not line.startswith("measuring")]
    assert re.match(f"avatarify: error: {message}", line)


@pytest.mark.parametrize(
    "options",
    [
        ["--engines", "abacus"],
        ["--compare", "torch"],
        ["--compare", "torch", "openvino", "--engines", "torch"],
        ["--seconds", "0"],
        ["--seconds", "nan"],
        ["--rate", "0"],
        ["--rate", "1/0"],
        ["--rate", "1e999999999"],
        ["--warm-up", "-1"],
        ["--threads", "0"],
    ],
)
def test_wrong_usage_exits_with_2(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        bench.main(options)
    assert caught.value.code == 2
    assert "avatarify: error: " in capsys.readouterr().err


# --- start-up ---


def test_why_the_app_does_not_start_is_reported(blend_bundle: Bundle, tmp_path: Path) -> None:
    contender = parse_contender("openvino", str(blend_bundle.folder))
    with pytest.raises(EngineError, match=r"^there is no driver .*nowhere.mp4"):
        measure_start(contender, EXAMPLES / "avatar_2.jpg", tmp_path / "nowhere.mp4")


def test_memory_is_the_own_peak_of_a_process() -> None:
    """What it let go counts; what the process that started it holds does not."""
    print_peak = "import numpy; from avatarify_plus.program.memory import peak_memory_mb; print(peak_memory_mb())"
    code = f"""{print_peak}
import subprocess, sys, numpy
numpy.ones(40_000_000)
held = numpy.ones(40_000_000)
{print_peak}
subprocess.run([sys.executable, "-c", {print_peak!r}], check=True)"""
    done = subprocess.run([sys.executable, "-u", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    before_mb, after_mb, child_mb = map(float, done.stdout.split())
    assert 10 < before_mb < after_mb
    assert 320 <= after_mb - before_mb + 1 < 640
    assert 10 < child_mb < 320


# --- long and late ---


def test_the_latency_bench_reports_what_it_saw(clip: Path) -> None:
    pictures = example_driver(FACE_COUNT)
    config = AppConfig(avatar=(EXAMPLES / "avatar_2.jpg",), size=Size(64, 64))
    report = latency.measure(config, FakeEngine(), pictures, Fraction(60), 1.2)
    assert len(report.latency_ms) == len(report.compute_ms) > 5
    assert report.interval_ms == pytest.approx(1000 / 60)
    assert np.all(report.latency_ms > 0)
    assert np.all(report.compute_ms > 0)
    text = str(report)
    assert f"{len(report.latency_ms)} frames sent, {report.dropped_count} dropped, one every 16.7 ms" in text
    assert "within one interval plus compute" in text


def test_a_latency_report_can_be_read_by_programs() -> None:
    report = latency.LatencyReport(np.array([30.0, 90.0]), np.array([25.0, 26.0]), 33.3, 4)
    values = json.loads(json.dumps(report.values()))
    assert (values["frames"], values["dropped"], values["within_interval_plus_compute"]) == (2, 4, 0.5)
    assert values["ms"]["latency"] == {"p50": 60.0, "p95": 87.0, "p99": pytest.approx(89.4), "p100": 90.0}


def test_the_latency_bench_finds_a_late_sink() -> None:
    report = latency.LatencyReport(np.array([30.0, 90.0]), np.array([25.0, 26.0]), 33.3, 0)
    assert report.excess_ms == pytest.approx([-28.3, 30.7])
    assert "50.0 % of the frames" in str(report)


@pytest.mark.parametrize("name", ["latency", "soak"])
def test_the_other_programs_of_the_bench_have_the_same_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        bench.main([name, "--help"])
    assert caught.value.code == 0
    assert f"usage: avatarify bench {name} " in capsys.readouterr().out


def test_the_json_can_be_the_only_output(
    quick: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Contender, "open", lambda contender, threads: FakeEngine())
    assert bench.main([*quick, "--json", "-", "--compare", "openvino", "torch"]) == 0
    assert len(json.loads(capsys.readouterr().out)["results"]) == 2


@pytest.mark.parametrize("option", ["--json", "--output"])
def test_where_results_go_is_checked_before_anything_is_measured(
    quick: list[str], option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main([*quick, option, str(tmp_path / "nowhere" / "it")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"avatarify: error: cannot write .*nowhere.*; choose another file for {option}", line)
