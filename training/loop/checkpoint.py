"""Training checkpoints, written whole or not at all; weights to start from."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from avatarify_plus.bundle import open_bundle
from avatarify_plus.errors import AvatarifyError, ModelError
from avatarify_plus.network.checkpoint import Checkpoint, Weights, read_checkpoint
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.program.whole_file import replaced

logger = logging.getLogger("training")

CHECKPOINT = "checkpoint.pt"
"""The name of the checkpoint in a run folder."""

SPACE_MARGIN = 1.2
"""A checkpoint is written next to the last one: this many times its size must be free."""


class SaveError(AvatarifyError):
    """A checkpoint could not be written; the one before it is untouched."""


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint next to `path` and move it there in one step, so that a kill never leaves half a file.

    Raises SaveError if the disk has no room, before or while writing; the old checkpoint stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for draft in path.parent.glob(f".{path.name}-*.part"):  # of a run that was killed while writing
            draft.unlink()
        needed, free = path.stat().st_size * SPACE_MARGIN if path.exists() else 0.0, shutil.disk_usage(path.parent).free
        if free < needed:
            raise SaveError(
                f"no room for a checkpoint in {path.parent}: {free / 1e6:.0f} MB are free, "
                f"{needed / 1e6:.0f} MB are needed: free some space"
            )
        with replaced(path) as draft, open(draft, "wb") as file:
            torch.save(checkpoint.to_dict(), file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # torch wraps the file's own error
        raise SaveError(f"cannot write {path}: {str(error).splitlines()[0]}") from error


def read_start(path: Path) -> tuple[Weights, dict[str, Any]]:
    """Return the weights of a checkpoint file or of a model bundle, and what is known of their training.

    `path` may be a shipped bundle's name. Raises ModelError if it is neither.
    """
    weights, _, summary = read_start_whole(path)
    return weights, summary


def read_start_whole(path: Path) -> tuple[Weights, NetworkConfig, dict[str, Any]]:
    """Return the weights, the network's config and what is known of the training, see `read_start`."""
    if path.is_file():
        saved = read_checkpoint(path)
        summary = {"step": saved.step, "samples": saved.samples, "training": saved.training}
        return saved.ema, saved.config, summary
    if path.suffix == ".pt":
        raise ModelError(f"no checkpoint at {path}")
    bundle = open_bundle(str(path))
    summary = {"bundle": bundle.manifest.name, "training": bundle.manifest.training}
    return load_file(bundle.weights), bundle.config, summary


def load_what_fits(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy the tensors that the model has; of one in another shape, the leading block that both have.

    More keypoints or wider layers append to a tensor: its old part stays at the front. What was copied in part, and
    what keeps its initial values, is logged.
    """
    own = model.state_dict()
    partly = []
    for name, value in weights.items():
        if name not in own or own[name].dim() != value.dim():
            continue
        block = tuple(slice(0, min(sides)) for sides in zip(own[name].shape, value.shape, strict=True))
        own[name][block] = value[block].to(own[name])  # a state dict shares the model's memory
        if own[name].shape != value.shape:
            partly.append(f"{name} {tuple(value.shape)} into {tuple(own[name].shape)}")
    fresh = sorted(name for name in own if name not in weights or own[name].dim() != weights[name].dim())
    if partly:
        logger.info("copied in part from the warm start: %s", ", ".join(partly))
    if fresh:
        logger.info("not in the warm start, so initialised at random: %s", ", ".join(fresh))


def is_finite(*modules: nn.Module) -> bool:
    """Return whether no weight or statistic is infinite or not a number."""
    tensors = [t.detach() for module in modules for t in module.state_dict().values() if t.is_floating_point()]
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())
