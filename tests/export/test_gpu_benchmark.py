"""The GPU benchmark measures what it says, side by side, and reports what it could not; here on the CPU."""

import importlib.util
import json
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from avatarify_plus.bundle import Bundle
from export import gpu_benchmark, gpu_ways
from export.gpu_benchmark import Measurement, table, take_turns
from export.gpu_floor import Rates, Work, count_work, measure_rates
from export.gpu_ways import BenchmarkNetwork, OpenedWay, open_way

CPU = torch.device("cpu")
QUICK = ["--device", "cpu", "--sizes", "live", "--seconds", "0.01"]


def test_ways_are_measured_side_by_side(
    mixed_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, model = tmp_path / "report.json", str(mixed_bundle.folder)
    ways = ["--ways", "eager", "graph", "onnxruntime", "tensorrt", "--precisions", "fp32", "bf16"]
    assert gpu_benchmark.main([*QUICK, *ways, "--model", model, "--json", str(report)]) == 0
    shown, found = capsys.readouterr().out, json.loads(report.read_text())
    measured = {(each["part"], each["way"], each["precision"]): each for each in found["measurements"]}
    assert set(measured) == {
        ("animate", "eager", "fp32"),
        ("animate", "eager", "bf16"),
        ("animate", "onnxruntime", "fp32"),
        ("detect", "eager", "fp32"),
        ("detect", "onnxruntime", "fp32"),
    }
    for (part, way, _), each in measured.items():
        assert each["runs"] >= gpu_benchmark.ROUNDS
        assert 0 < each["median_ms"] <= each["p95_ms"] and each["floor_ms"] > 0
        base = measured[part, "eager", "fp32"]
        assert each["to_base"] == pytest.approx(each["median_ms"] / base["median_ms"])
        assert way in shown
    assert measured["detect", "eager", "fp32"]["floor_ms"] < measured["animate", "eager", "fp32"]["floor_ms"]
    reasons = {(each["way"], each["precision"]): each["reason"] for each in found["absent"]}
    assert reasons["graph", "fp32"] == reasons["graph", "bf16"] == "a CUDA graph needs --device cuda"
    assert "not in 'bf16'" in reasons["onnxruntime", "bf16"] and "on a GPU" in reasons["tensorrt", "fp32"]
    assert f"not measured: graph fp32: {reasons['graph', 'fp32']}" in shown
    assert found["rates"]["operations"]["fp32"] > 1e8 and found["rates"]["copied"] > 1e8
    assert f"live: ours-skip, weights of {model}; " in shown


def test_parts_are_measured_too(photo_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, model = tmp_path / "report.json", str(photo_bundle.folder)
    ways = ["--ways", "eager", "onnxruntime", "--precisions", "fp32", "bf16"]
    assert gpu_benchmark.main([*QUICK, *ways, "--model", model, "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    floors = {(each["part"], each["way"], each["precision"]): each["floor_ms"] for each in found["measurements"]}
    each_way = [("eager", "fp32"), ("eager", "bf16"), ("onnxruntime", "fp32")]
    assert set(floors) == {(part, *way) for part in ("animate", "parts") for way in each_way} | {
        ("detect", way, "fp32") for way in ("eager", "onnxruntime")
    }
    assert floors["parts", "eager", "fp32"] > 0
    assert re.search("animate .* GFLOP .*, parts .* GFLOP", capsys.readouterr().out)


def test_it_needs_nothing_but_torch_and_its_ways(photo_bundle: Bundle) -> None:
    """A rented GPU's machine has neither MediaPipe nor OpenVINO, and nothing of what shows pictures."""
    missing = ("mediapipe", "openvino", "tensorrt", "tensorrt_rtx", "pyvirtualcam", "av", "platformdirs", "onnx")
    program = f"""
import importlib.util, sys
for name in {missing}:
    sys.modules[name] = None
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {missing} else find(name, *rest)
from export.gpu_benchmark import main
ways = ["--ways", "eager", "onnxruntime", "tensorrt", "--precisions", "fp32"]
sys.exit(main([*{QUICK}, *ways, "--model", {str(photo_bundle.folder)!r}]))
"""
    root = Path(gpu_benchmark.__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "parts    onnxruntime" in done.stdout and "not measured: tensorrt fp32" in done.stdout


def test_random_weights_will_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_benchmark.main(["--device", "cpu", "--sizes", "tiny", "--seconds", "0.01", "--ways", "eager"]) == 0
    shown = capsys.readouterr().out
    assert "tiny: ours, random weights; " in shown and "bf16" in shown and "fp16" not in shown


def test_without_safetensors_the_weights_are_random(mixed_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = BenchmarkNetwork("live", str(mixed_bundle.folder))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    network = BenchmarkNetwork("live", str(mixed_bundle.folder))
    assert network.weights == "random weights, safetensors is not installed"
    assert network.config == trained.config == mixed_bundle.config
    weights, others = (each.model.dense_motion.mask_head.weight for each in (network, trained))
    assert weights.shape == others.shape and not torch.equal(weights, others)


def test_what_fails_is_reported_and_the_others_go_on(
    mixed_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA out of memory\nTried to allocate")

    monkeypatch.setattr(gpu_ways, "open_torch", fail)
    report = tmp_path / "report.json"
    options = ["--ways", "eager", "onnxruntime", "--precisions", "fp32", "--model", str(mixed_bundle.folder)]
    assert gpu_benchmark.main([*QUICK, *options, "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert [each["reason"] for each in found["absent"]] == ["RuntimeError: CUDA out of memory"]
    assert {each["way"] for each in found["measurements"]} == {"onnxruntime"}
    assert all(each["to_base"] is None for each in found["measurements"])


def test_the_json_can_be_the_only_output(mixed_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    options = ["--ways", "eager", "--precisions", "fp32", "--model", str(mixed_bundle.folder), "--json", "-"]
    assert gpu_benchmark.main([*QUICK, *options]) == 0
    captured = capsys.readouterr()
    assert {each["part"] for each in json.loads(captured.out)["measurements"]} == {"animate", "detect"}
    assert "median ms" in captured.err


def test_a_missing_gpu_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_benchmark.main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match("avatarify: error: .* finds no NVIDIA GPU: .* or --device cpu", line)


def test_a_time_that_makes_no_sense_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        gpu_benchmark.main(["--seconds", "0"])
    assert caught.value.code == 2
    assert "--seconds must be positive, found 0.0" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_refused_before_measuring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu_benchmark.main([*QUICK, "--json", str(tmp_path / "nowhere" / "report.json")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match("avatarify: error: cannot write .*report.json: .*; choose another file for --json", line)


def test_the_source_is_encoded_once_and_the_engine_closed(mixed_bundle: Bundle) -> None:
    network = BenchmarkNetwork("live", str(mixed_bundle.folder))
    with ExitStack() as stack:
        way = open_way(stack, network, "eager", "fp32", CPU, "default")
        assert set(way.parts) == {"animate", "detect"}
        picture: Any = way.parts["animate"]()
        assert picture.shape == (256, 256, 3) and picture.std() > 1
    with pytest.raises(KeyError):
        way.parts["animate"]()


def test_ways_take_turns() -> None:
    turns: list[str] = []

    def part(name: str) -> OpenedWay:
        return OpenedWay(name, "fp32", "cpu", {"animate": lambda: turns.append(name)})

    times = take_turns([part("a"), part("b")], 1e-9)
    assert turns == ["a", "b"] * gpu_benchmark.ROUNDS
    assert {key: len(durations) for key, durations in times.items()} == {
        ("animate", 0): gpu_benchmark.ROUNDS,
        ("animate", 1): gpu_benchmark.ROUNDS,
    }


def test_work_is_counted_by_hand() -> None:
    graph = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1, bias=False))
    work = count_work(graph, torch.zeros(1, 3, 10, 10))
    assert work.operations == 2 * 100 * (8 * 27 + 4 * 8)
    assert work.numbers == (300 + 800 + 8 * 27 + 8) + (800 + 400 + 32)


def test_the_floor_is_the_larger_of_arithmetic_and_traffic() -> None:
    rates = Rates({"fp32": 1e12, "bf16": 4e12}, 1e11)
    assert rates.floor_ms(Work(10**9, 1000), "fp32") == pytest.approx(1.0)
    assert rates.floor_ms(Work(10**9, 1000), "bf16") == pytest.approx(0.25)
    assert rates.floor_ms(Work(1000, 10**8), "fp32") == pytest.approx(4.0)
    assert rates.floor_ms(Work(1000, 10**8), "bf16") == pytest.approx(2.0)


def test_rates_are_those_of_this_machine() -> None:
    before = torch.get_float32_matmul_precision()
    rates = measure_rates(CPU, ["bf16"])
    assert set(rates.operations) == {"fp32", "bf16"}
    assert min(*rates.operations.values(), rates.copied) > 1e8
    assert torch.get_float32_matmul_precision() == before


def test_the_table_shows_ratios() -> None:
    measurement = Measurement("live", "animate", "graph", "fp16", "cuda", 80, 0.5, 0.75, 0.05, 0.1)
    line = table([measurement])[1].split()
    assert line == ["animate", "graph", "fp16", "0.500", "0.750", "0.10", "0.0500", "10.0", "80", "cuda"]
