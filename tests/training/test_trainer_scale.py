"""Several processes train as one would; a batch is the same wherever it is rendered."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from avatarify_plus.errors import ConfigError
from avatarify_plus.motion.keypoints import load_mesh_layout
from avatarify_plus.network.checkpoint import Checkpoint, read_checkpoint
from synthetic_cache import tiny_command, write_cache
from training import train
from training.data.cache import open_cache
from training.data.pairs import PairOptions, PairSampler, Pool, mesh_mirror
from training.data.warp import Renderer
from training.loop.checkpoint import sole_trainer, write_checkpoint
from training.loop.loader import BatchLoader, fits_on_device
from training.loop.ranks import Ranks, SynchronisedBatchNorm, synchronise_batch_norm
from training.loop.schedule import Stage, parse_stages

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
LOOPBACK = ("--standalone", "--local-addr", "127.0.0.1")
"""Torch's launcher and ranks meet by the machine's own name otherwise, which not every machine can look up."""
TWO_RANKS = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *LOOPBACK]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cache(tmp_path_factory.mktemp("data") / "cache", {"a_1": 4, "b_1": 5, "c_1": 1})


def losses(out: Path) -> list[float]:
    header, *rows = (out / "metrics.csv").read_text().splitlines()
    return [float(row.split(",")[header.split(",").index("pixels")]) for row in rows]


def start_two_ranks(command: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*TWO_RANKS, str(ROOT / "training" / "train.py"), *command],
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_two_ranks_take_over_from_one_process_as_if_it_had_gone_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"

    def save(path: Path, values: Checkpoint) -> None:
        write_checkpoint(path, values)
        if values.step == 2:
            two.mkdir(exist_ok=True)
            shutil.copy(path, two / "checkpoint.pt")

    monkeypatch.setattr(train, "write_checkpoint", save)
    steps = ("--steps", "4", "--save-minutes", "0", "--sync-batchnorm")
    assert train.main(tiny_command(data, one, *steps)) == 0
    ranks = start_two_ranks(tiny_command(data, two, *steps))
    said, _ = ranks.communicate()
    assert ranks.returncode == 0, said
    assert losses(two) == pytest.approx(losses(one)[2:], rel=2e-4)
    alone, shared = (read_checkpoint(out / "checkpoint.pt") for out in (one, two))
    assert shared.step == 4 and shared.samples == alone.samples == 16
    for name, value in alone.ema.items():
        torch.testing.assert_close(shared.ema[name], value, atol=1e-4, rtol=1e-3, msg=name)


def test_the_other_ranks_end_with_one_line_when_the_first_cannot_begin(data: Path, tmp_path: Path) -> None:
    with sole_trainer(tmp_path / "run"):
        said, _ = start_two_ranks(tiny_command(data, tmp_path / "run", "--steps", "1")).communicate()
    lines = [line for line in said.splitlines() if line.startswith("avatarify: error:")]
    assert any("another training is writing" in line for line in lines), said
    assert len(lines) == 1 or any("another rank of this training has ended" in line for line in lines), said
    assert 'train.py", line' not in said


@pytest.mark.skipif(os.name == "nt", reason="Windows has no groups of processes that a terminal signals")
def test_ctrl_c_in_a_terminal_keeps_what_two_ranks_have_learned(data: Path, tmp_path: Path) -> None:
    """It reaches launcher and ranks, and the launcher sends the ranks one more."""
    ranks = start_two_ranks(tiny_command(data, tmp_path, "--steps", "100000"))
    while not (tmp_path / "checkpoint.pt").exists():  # after the first step
        assert ranks.poll() is None, ranks.communicate()[0]
        time.sleep(0.1)
    time.sleep(2)
    os.killpg(ranks.pid, signal.SIGINT)
    said, _ = ranks.communicate(timeout=120)
    assert "stopped by request, resume with the same command" in said
    assert read_checkpoint(tmp_path / "checkpoint.pt").step > 1, said


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    assert parse_stages("64x6:1", ranks=3)[0].batch == 6
    with pytest.raises(ConfigError, match="multiple of the 4 ranks"):
        parse_stages("64x6:1", ranks=4)


def test_the_parts_of_a_choice_are_the_whole(data: Path) -> None:
    pool = Pool([open_cache(data)])
    sampler = PairSampler(pool, load_mesh_layout("face-20"), PairOptions(), seed=3)
    whole = sampler.choose(7, 6)
    parts = [sampler.choose(7, 6).part(rank, 3) for rank in range(3)]
    for joined, values in zip(zip(*parts, strict=True), whole, strict=True):
        np.testing.assert_array_equal(np.concatenate(joined), values)


def test_the_loader_gives_the_same_batches_in_any_order(data: Path) -> None:
    pool, layout = Pool([open_cache(data)]), load_mesh_layout("face-20")
    sampler = PairSampler(pool, layout, PairOptions(), seed=3)
    renderer = Renderer(layout, mesh_mirror("face-20"), CPU)
    small, large = Stage(32, 32, 2, 0.5), Stage(64, 64, 2, 0.5)
    with BatchLoader(sampler, pool, renderer, Ranks(0, 1, CPU), hold_frames=False) as loader:
        first = [loader.batch(index, small) for index in (0, 1, 2)]
        other = loader.batch(3, large)
        again = loader.batch(1, small)
    assert torch.equal(first[1].source, again.source) and not torch.equal(first[0].source, first[1].source)
    assert other.source.shape == (2, 3, 64, 64)
    with BatchLoader(sampler, pool, renderer, Ranks(0, 1, CPU), hold_frames=True) as loader:
        assert torch.equal(loader.batch(1, small).source, again.source)
    with BatchLoader(sampler, pool, renderer, Ranks(1, 2, CPU), hold_frames=False) as loader:
        share = loader.batch(1, small).driving  # a batch of another length rounds elsewhere: 6e-8 was seen
    torch.testing.assert_close(share, again.driving[1:], atol=1e-6, rtol=0)
    assert not fits_on_device(pool, CPU)


def test_batch_statistics_of_one_rank_are_those_of_batch_norm() -> None:
    torch.manual_seed(0)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        twin = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        twin.load_state_dict(plain.state_dict())
        synchronise_batch_norm(twin, CPU)
        assert isinstance(twin[1], SynchronisedBatchNorm)
        x, weight = torch.randn(5, 3, 8, 8), torch.randn(5, 4, 6, 6)
        for model in (plain, twin):
            (model(x).sin() * weight).sum().backward()
        for (name, left), right in zip(plain.named_parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(left.grad, right.grad, atol=1e-5, rtol=1e-4, msg=name)
        for left, right in zip(plain.buffers(), twin.buffers(), strict=True):
            torch.testing.assert_close(left, right)
        torch.testing.assert_close(plain.eval()(x), twin.eval()(x))
    finally:
        torch.distributed.destroy_process_group()
