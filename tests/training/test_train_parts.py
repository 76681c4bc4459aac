"""The painters of mouth and eyes are trained on squares cut out once."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatarify_plus.network.checkpoint import Checkpoint, read_checkpoint
from avatarify_plus.network.config import network_config
from avatarify_plus.network.model import AnimationModel
from synthetic_cache import write_cache
from training.loop.checkpoint import write_checkpoint
from training.train_parts import main


@pytest.fixture
def start(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = network_config(
        "ours-skip",
        "tiny",
        image_size=64,
        motion_size=16,
        keypoints="mesh",
        keypoint_count=20,
        photo_reach=1.5,
        contour_width=4,
    )
    path = tmp_path / "start.pt"
    write_checkpoint(path, Checkpoint(config, AnimationModel(config).state_dict(), 5, 50, 1.0, {"seed": 3}, None))
    return path


def test_painters_are_added_and_the_rest_stays(start: Path, tmp_path: Path) -> None:
    data = write_cache(tmp_path / "cache", {"anna_0": 4, "ben_0": 4, "eva_0": 1}, size=64)
    out = tmp_path / "parts"
    command = [str(start), "--data", str(data), "--out", str(out), "--photo-px", "64", "--width", "4"]
    command += ["--pairs", "16", "--minutes", "0.03"]
    assert main(command) == 0
    before, after = read_checkpoint(start), read_checkpoint(out / "checkpoint.pt")
    assert after.config == replace(before.config, part_width=4)
    for name, value in before.ema.items():
        torch.testing.assert_close(after.ema[name], value)
    assert after.training["painters"]["pairs"] == 16 and after.samples == 50
    # squares are cut once: a second run finds them
    times = {path: path.stat().st_mtime_ns for path in (out / "crops").glob("*.u8")}
    (out / "crops" / "done.txt").write_text("16")
    assert main(command) == 0
    assert (out / "crops" / "done.txt").read_text() == "16" and len(times) == 11


def test_a_network_without_its_photos_size_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_cache(tmp_path / "cache", {"anna_0": 2}, size=64)
    assert main(["live-256", "--data", str(data), "--out", str(tmp_path / "out")]) == 1
    assert "photo_reach" in capsys.readouterr().err
