"""Checkpoints are read without running code from them, and what is wrong with one is named in one line."""

import pickle
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from avatarify_plus.errors import ModelError
from avatarify_plus.network.checkpoint import Checkpoint, is_plain, read_checkpoint
from avatarify_plus.network.checkpoint_seal import SEAL, seal
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


def test_torch_gives_no_advice(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Its own words are to load the file with weights_only=False, which would run its code."""
    path = tmp_path / "scripted.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))
    with pytest.raises(ModelError, match="cannot read checkpoint") as caught:
        read_checkpoint(path)
    assert "weights_only" not in str(caught.value) and not recwarn.list
    with pytest.raises(ModelError, match="cannot read checkpoint chunk: it is not a PyTorch file") as caught:
        Checkpoint.from_bytes(pickle.dumps({"config": Path("code")}), "chunk")
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    "odd",
    [
        {"step": "three"},
        {"step": -1},
        {"samples": float("nan")},
        {"elapsed_s": [1]},
        {"training": ["none"]},
        {"ema": [torch.ones(1)]},
        {"ema": {"w": 5}},
        {"ema": {3: torch.ones(1)}},
        {"ema": {"w": torch.ones(2).to_sparse()}},
        STATE | {"model": {"w": "x"}},
        STATE | {"optimiser": [1]},
        STATE | {"objective": 7},
    ],
)
def test_values_of_another_kind_are_one_line(tmp_path: Path, odd: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"odd\.pt is not a checkpoint of training/train\.py: ") as caught:
        read_checkpoint(saved(tmp_path / "odd.pt", VALUES | odd))
    assert "\n" not in str(caught.value)


ODD_TENSORS: dict[str, Callable[[], torch.Tensor]] = {
    "sparse": lambda: torch.ones(2, 2).to_sparse_csr(),
    "without numbers": lambda: torch.ones(2, device="meta"),
    "complex": lambda: torch.ones(2, dtype=torch.complex64),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "huge, of four bytes": lambda: torch.ones(1).expand(10**13),
}


@pytest.mark.parametrize("kind", ODD_TENSORS)
def test_tensors_that_are_no_plain_numbers_are_one_line(tmp_path: Path, kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, that it may change how it makes them
        path = saved(tmp_path / "odd.pt", VALUES | {"ema": {"w": ODD_TENSORS[kind]()}})
    with pytest.raises(ModelError, match=r"odd\.pt is not a checkpoint of .*: ema holds something else than plain"):
        read_checkpoint(path)
    assert is_plain(torch.ones(3, 4).t()[1:]) and is_plain(torch.tensor(1)) and is_plain(torch.ones(0))


def test_every_flipped_bit_of_a_sealed_file_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path / "checkpoint.pt", VALUES | STATE)
    seal(path)
    assert read_checkpoint(path).step == 3
    good, chance = path.read_bytes(), random.Random(0)
    places = {*(chance.randrange(len(good)) for _ in range(150)), *range(len(good) - 80, len(good)), *range(8)}
    for place in places:
        data = bytearray(good)
        data[place] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        with pytest.raises(ModelError, match="cannot read checkpoint"):
            read_checkpoint(path)
    for length in (len(good) - 1, len(good) - 49, len(good) // 2, 30):
        path.write_bytes(good[:length])
        with pytest.raises(ModelError, match="cannot read checkpoint"):
            read_checkpoint(path)


def test_a_weight_that_changed_in_an_unsealed_file_is_noticed_too(tmp_path: Path) -> None:
    weights = torch.arange(1000.0)
    path = saved(tmp_path / "old.pt", VALUES | {"ema": {"w": weights}})
    assert torch.equal(read_checkpoint(path).ema["w"], weights), "what earlier versions wrote is read"
    data = bytearray(path.read_bytes())
    data[data.index(weights.numpy().tobytes()) + 2000] ^= 64
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"it is damaged, the checksum of .* is wrong; fetch or train it again"):
        read_checkpoint(path)


def test_a_sealed_file_is_a_zip_file_that_torch_reads(tmp_path: Path) -> None:
    path = saved(tmp_path / "checkpoint.pt", VALUES)
    seal(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None and archive.comment.startswith(SEAL)
    assert torch.load(path, weights_only=True)["step"] == 3
