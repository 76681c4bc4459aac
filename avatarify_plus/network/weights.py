"""Weights into and out of a model, by name, and training checkpoints out of their files."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from avatarify_plus.errors import ModelError
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.program.whole_file import write_whole

NAMED_IN_ERRORS = 5
"""How many tensors an error message names of each kind."""


class Checkpoint(NamedTuple):
    """What a training checkpoint holds, see `training/train.py`.

    config: of a NetworkConfig, or of another network that training builds. weights: the average over the steps, by
    tensor name. step, samples: how many were trained on. training: what is known of the run, JSON-ready. values:
    everything in the file by its key, what resuming needs included.
    """

    config: dict[str, Any]
    weights: dict[str, Tensor]
    step: int
    samples: int
    training: dict[str, Any]
    values: dict[str, Any]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a training checkpoint on the CPU, running no code from it; without samples it has 0, without training {}.

    Raises ModelError if it is missing, cannot be read or is something else.
    """
    values = read_torch_file(path)
    missing = sorted({"config", "ema", "step"} - set(values))
    if missing:
        raise ModelError(f"{path} is not a checkpoint of training/train.py: it lacks {', '.join(missing)}")
    return Checkpoint(
        config=values["config"],
        weights=values["ema"],
        step=int(values["step"]),
        samples=int(values.get("samples", 0)),
        training=values.get("training", {}),
        values=values,
    )


def read_torch_file(path: Path) -> dict[str, Any]:
    """Read a dictionary of tensors and plain values that torch.save wrote, on the CPU, running no code from it.

    Raises ModelError if it is missing, cannot be read or is something else.
    """
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"no checkpoint at {path}") from error
    except pickle.UnpicklingError as error:  # torch's own message is long and advises to run the code
        raise ModelError(
            f"cannot read checkpoint {path}: it is not a PyTorch file of tensors and plain values alone"
        ) from error
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"cannot read checkpoint {path}: {reason}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} is not a checkpoint: it holds a {type(values).__name__} instead of a dictionary")
    return values


def read_model(path: Path, config: NetworkConfig) -> AnimationModel:
    """Build the model of a config with the weights of a safetensors file, in evaluation mode on the CPU.

    Raises ModelError if the file cannot be read or its tensors do not fit the config.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read the weights {path}: {error}") from error
    return build_model(config, weights, str(path))


def write_weights(model: AnimationModel, path: Path) -> None:
    """Write a model's weights as safetensors, whole or not at all. Raises OSError."""
    write_whole(path, save({name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}))


def build_model(
    config: NetworkConfig, weights: Mapping[str, Tensor], origin: str, rename: Callable[[str], str] = str
) -> AnimationModel:
    """Build the model of a config with these weights, in evaluation mode.

    origin: where the weights come from; rename: our tensor name to the origin's. Both are for error messages.
    Raises ModelError that names the missing, unknown and misshapen tensors.
    """
    model = AnimationModel(config)
    expected = model.state_dict()
    problems = {
        "missing": [name for name in expected if name not in weights],
        "unknown": [name for name in weights if name not in expected],
        "of another shape": [
            name for name, tensor in expected.items() if name in weights and weights[name].shape != tensor.shape
        ],
    }
    found = [f"{kind}: {_first_names(map(rename, names))}" for kind, names in problems.items() if names]
    if found:
        raise ModelError(
            f"the tensors of {origin} do not fit a {config.preset} ({config.size}) network; {'; '.join(found)}"
        )
    model.load_state_dict(dict(weights))
    return model.eval()


def _first_names(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - NAMED_IN_ERRORS} more" if len(found) > NAMED_IN_ERRORS else ""
    return ", ".join(found[:NAMED_IN_ERRORS]) + more
