"""A run can be killed, starved of disk, stopped or derailed, and what it was worth is not lost."""

import itertools
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from avatarify_plus.bundle import Bundle
from avatarify_plus.network.checkpoint import Checkpoint, read_checkpoint
from synthetic_cache import tiny_command, write_cache
from training import train
from training.config import LEARNED_BESIDE_MESH
from training.loop.checkpoint import SaveError, write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
BIG = {"weights": torch.zeros(100_000)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cache(tmp_path_factory.mktemp("data") / "cache", {"a_1": 4, "b_1": 5, "c_1": 1})


def same_weights(left: Path, right: Path) -> bool:
    a, b = read_checkpoint(left / "checkpoint.pt"), read_checkpoint(right / "checkpoint.pt")
    assert a.state is not None and b.state is not None
    pairs = ((a.ema, b.ema), (a.state.model, b.state.model))
    return a.step == b.step and all(torch.equal(mine[name], theirs[name]) for mine, theirs in pairs for name in mine)


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """Start training in a process of its own, with as many threads as here."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "training" / "train.py"), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_step(process: subprocess.Popen[str], out: Path, step: int) -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        assert process.poll() is None, "it ended too early"
        if (out / "checkpoint.pt").exists() and read_checkpoint(out / "checkpoint.pt").step >= step:
            return
        time.sleep(0.02)
    raise AssertionError("no checkpoint came")


def test_a_seeded_run_repeats_bit_for_bit(data: Path, tmp_path: Path) -> None:
    for name, seed in (("first", "5"), ("second", "5"), ("other", "6")):
        assert train.main(tiny_command(data, tmp_path / name, "--steps", "2", "--seed", seed)) == 0
    assert same_weights(tmp_path / "first", tmp_path / "second")
    assert not same_weights(tmp_path / "first", tmp_path / "other")


def test_a_killed_run_goes_on_as_if_nothing_had_happened(data: Path, tmp_path: Path) -> None:
    more = ("--steps", "14", "--keypoints", "learned", "--stages", "64x2:0.5,64/32x2:0.5")
    assert train.main(tiny_command(data, tmp_path / "whole", *more)) == 0
    arguments = tiny_command(data, tmp_path / "killed", *more, "--save-minutes", "0")
    process = start(arguments)
    wait_for_step(process, tmp_path / "killed", 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert read_checkpoint(tmp_path / "killed" / "checkpoint.pt").step < 14
    assert train.main(arguments) == 0
    assert same_weights(tmp_path / "whole", tmp_path / "killed")
    steps = [int(line.split(",")[0]) for line in (tmp_path / "killed" / "metrics.csv").read_text().splitlines()[1:]]
    assert steps == sorted(steps) and steps[-1] == 14


@pytest.mark.parametrize("asked_by", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_saves_and_ends_well(asked_by: signal.Signals, data: Path, tmp_path: Path) -> None:
    process = start(tiny_command(data, tmp_path, "--steps", "100000"))
    wait_for_step(process, tmp_path, 1)
    process.send_signal(asked_by)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0
    assert "stopped by request, resume with the same command" in errors
    assert read_checkpoint(tmp_path / "checkpoint.pt").step >= 1


def test_a_session_ends_and_the_next_goes_on(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a budget of 60 ticks, a session lasts 18 or a little more; a tick is one look at the clock."""
    ticks = itertools.count()
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    arguments = tiny_command(data, tmp_path, "--minutes", "1", "--session-minutes", "0.3")
    elapsed_s = [0.0]
    while elapsed_s[-1] < 60 and len(elapsed_s) < 9:
        assert train.main(arguments) == 0
        elapsed_s.append(read_checkpoint(tmp_path / "checkpoint.pt").elapsed_s)
    assert len(elapsed_s) > 3 and all(0 < after - before < 25 for before, after in itertools.pairwise(elapsed_s))


def test_weights_that_are_not_finite_never_replace_a_checkpoint(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = tiny_command(data, tmp_path)
    assert train.main([*arguments, "--steps", "2"]) == 0
    before = (tmp_path / "checkpoint.pt").read_bytes()
    capsys.readouterr()
    assert train.main([*arguments, "--steps", "20", "--weight", "pixels=1e38"]) == 1
    printed = capsys.readouterr().err.strip().splitlines()[-1]
    assert (
        printed.startswith("avatarify: error: training diverged at step") and str(tmp_path / "checkpoint.pt") in printed
    )
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    monkeypatch.setattr(train, "is_finite", lambda *modules: False)
    assert train.main([*arguments, "--steps", "3"]) == 1
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(
    "moments",
    [torch.zeros(2, 2), {"step": torch.tensor(1.0), "exp_avg": torch.zeros(1, 7), "exp_avg_sq": torch.zeros(1, 7)}],
)
def test_an_optimiser_of_other_weights_is_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], moments: Any
) -> None:
    assert train.main(tiny_command(data, tmp_path, "--steps", "1")) == 0
    saved = read_checkpoint(tmp_path / "checkpoint.pt")
    assert saved.state is not None
    saved.state.optimiser["state"][0] = moments
    write_checkpoint(tmp_path / "checkpoint.pt", saved)
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of what it then finds
        assert train.main(tiny_command(data, tmp_path, "--steps", "2")) == 1
    assert "checkpoint.pt does not fit its own network: " in capsys.readouterr().err.splitlines()[-1]


