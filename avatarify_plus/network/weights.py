"""Weights into and out of a model, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from avatarify_plus.errors import ModelError
from avatarify_plus.network.checkpoint import is_plain
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.program.whole_file import write_whole

NAMED_IN_ERRORS = 5
"""How many tensors an error message names of each kind."""


def read_model(path: Path, config: NetworkConfig) -> AnimationModel:
    """Build the model of a config with the weights of a safetensors file, in evaluation mode on the CPU.

    Raises ModelError if the file cannot be read or its tensors do not fit the config.
    """
    return build_model(config, read_weights(path), str(path))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name. Raises ModelError if it cannot be read."""
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"cannot read the weights {path}: {reason}") from error


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
    with torch.device("meta"):  # names and shapes, without the memory that a config may ask for
        expected = AnimationModel(config).state_dict()
    plain = {name: tensor.shape for name, tensor in weights.items() if is_plain(tensor)}
    problems = {
        "missing": [name for name in expected if name not in weights],
        "unknown": [name for name in weights if name not in expected],
        "of another shape": [
            name for name, tensor in expected.items() if plain.get(name, tensor.shape) != tensor.shape
        ],
        "no plain numbers": [name for name in weights if name not in plain],
    }
    found = [f"{kind}: {_first_names(map(rename, names))}" for kind, names in problems.items() if names]
    if found:
        raise ModelError(
            f"the tensors of {origin} do not fit a {config.preset} ({config.size}) network; {'; '.join(found)}"
        )
    model = AnimationModel(config)
    model.load_state_dict(dict(weights))
    return model.eval()


def _first_names(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - NAMED_IN_ERRORS} more" if len(found) > NAMED_IN_ERRORS else ""
    return ", ".join(found[:NAMED_IN_ERRORS]) + more
