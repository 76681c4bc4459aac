"""The names of the tensors that enter and leave the three graphs. No torch: engines without it read this."""

from __future__ import annotations

from typing import NamedTuple

from avatarify_plus.network.config import NetworkConfig

DETECT = "detect"
ENCODE_SOURCE = "encode_source"
ANIMATE = "animate"

IMAGE = "image"
"""A (1, S, S, 3) uint8 RGB picture, in or out."""

# the learned keypoints: value (1, L, 2), jacobian (1, L, 2, 2), float32
VALUE = "value"
JACOBIAN = "jacobian"

# all K keypoints, the mesh's first: values (1, K, 2), jacobians (1, K, 2, 2), float32
SOURCE_VALUE = "source_value"
SOURCE_JACOBIAN = "source_jacobian"
DRIVING_VALUE = "driving_value"
DRIVING_JACOBIAN = "driving_jacobian"

# the encoded source, float32
FEATURE_QUARTER = "feature_quarter"  # (1, C, S/4, S/4)
FEATURE_HALF = "feature_half"  # (1, C', S/2, S/2)
PICTURE = "picture"  # (1, 3, S, S)
SMALL = "small"  # (1, 3, m, m)
SOURCE_HEATMAP = "source_heatmap"  # (1, K, m, m)


def quantized(graph: str) -> str:
    """Return the name of a graph's int8 version, which has the same signature; a bundle may lack it."""
    return f"{graph}-int8"


class Signature(NamedTuple):
    """A graph's inputs and outputs, in order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def encoded_source(config: NetworkConfig) -> tuple[str, ...]:
    """Return the names of the tensors that `encode_source` returns and `animate` takes."""
    features = (FEATURE_QUARTER, FEATURE_HALF, PICTURE) if config.blend else (FEATURE_QUARTER,)
    return (*features, SMALL, SOURCE_HEATMAP)


def signatures(config: NetworkConfig) -> dict[str, Signature]:
    """Return the signature of each graph of a config; `detect` only where some keypoints are learned."""
    encoded = encoded_source(config)
    keypoints = (SOURCE_VALUE, SOURCE_JACOBIAN, DRIVING_VALUE, DRIVING_JACOBIAN)
    detect = {DETECT: Signature((IMAGE,), (VALUE, JACOBIAN))} if config.detected_count else {}
    return detect | {
        ENCODE_SOURCE: Signature((IMAGE, SOURCE_VALUE), encoded),
        ANIMATE: Signature((*encoded, *keypoints), (IMAGE,)),
    }
