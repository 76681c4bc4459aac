"""Training checkpoints, written whole or not at all; weights to start from."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avatarify_plus.bundle import open_bundle
from avatarify_plus.errors import AvatarifyError, ModelError
from avatarify_plus.network.checkpoint import Checkpoint, Weights, previous_of, read_checkpoint
from avatarify_plus.network.checkpoint_seal import seal
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.network.weights import read_weights
from avatarify_plus.program.file_lock import locked
from avatarify_plus.program.whole_file import replaced

logger = logging.getLogger("training")

CHECKPOINT = "checkpoint.pt"
"""The name of the checkpoint in a run folder."""

LOCK = ".lock"
"""The file in a run folder that is locked while a training writes there; the system's lock ends with the process."""

WITHOUT_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What disks say on which a file cannot have two names."""

SPACE_MARGIN = 1.2
"""A checkpoint is written next to the last one: this many times its size must be free."""


class SaveError(AvatarifyError):
    """A checkpoint could not be written; the one before it is untouched."""


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint next to `path` and move it there in one step, so that a kill never leaves half a file.

    The checkpoint before is kept beside it (`previous_of`), and the file holds its own hash. Raises SaveError if the
    disk has no room, before or while writing; the old checkpoint stays.
    """
    previous = previous_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for draft in path.parent.glob(f".{path.name}-*.part"):  # of a run that was killed while writing
            draft.unlink()
        needed, free = path.stat().st_size * SPACE_MARGIN if path.exists() else 0.0, shutil.disk_usage(path.parent).free
        if free < needed and previous.exists():  # the new one matters more
            free += previous.stat().st_size
            previous.unlink()
        if free < needed:
            raise SaveError(
                f"no room for a checkpoint in {path.parent}: {free / 1e6:.0f} MB are free, "
                f"{needed / 1e6:.0f} MB are needed: free some space"
            )
        with replaced(path) as draft:
            with open(draft, "wb") as file:
                torch.save(checkpoint.to_dict(), file)
            seal(draft)
            _keep(path, previous)
    except (OSError, RuntimeError) as error:
        raise SaveError(f"cannot write {path}: {_reason(error)}") from error


@contextlib.contextmanager
def sole_trainer(folder: Path) -> Iterator[None]:
    """Keep other trainings out of a run folder. Raises SaveError if one is under way there, or it cannot be written."""
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            is_held = stack.enter_context(locked(folder / LOCK))
        except OSError as error:
            raise SaveError(f"cannot write into {folder}: {error.strerror or error}; choose another --out") from error
        if not is_held:
            raise SaveError(f"another training is writing into {folder}: wait for its end, or choose another --out")
        yield


def _keep(path: Path, previous: Path) -> None:
    """Keep a checkpoint that is about to be replaced under a second name, so that there is one at every moment."""
    if not path.is_file():
        return
    name = path.with_name(f".{previous.name}")
    name.unlink(missing_ok=True)
    try:
        os.link(path.resolve(), name)
        name.replace(previous)
    except OSError as error:
        if error.errno not in WITHOUT_LINKS:
            logger.warning("the checkpoint before cannot be kept as %s: %s", previous, error.strerror or error)
    name.unlink(missing_ok=True)


def _reason(error: BaseException) -> str:
    """Return why a file could not be written: torch meets the file's own error, and then one of its own."""
    first = error
    while not isinstance(first, OSError) and first.__context__ is not None:
        first = first.__context__
    return str(first if isinstance(first, OSError) else error).splitlines()[0]


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
    return read_weights(bundle.weights), bundle.config, summary


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
