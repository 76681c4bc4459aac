"""The networks that can be trained: the paper's, with its presets, and the baseline they are compared with."""

from __future__ import annotations

from avatarify_plus.network.config import PRESETS, NetworkConfig, network_config
from avatarify_plus.network.model import AnimationModel
from training.networks import x2face

Network = AnimationModel | x2face.X2Face
X2FACE = x2face.PRESET
TRAINABLE = (*PRESETS, X2FACE)


def base_config(preset: str, size: str) -> NetworkConfig:
    """Return the config of one of TRAINABLE in one of the sizes. Raises ConfigError if it is unknown."""
    return x2face.x2face_config(size) if preset == X2FACE else network_config(preset, size)


def build_network(config: NetworkConfig) -> Network:
    """Return the network of a config, with random weights."""
    return x2face.X2Face(config) if config.preset == X2FACE else AnimationModel(config)
