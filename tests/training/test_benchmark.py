"""The benchmark measures what it says, on noise or on clips, and distinguishes one variant from another."""

import json
from pathlib import Path

import pytest
import torch

from synthetic_cache import write_cache
from training import benchmark
from training.benchmark import Measurement, Variant, matrix_rate, table

TINY = ["--preset", "ours-skip", "--size", "tiny", "--set", "image_size=64", "motion_size=16", "--stage", "64x2"]
QUICK = [*TINY, "--steps", "1", "--device", "cpu", "--weight", "identity=0"]


def test_variants_are_measured_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    compared = ["--compare", "precision", "channels-last", "data-on-device", "--precision", "fp32"]
    assert benchmark.main([*QUICK, *compared, "--json", str(report)]) == 0
    shown = capsys.readouterr().out
    found = json.loads(report.read_text())
    assert [m["variant"]["name"] for m in found] == ["as asked", "bf16", "channels-last off", "data-on-device on"]
    for measured in found:
        assert measured["variant"]["name"] in shown
        assert measured["samples_per_s"] == pytest.approx(2e3 / measured["step_ms"])
        assert set(measured["shares"]) == set(benchmark.PHASES) and sum(measured["shares"].values()) == pytest.approx(1)
        assert measured["reached"] > 0
    assert found[0]["step_operations"] == found[2]["step_operations"] > 1e8


def test_clips_can_be_measured_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_cache(tmp_path / "cache", {"a_1": 3, "b_1": 3})
    assert benchmark.main([*QUICK, "--data", str(data), "--stage", "64/32x2"]) == 0
    assert "samples/s" in capsys.readouterr().out


def test_a_wrong_stage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, named in (("64", "--stages wants"), ("64x2:0,64x2", "--stage wants a single stage")):
        with pytest.raises(SystemExit) as ended:
            benchmark.main([*QUICK, "--stage", wrong])
        assert ended.value.code == 2
        assert capsys.readouterr().err.startswith(f"avatarify: error: {named}")


def test_the_rate_is_that_of_a_matrix_product() -> None:
    assert matrix_rate(torch.device("cpu"), torch.float32) > 1e9


def test_what_is_reached_is_operations_over_time_and_rate() -> None:
    variant = Variant("as asked", "bf16", False, True, False)
    measured = Measurement(variant, 8.0, 500.0, dict.fromkeys(benchmark.PHASES, 0.25), 10**9, 4e9)
    assert measured.reached == pytest.approx(0.5)
    assert "50.0%" in table([measured]) and "1.0 GFLOP" in table([measured])
