"""A checkpoint is written whole or not at all, and its weights start other networks."""

import contextlib
import errno
import logging
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatarify_plus.errors import ModelError
from avatarify_plus.network.checkpoint import Checkpoint, RunState, previous_of, read_checkpoint
from avatarify_plus.network.config import network_config
from avatarify_plus.network.model import AnimationModel
from training.loop import checkpoint
from training.loop.checkpoint import SaveError, load_what_fits, read_start, sole_trainer, write_checkpoint

CONFIG = network_config("ours", "tiny")
SMALL, BIG = (Checkpoint(CONFIG, {"weights": torch.zeros(count)}, step=1) for count in (10, 100_000))


def test_a_full_disk_is_reported_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, BIG)
    before = path.read_bytes()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage._replace(free=len(before)))
    with pytest.raises(SaveError, match=r"0 MB are free.*free some space"):
        write_checkpoint(path, BIG)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_while_saving_costs_that_save_alone(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, SMALL)
    before = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
        with pytest.raises(SaveError, match=r"cannot write .*checkpoint\.pt"):
            write_checkpoint(path, BIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, Linux's full disk")
def test_the_disks_own_words_say_why_it_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def full(path: Path) -> Iterator[Path]:
        yield Path("/dev/full")

    monkeypatch.setattr(checkpoint, "replaced", full)
    with pytest.raises(SaveError, match=r"cannot write .*checkpoint\.pt: \[Errno 28\] No space left on device$"):
        write_checkpoint(tmp_path / "checkpoint.pt", BIG)


def test_a_checkpoint_before_that_cannot_be_kept_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, SMALL)

    def fail(code: int) -> None:
        raise OSError(code, "no link")

    monkeypatch.setattr(os, "link", lambda *names: fail(errno.EPERM))
    write_checkpoint(path, SMALL)
    assert not caplog.text, "a disk without links keeps none"
    monkeypatch.setattr(os, "link", lambda *names: fail(errno.EIO))
    write_checkpoint(path, replace(SMALL, step=4))
    assert "the checkpoint before cannot be kept" in caplog.text and read_checkpoint(path).step == 4
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(ModelError, match="no checkpoint"):
        read_checkpoint(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot read"):
        read_checkpoint(path)
    torch.save({"weights": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="lacks config"):
        read_checkpoint(path)


def test_more_keypoints_keep_what_the_fewer_learned(caplog: pytest.LogCaptureFixture) -> None:
    few, many = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(5, 6, 3)
    kept = many.weight.detach().clone()
    with caplog.at_level(logging.INFO, "training"):
        load_what_fits(many, few.state_dict())
    torch.testing.assert_close(many.weight[:4, :3], few.weight)
    torch.testing.assert_close(many.weight[4:], kept[4:])
    assert "copied in part" in caplog.text and "weight (4, 3, 3, 3) into (6, 5, 3, 3)" in caplog.text


def test_the_shipped_bundle_is_a_start() -> None:
    weights, origin = read_start(Path("live-256"))
    assert origin["bundle"] == "live-256" and "generator.first.conv.weight" in weights


def test_a_warm_start_takes_what_fits() -> None:
    narrow, wide = (
        AnimationModel(network_config(preset, "tiny", keypoints="mesh", keypoint_count=4))
        for preset in ("ours", "ours-skip")
    )
    load_what_fits(wide, narrow.state_dict())
    torch.testing.assert_close(wide.generator.first.conv.weight, narrow.generator.first.conv.weight)
    assert float(wide.dense_motion.mask_prior.detach().min()) == 8.0


@pytest.mark.parametrize("is_whole", [False, True])
def test_a_checkpoint_comes_back_as_it_was(is_whole: bool, tmp_path: Path) -> None:
    ema = {"weights": torch.rand(3)}
    state = RunState({"weights": torch.rand(3)}, {"state": {}, "param_groups": [{"lr": 0.1}]}, {"judge": torch.rand(2)})
    saved = Checkpoint(CONFIG, ema, 7, 28, 1.5, {"seed": 3}, state if is_whole else None)
    write_checkpoint(tmp_path / "checkpoint.pt", saved)
    found = read_checkpoint(tmp_path / "checkpoint.pt")
    assert (found.config, found.step, found.samples, found.elapsed_s, found.training) == (
        CONFIG,
        7,
        28,
        1.5,
        {"seed": 3},
    )
    assert torch.equal(found.ema["weights"], ema["weights"])
    if not is_whole:
        assert found.state is None
        return
    assert found.state is not None and found.state.optimiser == state.optimiser
    assert torch.equal(found.state.model["weights"], state.model["weights"])
    assert torch.equal(found.state.objective["judge"], state.objective["judge"])


def test_the_file_of_a_checkpoint_is_what_earlier_versions_wrote(tmp_path: Path) -> None:
    earlier = {
        "config": CONFIG.to_dict(),
        "model": {"weights": torch.ones(1)},
        "ema": {"weights": torch.zeros(1)},
        "optimiser": {"param_groups": []},
        "step": 4,
        "samples": 16,
        "elapsed_s": 2.0,
        "training": {"seed": 1},
    }
    torch.save(earlier, tmp_path / "checkpoint.pt")
    found = read_checkpoint(tmp_path / "checkpoint.pt")
    assert found.state is not None and found.state.objective == {} and found.to_dict() == earlier


def test_a_network_of_another_version_is_named(tmp_path: Path) -> None:
    torch.save(SMALL.to_dict() | {"config": {"wings": 2}}, tmp_path / "checkpoint.pt")
    with pytest.raises(ModelError, match=r"no network of this version.*wings"):
        read_checkpoint(tmp_path / "checkpoint.pt")


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.pt-killed.part").write_bytes(b"half")
    write_checkpoint(tmp_path / "checkpoint.pt", SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_the_checkpoint_before_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    for step in (1, 2, 3):
        write_checkpoint(path, replace(SMALL, step=step))
    assert read_checkpoint(path).step == 3 and read_checkpoint(previous_of(path)).step == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint.previous.pt", "checkpoint.pt"]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"it is damaged, its SHA-256 .*; put .*checkpoint\.previous\.pt in its place"):
        read_checkpoint(path)


def test_on_a_small_disk_the_new_one_matters_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, BIG)
    write_checkpoint(path, BIG)
    usage, size = shutil.disk_usage(tmp_path), path.stat().st_size
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage._replace(free=int(0.5 * size)))
    write_checkpoint(path, replace(BIG, step=9))
    assert read_checkpoint(path).step == 9


HOLD = """
import sys, time
from pathlib import Path
from training.loop.checkpoint import sole_trainer
with sole_trainer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_trainings_do_not_share_a_run_folder(tmp_path: Path) -> None:
    """The lock is the system's: one that is killed leaves none behind."""
    run = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == "held\n"
            with pytest.raises(SaveError, match=r"another training is writing into .*run: wait"), sole_trainer(run):
                pass
        finally:
            other.kill()
    with sole_trainer(run):
        pass


def test_a_run_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SaveError, match=r"cannot write into .*choose another --out"), sole_trainer(tmp_path / "file"):
        pass