def test_training_outlives_a_full_disk_but_says_so_at_the_end(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    saved: list[Any] = []

    def save(path: Path, values: Checkpoint) -> None:
        saved.append(values.step)
        if values.step != 3:
            raise SaveError("no room")
        write_checkpoint(path, values)

    monkeypatch.setattr(train, "write_checkpoint", save)
    with caplog.at_level(logging.WARNING):
        assert train.main(tiny_command(data, tmp_path, "--steps", "4", "--save-minutes", "0")) == 1
    assert saved == [1, 2, 3, 4, 4]
    assert [record.getMessage() for record in caplog.records].count(
        "no room; training goes on and tries again in 0 minutes"
    ) == 3
    assert capsys.readouterr().err.strip().splitlines()[-1] == "avatarify: error: no room"
    assert read_checkpoint(tmp_path / "checkpoint.pt").step == 3


def test_the_log_is_kept_in_every_form(data: Path, tmp_path: Path) -> None:
    arguments = tiny_command(data, tmp_path, "--val", str(data), "--steps", "2")
    assert train.main(arguments) == 0
    header, *rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert {"step", "samples", "rate", "samples_per_s", "pixels", "val L1"} <= set(header.split(",")) and len(rows) == 2
    assert (tmp_path / "loss.png").exists() and len(list(tmp_path.glob("sheet-*.png"))) == 2
    events = [path.stat().st_size for path in (tmp_path / "tensorboard").glob("events.*")]
    assert events and sum(events) > 1000


def test_a_run_starts_from_a_bundle(data: Path, blend_bundle: Bundle, tmp_path: Path) -> None:
    start = ("--warm-start", str(blend_bundle.folder), "--fresh", "generator.final", "--rate", "0", "--seed", "3")
    assert train.main(tiny_command(data, tmp_path, "--steps", "1", *start)) == 0
    weights, found = load_file(blend_bundle.weights), read_checkpoint(tmp_path / "checkpoint.pt")
    assert found.state is not None
    for part in (found.state.model, found.ema):
        assert torch.equal(part["generator.first.conv.weight"], weights["generator.first.conv.weight"])
        assert not torch.equal(part["generator.final.weight"], weights["generator.final.weight"])
    assert found.training["started_from"]["bundle"] == blend_bundle.manifest.name


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--set", "wings=2"], "--set knows no field 'wings'"),
        (["--set", "mask_prior=soft"], "--set mask_prior wants a value of type float"),
        (["--set", "motion.width=0"], "width must be a whole number from 1"),
        (["--weight", "beauty=1"], "--weight knows no field 'beauty'"),
        (["--weight", "pixels=nan"], "--weight pixels wants a value of type float, found 'nan'"),
        (["--rate", "nan"], "'nan' is not a number"),
        (["--stages", "64x0:1"], "batches be positive"),
        (["--photo-share", "2"], "must be from 0 to 1"),
        (["--mesh-warmup", "5"], "--mesh-warmup needs --keypoints learned"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--ema", "1.5"], "--ema must be from 0 to 1"),
    ],
)
def test_a_wrong_option_is_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], named: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        train.main(tiny_command(data, tmp_path / "run", "--steps", "1", *more))
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 2 and not (tmp_path / "run").exists()
    assert error.startswith("avatarify: error: ") and named in error


def test_a_start_that_does_not_exist_is_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(tiny_command(data, tmp_path, "--steps", "1", "--warm-start", "nowhere.pt")) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error == "avatarify: error: no checkpoint at nowhere.pt"


def test_a_run_folder_that_cannot_be_written_is_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    assert train.main(tiny_command(data, tmp_path / "file" / "run", "--steps", "1")) == 1
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert error.startswith("avatarify: error: cannot write") and "--out" in error


def test_options_become_the_network(data: Path, tmp_path: Path) -> None:
    fields = ["image_size=64", "motion_size=16", "motion.width=6", "occlusion_widths=8,4", "mask_prior=3"]
    options, _ = train.read_command([*tiny_command(data, tmp_path), "--set", *fields, "--keypoints", "both"])
    config, layout = options.network(), options.mesh_layout()
    assert (config.motion.width, config.occlusion_widths, config.mask_prior) == (6, (8, 4), 3.0)
    assert config.learned_count == LEARNED_BESIDE_MESH
    assert config.keypoint_count == layout.keypoint_count + config.learned_count
