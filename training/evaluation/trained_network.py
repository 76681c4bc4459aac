"""A trained network, as a run leaves it or stored in a single file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from avatarify_plus.errors import ConfigError, ModelError
from avatarify_plus.network.blocks import model_float_operations
from avatarify_plus.network.checkpoint import Weights, read_checkpoint
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.program.whole_file import write_whole
from training.loop.checkpoint import CHECKPOINT
from training.networks import Network, build_network

SUFFIX = ".safetensors"
"""How the name of a stored network ends."""


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A trained network in evaluation mode on the CPU, and how it was trained: steps, samples, seed, data."""

    network: Network
    training: dict[str, Any]

    @property
    def config(self) -> NetworkConfig:
        """The network's config."""
        return self.network.config

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def frame_operations(self) -> int:
        """Floating-point operations of one driving frame, 2 per multiply-add, without the source's encoding."""
        size = self.config.image_size
        image = torch.zeros(1, 3, size, size)
        with torch.inference_mode():
            pose = self.network.locate(image, None)
            source = self.network.encode_source(image, pose)
        return model_float_operations(_Frame(self.network), source, image)


class _Frame(nn.Module):
    """The work for one driving frame, as one call."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, source: Any, image: Tensor) -> Tensor:
        picture = self.network.animate(source, self.network.locate(image, None)).image
        assert picture is not None, "rows of a study have no photo_reach"
        return picture


def read_trained_network(path: Path) -> TrainedNetwork:
    """Read a run folder of training/train.py, its checkpoint, or what `write_trained_network` stored.

    Raises ModelError if it is none of them, or if its network reads keypoints off the face mesh.
    """
    config, weights, training = _read_stored(path) if path.suffix == SUFFIX else _read_run(path)
    network = build_network(config)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"{path} holds no network of this version: {str(error).splitlines()[0]}") from error
    if isinstance(network, AnimationModel) and config.reads_mesh:
        raise ModelError(f"{path} reads keypoints off the face mesh: export it as a bundle and measure that")
    return TrainedNetwork(network.eval(), training)


def write_trained_network(trained: TrainedNetwork, path: Path) -> None:
    """Store a trained network in one file: weights in half precision, config and training in its header.

    Batch statistics stay as they are, and so do weights that half precision cannot hold. Raises ModelError if the file
    cannot be written.
    """
    weights = {name for name, _ in trained.network.named_parameters()}
    tensors = {
        name: (_halved(tensor) if name in weights else tensor).contiguous()
        for name, tensor in trained.network.state_dict().items()
    }
    about = {"config": json.dumps(trained.config.to_dict()), "training": json.dumps(trained.training)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, save(tensors, about))
    except OSError as error:
        raise ModelError(f"cannot write the trained network {path}: {error}") from error


def _halved(weight: Tensor) -> Tensor:
    half = weight.half()
    return half if half.isfinite().all() else weight


def _read_run(path: Path) -> tuple[NetworkConfig, Weights, dict[str, Any]]:
    saved = read_checkpoint(path / CHECKPOINT if path.is_dir() else path)
    return saved.config, saved.ema, {**saved.training, "steps": saved.step, "samples": saved.samples}


def _read_stored(path: Path) -> tuple[NetworkConfig, Weights, dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        config, training = NetworkConfig.from_dict(json.loads(about["config"])), json.loads(about["training"])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RecursionError, ConfigError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"cannot read the trained network {path}: {reason}") from error
    return config, {name: w.float() if w.is_floating_point() else w for name, w in weights.items()}, training
