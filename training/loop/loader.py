"""Batches one after the other, prepared ahead of the step that needs them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatarify_plus.network.config import NetworkConfig
from training.data.contours import ContourDrawer
from training.data.flow import BatchFlow
from training.data.pairs import Batch, BatchChoice, PairSampler, Pool
from training.data.warp import Renderer
from training.loop.ranks import Ranks
from training.loop.schedule import Stage

AHEAD = 2
"""This many batches are prepared ahead."""


class _Prepared(NamedTuple):
    """What a batch needs from the host.

    meshes: (2B, 478, 2), None where there are none. frames: (2B, S, S, 3), None where the device holds them.
    """

    choice: BatchChoice
    meshes: Tensor | None
    frames: Tensor | None


@dataclass(frozen=True, slots=True)
class BatchNeeds:
    """What a network and its losses need of a batch.

    flow_cells: optical flow on this many cells a side. reach, photo_size: see `Renderer.render`; None leaves the photo
    in the batch's own size. contour_size: contours of the meshes with this side in px. 0 leaves each out.
    """

    flow_cells: int = 0
    reach: float = 0.0
    photo_size: int | None = None
    contour_size: int = 0

    @staticmethod
    def of(config: NetworkConfig, has_flow: bool, photo_size: int | None = None) -> BatchNeeds:
        """Return what a network of a config needs."""
        flow_cells = config.motion_size if has_flow else 0
        return BatchNeeds(flow_cells, config.photo_reach, photo_size, config.contour_size)


class BatchLoader:
    """Give batch after batch on the training device, prepared ahead by a thread, on a GPU in a stream of its own.

    hold_frames: keep all frames in the device's memory; otherwise the thread gathers them from the cache.
    """

    def __init__(
        self,
        sampler: PairSampler,
        pool: Pool,
        renderer: Renderer,
        ranks: Ranks,
        hold_frames: bool,
        needs: BatchNeeds | None = None,
    ) -> None:
        self._sampler, self._pool, self._renderer, self._ranks = sampler, pool, renderer, ranks
        self._held = _on_device(pool, ranks.device) if hold_frames else None
        self._needs = needs = needs or BatchNeeds()
        self._flow = BatchFlow(needs.flow_cells, _threads(ranks.device)) if needs.flow_cells else None
        self._drawer = ContourDrawer(needs.contour_size, _threads(ranks.device)) if needs.contour_size else None
        self._stream = torch.cuda.Stream(ranks.device) if ranks.device.type == "cuda" else None
        self._executor = ThreadPoolExecutor(1, "batches")
        self._coming: dict[tuple[int, Stage], Future[_Prepared | Batch]] = {}

    def __enter__(self) -> BatchLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(cancel_futures=True)
        for helper in (self._flow, self._drawer):
            if helper is not None:
                helper.close()

    def batch(self, index: int, stage: Stage) -> Batch:
        """Return this rank's part of the batch of that number."""
        wanted = [(index + ahead, stage) for ahead in range(1 + AHEAD)]
        kept = {key: self._coming[key] for key in wanted if key in self._coming}
        for key in self._coming.keys() - kept.keys():  # another stage began
            self._coming[key].cancel()
        self._coming = {key: kept.get(key) or self._executor.submit(self._prepare, *key) for key in wanted}
        prepared = self._coming.pop(wanted[0]).result()
        if not isinstance(prepared, Batch):
            return self._render(prepared, stage)
        if self._stream is not None:  # the network's stream waits for the batch, and keeps its memory from being reused
            current = torch.cuda.current_stream()
            current.wait_stream(self._stream)
            for tensor in _tensors(prepared):
                tensor.record_stream(current)
        return prepared

    def _prepare(self, index: int, stage: Stage) -> _Prepared | Batch:
        """Do the host's work; on a CPU, or where flow needs the pictures, render them too."""
        choice = self._sampler.choose(index, stage.batch).part(self._ranks.rank, self._ranks.count)
        rows = choice.rows.T.ravel()  # sources, then driving pictures
        pin = self._ranks.device.type == "cuda"
        meshes = torch.from_numpy(self._pool.meshes(rows)) if self._pool.has_meshes else None
        frames = None
        if self._held is None:
            side = self._pool.side
            frames = torch.empty((len(rows), side, side, 3), dtype=torch.uint8, pin_memory=pin)
            self._pool.frames(rows, frames.numpy())
        if pin and meshes is not None:
            meshes = meshes.pin_memory()
        prepared = _Prepared(choice, meshes, frames)
        if pin and self._flow is None and self._drawer is None:
            return prepared
        if self._stream is None:
            return self._render(prepared, stage)
        with torch.cuda.stream(self._stream):
            batch = self._render(prepared, stage)
        self._stream.synchronize()  # here nobody waits
        return batch

    def _render(self, prepared: _Prepared, stage: Stage) -> Batch:
        device = self._ranks.device
        with torch.no_grad():
            if prepared.frames is not None:
                frames = prepared.frames.to(device, non_blocking=True)
            else:
                assert self._held is not None
                frames = self._held[torch.from_numpy(prepared.choice.rows.T.ravel()).to(device)]
            meshes = None if prepared.meshes is None else prepared.meshes.to(device, non_blocking=True)
            needs, size = self._needs, stage.image_size
            photo_size = size if needs.photo_size is None else max(size, needs.photo_size)
            batch = self._renderer.render(frames, meshes, prepared.choice, size, needs.reach, photo_size)
            if self._flow is not None:
                batch = batch._replace(flow=self._flow.find(batch.source, batch.driving))
            if self._drawer is not None and batch.source_mesh is not None and batch.driving_mesh is not None:
                batch = batch._replace(contours=self._drawer.draw(batch.source_mesh, batch.driving_mesh))
            return batch


def _tensors(values: Any) -> Iterator[Tensor]:
    """Yield all tensors in nested tuples and dictionaries."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, tuple | dict):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _tensors(value)


def _threads(device: torch.device) -> int:
    """Return how many threads compute flow: a single one if the network trains on the CPU too."""
    return max(1, (os.cpu_count() or 1) - 2) if device.type == "cuda" else 1


def fits_on_device(pool: Pool, device: torch.device) -> bool:
    """Return whether all frames take less than half of a GPU's free memory."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return len(pool) * pool.side**2 * 3 < free / 2


def _on_device(pool: Pool, device: torch.device) -> Tensor:
    """Copy all frames (N, S, S, 3) to the device, a thousand at a time."""
    held = torch.empty((len(pool), pool.side, pool.side, 3), dtype=torch.uint8, device=device)
    for start in range(0, len(pool), 1000):
        rows = np.arange(start, min(start + 1000, len(pool)))
        block = torch.empty((len(rows), pool.side, pool.side, 3), dtype=torch.uint8)
        pool.frames(rows, block.numpy())
        held[start : start + len(rows)] = block.to(device)
    return held
