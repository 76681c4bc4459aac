"""Training checkpoints: written whole or not at all, read without running code; weights to start from."""

from __future__ import annotations

import io
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from avatarify_plus.bundle import open_bundle
from avatarify_plus.errors import AvatarifyError, ConfigError, ModelError
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.program.whole_file import replaced

logger = logging.getLogger("training")

CHECKPOINT = "checkpoint.pt"
"""The name of the checkpoint in a run folder."""

SPACE_MARGIN = 1.2
"""A checkpoint is written next to the last one: this many times its size must be free."""

REQUIRED = ("config", "ema", "step")
"""What a file must hold to be a checkpoint."""

Weights = dict[str, Tensor]


class SaveError(AvatarifyError):
    """A checkpoint could not be written; the one before it is untouched."""


@dataclass(frozen=True, slots=True)
class RunState:
    """What a run needs to go on, beyond its averaged weights.

    model: the weights that are trained. objective: what the losses keep, see `TrainingModel.extra_state`.
    """

    model: Weights
    optimiser: dict[str, Any]
    objective: Weights


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A training run as it was at one step; in its file a dictionary of tensors and plain values.

    ema: the averaged weights, which are what is exported. training: what a model card should say of the run. state:
    None in a checkpoint of the averaged weights only, as checkpoint chunks leave it.
    """

    config: NetworkConfig
    ema: Weights
    step: int
    samples: int = 0
    elapsed_s: float = 0.0
    training: dict[str, Any] = field(default_factory=dict)
    state: RunState | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what the file holds; `from_dict` is the inverse."""
        values = {
            "config": self.config.to_dict(),
            "ema": self.ema,
            "step": self.step,
            "samples": self.samples,
            "elapsed_s": self.elapsed_s,
            "training": self.training,
        }
        if self.state is not None:
            values |= {"model": self.state.model, "optimiser": self.state.optimiser}
            values |= {"objective": self.state.objective} if self.state.objective else {}
        return values

    @staticmethod
    def from_dict(values: Any, origin: object) -> Checkpoint:
        """Return the checkpoint that a file holds; `origin` names the file in errors.

        Raises ModelError if it is not a checkpoint.
        """
        missing = set(REQUIRED) - set(values) if isinstance(values, dict) else set(REQUIRED)
        if missing:
            raise ModelError(
                f"{origin} is not a checkpoint of training/train.py: it lacks {', '.join(sorted(missing))}"
            )
        try:
            config = NetworkConfig.from_dict(values["config"])
        except (ConfigError, TypeError, ValueError) as error:
            raise ModelError(f"{origin} holds no network of this version: {error}") from error
        state = None
        if "model" in values and "optimiser" in values:
            state = RunState(values["model"], values["optimiser"], values.get("objective", {}))
        return Checkpoint(
            config=config,
            ema=values["ema"],
            step=int(values["step"]),
            samples=int(values.get("samples", 0)),
            elapsed_s=float(values.get("elapsed_s", 0.0)),
            training=values.get("training", {}),
            state=state,
        )

    def to_bytes(self) -> bytes:
        """Return the file's content; `from_bytes` is the inverse."""
        buffer = io.BytesIO()
        torch.save(self.to_dict(), buffer)
        return buffer.getvalue()

    @staticmethod
    def from_bytes(content: bytes, origin: object) -> Checkpoint:
        """Return the checkpoint of a file's content, see `from_dict`."""
        return Checkpoint.from_dict(torch.load(io.BytesIO(content), weights_only=True), origin)


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


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU. Raises ModelError if it is missing or not one of training/train.py."""
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"no checkpoint at {path}") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ModelError(f"cannot read checkpoint {path}: {error}") from error
    return Checkpoint.from_dict(values, path)


def read_start(path: Path) -> tuple[Weights, dict[str, Any]]:
    """Return the weights of a checkpoint file or of a model bundle, and what is known of their training.

    `path` may be a shipped bundle's name. Raises ModelError if it is neither.
    """
    if path.is_file():
        saved = read_checkpoint(path)
        return saved.ema, {"step": saved.step, "samples": saved.samples, "training": saved.training}
    if path.suffix == ".pt":
        raise ModelError(f"no checkpoint at {path}")
    bundle = open_bundle(str(path))
    return load_file(bundle.weights), {"bundle": bundle.manifest.name, "training": bundle.manifest.training}


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
