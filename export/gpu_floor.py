"""The minimum time of a part of a frame on a device: its arithmetic or its memory traffic, at full speed."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from avatarify_plus.engines.torch_network import TYPES
from avatarify_plus.network.blocks import model_float_operations

BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2}
"""Bytes of a number, by precision."""

TIMES = 8
"""How often a rate is measured; the best counts."""


class Work(NamedTuple):
    """What one run of a graph must do: floating-point operations, and numbers moved from and to memory."""

    operations: int
    numbers: int


@dataclass(frozen=True, slots=True)
class Rates:
    """What a device does at full speed.

    operations: of a large matrix product, floating-point operations a second by precision. copied: of a large copy,
    bytes a second, read and written.
    """

    operations: dict[str, float]
    copied: float

    def floor_ms(self, work: Work, precision: str) -> float:
        """Return the minimum time of some work in a precision, in ms."""
        return 1e3 * max(work.operations / self.operations[precision], work.numbers * BYTES[precision] / self.copied)


def measure_rates(device: torch.device, precisions: Sequence[str]) -> Rates:
    """Measure a device: the best of several runs; in float32 always, on a GPU in TF32 too."""
    is_gpu = device.type == "cuda"
    size, block_size = (8192, 1 << 30) if is_gpu else (1024, 1 << 26)
    operations = {}
    for precision in dict.fromkeys(("fp32", *precisions, *(["tf32"] if is_gpu else []))):
        left, right, product = (
            torch.randn(size, size, device=device).to(TYPES.get(precision, torch.float32)) for _ in range(3)
        )
        with _float32_products("high" if precision == "tf32" else "highest"):
            duration_s = _best_s(device, functools.partial(torch.mm, left, right, out=product))
        operations[precision] = 2 * size**3 / duration_s
    block = torch.zeros(block_size, dtype=torch.uint8, device=device)
    copy = torch.empty_like(block)
    return Rates(operations, 2 * block_size / _best_s(device, lambda: copy.copy_(block)))


@contextlib.contextmanager
def _float32_products(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _best_s(device: torch.device, action: Callable[[], object]) -> float:
    """Return the seconds of the fastest of several runs."""
    durations = []
    for _ in range(TIMES):
        begun_s = _now_s(device)
        action()
        durations.append(_now_s(device) - begun_s)
    return min(durations)


def _now_s(device: torch.device) -> float:
    """Wait for the device to finish, and return the time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def count_work(graph: nn.Module, *inputs: Tensor) -> Work:
    """Count what a forward pass's convolutions do and move: weights, inputs and outputs, each once.

    What lies between them is left out: a perfect runtime would fuse it with them.
    """
    numbers = 0

    def count(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal numbers
        numbers += given[0].numel() + output.numel() + sum(weight.numel() for weight in layer.parameters())

    hooks = [layer.register_forward_hook(count) for layer in graph.modules() if isinstance(layer, nn.Conv2d)]
    try:
        operations = model_float_operations(graph, *inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return Work(operations, numbers)
