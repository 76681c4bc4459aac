"""Frozen modules keep their weights and statistics; the rest learns."""

from pathlib import Path

import pytest
import torch

from avatarify_plus.network.checkpoint import read_checkpoint
from synthetic_cache import tiny_command, write_cache
from training.train import main


def test_frozen_modules_stay_as_they_were(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_cache(tmp_path / "cache", {"anna_0": 4, "ben_0": 4})
    first, second = tmp_path / "first", tmp_path / "second"
    assert main([*tiny_command(data, first), "--steps", "2"]) == 0
    more = ["--warm-start", str(first / "checkpoint.pt"), "--freeze", "dense_motion.hourglass", "--steps", "2"]
    assert main([*tiny_command(data, second), *more]) == 0
    before, after = read_checkpoint(first / "checkpoint.pt").ema, read_checkpoint(second / "checkpoint.pt").ema
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    hourglass = {name for name in before if name.startswith("dense_motion.hourglass")}
    assert hourglass <= same
    assert any(name.startswith("generator") and name.endswith("weight") for name in before.keys() - same)
    with pytest.raises(SystemExit):
        main([*tiny_command(data, tmp_path / "third"), "--freeze", "detector", "--steps", "1"])
    assert "--warm-start" in capsys.readouterr().err
