"""The networks that can be trained: the paper's, with its presets, and the two that they are compared with."""

from __future__ import annotations

from avatarify_plus.network.config import PRESETS, NetworkConfig, network_config
from avatarify_plus.network.model import AnimationModel
from training.networks import monkey_net, x2face

Network = AnimationModel | monkey_net.MonkeyNet | x2face.X2Face
X2FACE = x2face.PRESET
MONKEY_NET = monkey_net.PRESET
TRAINABLE = (*PRESETS, MONKEY_NET, X2FACE)


def base_config(preset: str, size: str) -> NetworkConfig:
    """Return the config of one of TRAINABLE in one of the sizes. Raises ConfigError if it is unknown."""
    if preset == X2FACE:
        return x2face.x2face_config(size)
    return monkey_net.monkey_net_config(size) if preset == MONKEY_NET else network_config(preset, size)


def build_network(config: NetworkConfig) -> Network:
    """Return the network of a config, with random weights."""
    if config.preset == X2FACE:
        return x2face.X2Face(config)
    return monkey_net.MonkeyNet(config) if config.preset == MONKEY_NET else AnimationModel(config)
