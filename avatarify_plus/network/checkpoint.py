"""What a training run leaves: averaged weights, config, and what it needs to go on; read without running code."""

from __future__ import annotations

import io
import pickle
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avatarify_plus.errors import ConfigError, ModelError
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.network.foreign_file import what_it_is

REQUIRED = ("config", "ema", "step")
"""What a file must hold to be a checkpoint."""

Weights = dict[str, Tensor]


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


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU. Raises ModelError if it is missing or not one of training/train.py."""
    return Checkpoint.from_dict(read_torch_file(path), path)


def read_torch_file(path: Path) -> dict[str, Any]:
    """Read a dictionary of tensors and plain values that torch.save wrote, on the CPU, running no code from it.

    Raises ModelError if it is missing, cannot be read or is something else.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ModelError(f"cannot read checkpoint {path}: it is a pipe or a device, not a file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of files that it then refuses
            values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"no checkpoint at {path}") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ModelError(f"cannot read checkpoint {path}: {_reason(path, error)}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} is not a checkpoint: it holds a {type(values).__name__} instead of a dictionary")
    return values


def _reason(path: Path, error: Exception) -> str:
    """Return why torch did not load a file, without its advice to run the code in it."""
    complaint = str(error)
    if known := what_it_is(path, complaint):
        return known
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in complaint:
        return "it is not a PyTorch file of tensors and plain values alone"
    return complaint.splitlines()[0] if complaint else type(error).__name__
