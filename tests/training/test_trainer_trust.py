"""A run can be killed, starved of disk, stopped or derailed, and what it was worth is not lost."""

import itertools
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from avatarify_plus.bundle import Bundle
from avatarify_plus.errors import ConfigError, ModelError
from synthetic_cache import tiny_command, write_cache
from training import train
from training.loop import checkpoint
from training.loop.checkpoint import SaveError, load_checkpoint, load_start, load_what_fits, save_checkpoint
from training.loop.guard import EXPLOSION_STEPS, DivergedError, LossGuard, StopRequest
from training.loop.logbook import Logbook

ROOT = Path(__file__).resolve().parents[2]
BIG = {"weights": torch.zeros(100_000)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cache(tmp_path_factory.mktemp("data") / "cache", {"a_1": 4, "b_1": 5, "c_1": 1})


def same_weights(left: Path, right: Path) -> bool:
    a, b = load_checkpoint(left / "checkpoint.pt"), load_checkpoint(right / "checkpoint.pt")
    return a["step"] == b["step"] and all(
        torch.equal(a[part][name], b[part][name]) for part in ("model", "ema") for name in a[part]
    )


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
        if (out / "checkpoint.pt").exists() and load_checkpoint(out / "checkpoint.pt")["step"] >= step:
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
    assert load_checkpoint(tmp_path / "killed" / "checkpoint.pt")["step"] < 14
    assert train.main(arguments) == 0
    assert same_weights(tmp_path / "whole", tmp_path / "killed")
    steps = [int(line.split(",")[0]) for line in (tmp_path / "killed" / "metrics.csv").read_text().splitlines()[1:]]
    assert steps == sorted(steps) and steps[-1] == 14


def test_a_request_to_stop_saves_and_ends_well(data: Path, tmp_path: Path) -> None:
    process = start(tiny_command(data, tmp_path, "--steps", "100000"))
    wait_for_step(process, tmp_path, 1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0
    assert "stopped by request, resume with the same command" in errors
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] >= 1


def test_a_session_ends_and_the_next_goes_on(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a budget of 60 ticks, a session lasts 18 or a little more; a tick is one look at the clock."""
    ticks = itertools.count()
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    arguments = tiny_command(data, tmp_path, "--minutes", "1", "--session-minutes", "0.3")
    elapsed_s = [0.0]
    while elapsed_s[-1] < 60 and len(elapsed_s) < 9:
        assert train.main(arguments) == 0
        elapsed_s.append(load_checkpoint(tmp_path / "checkpoint.pt")["elapsed_s"])
    assert len(elapsed_s) > 3 and all(0 < after - before < 25 for before, after in itertools.pairwise(elapsed_s))


def test_signals_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.is_set
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_loss_that_explodes_or_is_no_number_stops_the_run() -> None:
    guard = LossGuard()
    for step in range(50):
        guard.check(step, 1.0, 1.0, "last")
    for step in range(EXPLOSION_STEPS - 1):
        guard.check(50 + step, 1000.0, 1.0, "last")
    guard.check(60, 1.0, 1.0, "last")  # it was a few bad batches
    with pytest.raises(DivergedError, match=r"step 70.*running median.*last"):
        for _ in range(EXPLOSION_STEPS):
            guard.check(70, 1000.0, 1.0, "last")
    for loss, norm in ((float("nan"), 1.0), (1.0, float("inf"))):
        with pytest.raises(DivergedError, match="step 3"):
            LossGuard().check(3, loss, norm, "last")


def test_weights_that_are_not_finite_never_replace_a_checkpoint(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = tiny_command(data, tmp_path)
    assert train.main([*arguments, "--steps", "2"]) == 0
    before = (tmp_path / "checkpoint.pt").read_bytes()
    capsys.readouterr()
    assert train.main([*arguments, "--steps", "20", "--weight", "pixels=1e38"]) == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("train: error: training diverged at step") and str(tmp_path / "checkpoint.pt") in told
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    monkeypatch.setattr(train, "is_finite", lambda *modules: False)
    assert train.main([*arguments, "--steps", "3"]) == 1
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, BIG)
    before = path.read_bytes()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage._replace(free=len(before)))
    with pytest.raises(SaveError, match=r"0 MB are free.*free some space"):
        save_checkpoint(path, BIG)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_while_saving_costs_that_save_alone(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"weights": torch.zeros(10)})
    before = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
        with pytest.raises(SaveError, match=r"cannot write .*checkpoint\.pt"):
            save_checkpoint(path, BIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_training_outlives_a_full_disk_but_says_so_at_the_end(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    saved: list[Any] = []

    def save(path: Path, values: dict[str, Any]) -> None:
        saved.append(values["step"])
        if values["step"] != 3:
            raise SaveError("no room")
        save_checkpoint(path, values)

    monkeypatch.setattr(train, "save_checkpoint", save)
    with caplog.at_level(logging.WARNING):
        assert train.main(tiny_command(data, tmp_path, "--steps", "4", "--save-minutes", "0")) == 1
    assert saved == [1, 2, 3, 4, 4]
    assert [record.getMessage() for record in caplog.records].count(
        "no room; training goes on and tries again in 0 minutes"
    ) == 3
    assert capsys.readouterr().err.strip().splitlines()[-1] == "train: error: no room"
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 3


def test_a_full_disk_does_not_end_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = Logbook(tmp_path, 0)
    (tmp_path / "metrics.part").mkdir()  # nothing can be written there
    log.add(1, {"pixels": 1.0})
    log.write(1, 4, 1.0, 1e-3, {})
    log.close()
    assert "cannot write the logs" in caplog.text


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(ModelError, match="no checkpoint"):
        load_checkpoint(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot read"):
        load_checkpoint(path)
    save_checkpoint(path, {"weights": torch.zeros(1)})
    with pytest.raises(ModelError, match="lacks config"):
        load_checkpoint(path)


def test_the_log_is_kept_in_every_form(data: Path, tmp_path: Path) -> None:
    arguments = tiny_command(data, tmp_path, "--val", str(data), "--steps", "2")
    assert train.main(arguments) == 0
    header, *rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert {"step", "samples", "rate", "samples_per_s", "pixels", "val L1"} <= set(header.split(",")) and len(rows) == 2
    assert (tmp_path / "loss.png").exists() and len(list(tmp_path.glob("sheet-*.png"))) == 2
    events = [path.stat().st_size for path in (tmp_path / "tensorboard").glob("events.*")]
    assert events and sum(events) > 1000


def test_no_tensorboard_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with caplog.at_level(logging.INFO):
        Logbook(tmp_path, 0).close()
    assert [record.getMessage() for record in caplog.records] == [
        "no TensorBoard log: tensorboard is not installed (pip install tensorboard)"
    ]


def test_more_keypoints_keep_what_the_fewer_learned(caplog: pytest.LogCaptureFixture) -> None:
    few, many = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(5, 6, 3)
    kept = many.weight.detach().clone()
    with caplog.at_level(logging.INFO, "training"):
        load_what_fits(many, few.state_dict())
    torch.testing.assert_close(many.weight[:4, :3], few.weight)
    torch.testing.assert_close(many.weight[4:], kept[4:])
    assert "copied in part" in caplog.text and "weight (4, 3, 3, 3) into (6, 5, 3, 3)" in caplog.text


def test_a_run_starts_from_a_bundle(data: Path, skip_bundle: Bundle, tmp_path: Path) -> None:
    start = ("--warm-start", str(skip_bundle.folder), "--fresh", "generator.final", "--rate", "0", "--seed", "3")
    assert train.main(tiny_command(data, tmp_path, "--steps", "1", *start)) == 0
    weights, found = load_file(skip_bundle.weights), load_checkpoint(tmp_path / "checkpoint.pt")
    for part in ("model", "ema"):
        assert torch.equal(found[part]["generator.first.conv.weight"], weights["generator.first.conv.weight"])
        assert not torch.equal(found[part]["generator.final.weight"], weights["generator.final.weight"])
    assert found["training"]["started_from"]["bundle"] == skip_bundle.manifest.name


def test_the_shipped_bundle_is_a_start() -> None:
    weights, origin = load_start(Path("live-256"))
    assert origin["bundle"] == "live-256" and "generator.first.conv.weight" in weights


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--set", "wings=2"], "--set knows no field 'wings'"),
        (["--set", "mask_prior=soft"], "--set mask_prior wants a value of type float"),
        (["--set", "motion.width=0"], "must be positive"),
        (["--weight", "beauty=1"], "--weight knows no field 'beauty'"),
        (["--stages", "64x0:1"], "batches be positive"),
        (["--photo-share", "2"], "must be from 0 to 1"),
        (["--warm-start", "nowhere.pt"], "no checkpoint at nowhere.pt"),
        (["--mesh-warmup", "5"], "--mesh-warmup needs --keypoints learned"),
    ],
)
def test_a_wrong_option_is_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str
) -> None:
    assert train.main(tiny_command(data, tmp_path, "--steps", "1", *more)) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("train: error: ") and told in error


def test_options_become_the_network(data: Path, tmp_path: Path) -> None:
    fields = ["image_size=64", "motion_size=16", "motion.width=6", "occlusion_widths=8,4", "mask_prior=3"]
    options = train.build_parser().parse_args([*tiny_command(data, tmp_path), "--set", *fields, "--keypoints", "both"])
    config, layout = train.build_config(options)
    assert (config.motion.width, config.occlusion_widths, config.mask_prior) == (6, (8, 4), 3.0)
    assert config.learned_count == train.LEARNED_BESIDE_MESH
    assert config.keypoint_count == layout.keypoint_count + config.learned_count
    with pytest.raises(ConfigError, match="FIELD=VALUE"):
        train.build_config(train.build_parser().parse_args(tiny_command(data, tmp_path, "--set", "mask_prior")))
