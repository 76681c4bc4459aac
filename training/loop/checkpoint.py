"""Training checkpoints: written whole or not at all, loaded without running code; weights to start from."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from avatarify_plus.bundle import open_bundle
from avatarify_plus.errors import AvatarifyError, ModelError

logger = logging.getLogger("training")

SPACE_MARGIN = 1.2
"""A checkpoint is written beside the last one: this many times its size must be free."""


class SaveError(AvatarifyError):
    """A checkpoint could not be written; the one before it is untouched."""


def save_checkpoint(path: Path, values: dict[str, Any]) -> None:
    """Write a checkpoint beside `path` and move it there in one step, so that a kill never leaves half a file.

    Raises SaveError if the disk has no room, before or while writing; the old checkpoint stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    try:
        needed, free = path.stat().st_size * SPACE_MARGIN if path.exists() else 0.0, shutil.disk_usage(path.parent).free
        if free < needed:
            raise SaveError(
                f"no room for a checkpoint in {path.parent}: {free / 1e6:.0f} MB are free, "
                f"{needed / 1e6:.0f} MB are needed: free some space"
            )
        with open(temporary, "wb") as file:
            torch.save(values, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch wraps the file's own error
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise SaveError(f"cannot write {path}: {str(error).splitlines()[0]}") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint on the CPU. Raises ModelError if it is missing or not one of ours."""
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"no checkpoint at {path}") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ModelError(f"cannot read checkpoint {path}: {error}") from error
    missing = {"config", "ema", "step"} - set(values) if isinstance(values, dict) else {"config"}
    if missing:
        raise ModelError(f"{path} is not a checkpoint of training/train.py: it lacks {', '.join(sorted(missing))}")
    return values


def load_start(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights of a checkpoint file or of a model bundle, and what is known of their training.

    `path` may be a shipped bundle's name. Raises ModelError if it is neither.
    """
    if path.is_file():
        values = load_checkpoint(path)
        return values["ema"], {name: values[name] for name in ("step", "samples", "training") if name in values}
    if path.suffix == ".pt":
        raise ModelError(f"no checkpoint at {path}")
    bundle = open_bundle(str(path))
    return load_file(bundle.weights), {"bundle": bundle.manifest.name, "training": bundle.manifest.training}


def load_what_fits(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy the tensors that the model has; of one in another shape, the leading block that both have.

    More keypoints or wider layers append to a tensor: its old part stays at the front. What was copied in part and what
    stays as it was initialised is logged.
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
        logger.info("not in the warm start, so initialised anew: %s", ", ".join(fresh))


def is_finite(*modules: nn.Module) -> bool:
    """Return whether no weight or statistic is infinite or not a number."""
    tensors = [t.detach() for module in modules for t in module.state_dict().values() if t.is_floating_point()]
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())
