"""What a training run leaves: averaged weights, config, and what it needs to go on; read without running code."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from avatarify_plus.errors import ConfigError, ModelError
from avatarify_plus.network.checkpoint_seal import BrokenSealError, require_intact
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
        except ConfigError as error:
            raise ModelError(f"{origin} holds no network of this version: {error}") from error
        state = None
        if "model" in values and "optimiser" in values:
            state = RunState(values["model"], values["optimiser"], values.get("objective", {}))
        odd = next(_oddities(values), None)
        if odd is not None:
            raise ModelError(f"{origin} is not a checkpoint of training/train.py: {odd}")
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
        return Checkpoint.from_dict(_load(io.BytesIO(content), origin), origin)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU. Raises ModelError if it is missing or not one of training/train.py."""
    return Checkpoint.from_dict(read_torch_file(path), path)


def read_torch_file(path: Path) -> dict[str, Any]:
    """Read a dictionary of tensors and plain values that torch.save wrote, on the CPU, running no code from it.

    Raises ModelError if it is missing, damaged, cannot be read or is something else.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ModelError(f"cannot read checkpoint {path}: it is a pipe or a device, not a file")
    try:
        require_intact(path)
        with open(path, "rb") as file:
            values = _load(file, path)
    except FileNotFoundError as error:
        raise ModelError(f"no checkpoint at {path}") from error
    except BrokenSealError as error:
        raise ModelError(f"cannot read checkpoint {path}: it is damaged, {error}; {_way_out(path)}") from error
    except OSError as error:
        reason = what_it_is(path, "") or error.strerror or error
        raise ModelError(f"cannot read checkpoint {path}: {reason}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} is not a checkpoint: it holds a {type(values).__name__} instead of a dictionary")
    return values


def is_plain(tensor: Tensor) -> bool:
    """Return whether a tensor is real numbers in memory, each in its own place.

    A file may hold others: sparse, quantized, nested and complex ones, some without any numbers, and some that have a
    few bytes and say that they are huge.
    """
    if tensor.is_nested or tensor.is_quantized or tensor.is_meta or tensor.is_complex():
        return False
    if tensor.layout != torch.strided:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def previous_of(path: Path) -> Path:
    """Return where the checkpoint before the one at a path is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def _way_out(path: Path) -> str:
    previous = previous_of(path)
    return f"put {previous} in its place, the one before it" if previous.is_file() else "fetch or train it again"


def _load(file: BinaryIO, origin: object) -> Any:
    """Return what torch.save wrote. Raises ModelError in our words: torch's advise to run the file's code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of TorchScript, with the same advice
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ModelError(f"cannot read checkpoint {origin}: {_reason(origin, error)}") from error


def _reason(origin: object, error: Exception) -> str:
    """Return why torch did not load a file, without its advice to run the code in it."""
    complaint = str(error)
    if isinstance(origin, Path) and (known := what_it_is(origin, complaint)):
        return known
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in complaint:
        return "it is not a PyTorch file of tensors and plain values alone"
    return "it is damaged, or not a PyTorch file of tensors and plain values alone"


def _oddities(values: dict[str, Any]) -> Iterator[str]:
    """Yield what a checkpoint's values are not, though they should be."""
    for name in ("ema", "model", "objective"):
        weights = values.get(name, {})
        if not (isinstance(weights, dict) and all(isinstance(key, str) for key in weights)):
            yield f"{name} are no tensors by name"
        elif not all(isinstance(tensor, Tensor) and is_plain(tensor) for tensor in weights.values()):
            yield f"{name} holds something else than plain tensors"
    for name in ("step", "samples", "elapsed_s"):
        value = values.get(name, 0)
        if type(value) not in (int, float) or not 0 <= value < 1e15:
            yield f"{name} is not a number of that kind"
    if not isinstance(values.get("training", {}), dict):
        yield "what it says of its training is no dictionary"
    if not isinstance(values.get("optimiser", {}), dict):
        yield "the optimiser's state is no dictionary"
