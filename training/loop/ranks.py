"""The processes of a distributed run: who is who, what they agree on, batch statistics over all of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from avatarify_plus.errors import AvatarifyError

PATIENCE = timedelta(hours=3)
"""Ranks wait this long for each other: the first rank decodes the clips while the others wait."""


class LostRankError(AvatarifyError):
    """Another process of the run has ended before its time."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's number, how many there are over all nodes, and its device.

    Ranks meet in `wait`, `largest` and `mean`, which raise LostRankError when one of them has ended.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and the log."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until every rank is here."""
        if self.count > 1:
            with _meeting():
                dist.barrier()

    def largest(self, *values: float) -> list[float]:
        """Return the largest of each value over all ranks, so that all decide the same."""
        if self.count == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)  # on the CPU, so that no device waits for it
        with _meeting():
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor.tolist()

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of a tensor over all ranks."""
        if self.count == 1:
            return values
        values = values.clone()
        with _meeting():
            dist.all_reduce(values)
        return values / self.count


@contextlib.contextmanager
def _meeting() -> Iterator[None]:
    """Raise LostRankError where torch says, in words of each transport, that a process does not answer any more."""
    try:
        yield
    except RuntimeError as error:
        raise LostRankError("another rank of this training has ended: its own error says why") from error


@contextlib.contextmanager
def joined_ranks(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started, on one node or several; a process started alone is the only rank."""
    count, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    chosen = torch.device("cuda", local) if device == "cuda" else torch.device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if count == 1:
        yield Ranks(0, 1, chosen)
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(dist.get_rank(), count, chosen)
    finally:
        dist.destroy_process_group()


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation with the statistics of all ranks' batches, on any device; same tensors as BatchNorm2d.

    Every rank's batch must be of the same size. (torch's SyncBatchNorm needs CUDA.)
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        wide = x.float()
        moments = torch.stack([wide.mean((0, 2, 3)), wide.square().mean((0, 2, 3))])  # (2, C)
        mean, square = (_SumOverRanks.apply(moments) / dist.get_world_size()).unbind()
        variance = (square - mean.square()).clamp(min=0)
        with torch.no_grad():
            count = x.numel() // x.shape[1] * dist.get_world_size()
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        gain = self.weight * torch.rsqrt(variance + self.eps)
        return (wide * gain[:, None, None] + (self.bias - mean * gain)[:, None, None]).to(x.dtype)


class _SumOverRanks(torch.autograd.Function):
    """Sum a tensor over all ranks; so is its gradient, since every rank's loss depends on every rank's tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def synchronise_batch_norm(module: nn.Module, device: torch.device) -> nn.Module:
    """Replace every batch normalisation inside by one over all ranks; weights and their names stay."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            twin = SynchronisedBatchNorm(child.num_features, child.eps, child.momentum)
            twin.weight, twin.bias = child.weight, child.bias
            twin.running_mean, twin.running_var = child.running_mean, child.running_var
            twin.num_batches_tracked = child.num_batches_tracked
            setattr(module, name, twin)
        else:
            synchronise_batch_norm(child, device)
    return module
