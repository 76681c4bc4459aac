"""Checkpoints are read without running code from them, and what is wrong with one is named in one line."""

from pathlib import Path
from typing import Any

import pytest
import torch

from avatarify_plus.errors import ModelError
from avatarify_plus.network.checkpoint import read_checkpoint
from avatarify_plus.network.config import network_config

CONFIG = network_config("ours", "tiny")
VALUES = {"config": CONFIG.to_dict(), "ema": {"w": torch.ones(2)}, "step": 3}
STATE = {"model": {"w": torch.zeros(2)}, "optimiser": {"lr": 0.1}}


def saved(path: Path, values: Any) -> Path:
    torch.save(values, path)
    return path


def test_a_checkpoint_is_read_with_all_that_it_holds(tmp_path: Path) -> None:
    known = {"samples": 12, "training": {"data": "none"}}
    found = read_checkpoint(saved(tmp_path / "checkpoint.pt", VALUES | STATE | known))
    assert (found.config, found.step, found.samples, found.training) == (CONFIG, 3, 12, {"data": "none"})
    assert torch.equal(found.ema["w"], torch.ones(2))
    assert found.state is not None and found.state.optimiser == {"lr": 0.1}


def test_a_checkpoint_may_say_nothing_of_its_training(tmp_path: Path) -> None:
    found = read_checkpoint(saved(tmp_path / "checkpoint.pt", VALUES))
    assert (found.samples, found.training, found.state) == (0, {}, None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"config": {}}, r"odd\.pt is not a checkpoint of training/train\.py: it lacks ema, step"),
        ({**VALUES, "config": {"colour": "red"}}, r"odd\.pt holds no network of this version: .*colour"),
        ([1, 2], r"odd\.pt is not a checkpoint: it holds a list instead of a dictionary"),
        (
            {**VALUES, "step": Path("code")},
            r"cannot read checkpoint .*odd\.pt: it holds pathlib[\w.]*, which is neither a tensor nor a plain value",
        ),
    ],
)
def test_what_is_not_a_checkpoint_is_one_line(tmp_path: Path, values: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        read_checkpoint(saved(tmp_path / "odd.pt", values))
    assert "\n" not in str(caught.value)


def test_a_missing_or_damaged_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^no checkpoint at .*nowhere\.pt$"):
        read_checkpoint(tmp_path / "nowhere.pt")
    path = saved(tmp_path / "cut.pt", VALUES)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"^cannot read checkpoint .*cut\.pt: .+$"):
        read_checkpoint(path)
