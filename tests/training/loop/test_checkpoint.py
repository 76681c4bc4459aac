"""A checkpoint is written whole or not at all, and its weights start other networks."""

import logging
import resource
import shutil
from pathlib import Path

import pytest
import torch

from avatarify_plus.errors import ModelError
from avatarify_plus.network.config import network_config
from avatarify_plus.network.model import AnimationModel
from training.loop import checkpoint
from training.loop.checkpoint import SaveError, load_checkpoint, load_start, load_what_fits, save_checkpoint

BIG = {"weights": torch.zeros(100_000)}


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


def test_more_keypoints_keep_what_the_fewer_learned(caplog: pytest.LogCaptureFixture) -> None:
    few, many = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(5, 6, 3)
    kept = many.weight.detach().clone()
    with caplog.at_level(logging.INFO, "training"):
        load_what_fits(many, few.state_dict())
    torch.testing.assert_close(many.weight[:4, :3], few.weight)
    torch.testing.assert_close(many.weight[4:], kept[4:])
    assert "copied in part" in caplog.text and "weight (4, 3, 3, 3) into (6, 5, 3, 3)" in caplog.text


def test_the_shipped_bundle_is_a_start() -> None:
    weights, origin = load_start(Path("live-256"))
    assert origin["bundle"] == "live-256" and "generator.first.conv.weight" in weights


def test_a_warm_start_takes_what_fits() -> None:
    narrow, wide = (
        AnimationModel(network_config(preset, "tiny", keypoints="mesh", keypoint_count=4))
        for preset in ("ours", "ours-skip")
    )
    load_what_fits(wide, narrow.state_dict())
    torch.testing.assert_close(wide.generator.first.conv.weight, narrow.generator.first.conv.weight)
    assert float(wide.dense_motion.mask_prior.detach().min()) == 8.0
