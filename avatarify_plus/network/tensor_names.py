"""The names and shapes of the tensors that enter and leave the graphs. No torch: engines without it read this."""

from __future__ import annotations

from typing import NamedTuple

from avatarify_plus.network.config import NetworkConfig

PAINTED_PARTS = ("mouth", "eye")
"""The parts that have painters of their own; one serves both eyes."""

PART_PX = {"mouth": 128, "eye": 64}
"""Sides of the painters' squares, in pixels."""

PART_COUNTS = {"mouth": 1, "eye": 2}
"""How many squares of a face a painter paints."""

CONTOUR_MASKS, PART_MASKS = 5, 2
"""How many masks `face.contours` draws of a whole face, and of a part."""

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


# with contours, uint8 masks of `face.contours.draw_contours`
SOURCE_CONTOURS = "source_contours"  # (1, 5, 2m, 2m)
DRIVING_CONTOURS = "driving_contours"  # (1, 5, 2m, 2m)

# with `photo_reach`, what `animate` returns instead of a picture
PAINTED = "painted"  # (1, S, S, 3) uint8 RGB: the painter's own picture
KEPT = "kept"  # (1, S, S, 1) uint8: 255 keeps the warped photo, 0 shows the painting
DEFORMATION = "deformation"  # (1, m, m, 2) float32: for each place the photo's, in [-1, 1] of the source's square

# a part's painter: N squares of one face, see `network.parts`; pictures (N, s, s, 3), contours (N, 2, s, s), all uint8
GIVEN = "given"
CONTOURS = "contours"
REFERENCE = "reference"
REFERENCE_CONTOURS = "reference_contours"
PART = "part"  # (N, s, s, 4) uint8: colours, and what share of them to show


def paint(part: str) -> str:
    """Return the name of the graph that paints a part, one of PAINTED_PARTS."""
    return f"paint_{part}"


def quantized(graph: str) -> str:
    """Return the name of a graph's int8 version, which has the same signature; a bundle may lack it."""
    return f"{graph}-int8"


class Signature(NamedTuple):
    """A graph's inputs and outputs, in order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Tensor(NamedTuple):
    """What crosses a graph's door under a name: its kind of numbers, "float32" or "uint8", and its shape."""

    kind: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        sides = ", ".join(str(side) if side else "?" for side in self.shape)
        return f"{self.kind} ({sides})"


def encoded_source(config: NetworkConfig) -> tuple[str, ...]:
    """Return the names of the tensors that `encode_source` returns and `animate` takes."""
    features: tuple[str, ...] = (FEATURE_QUARTER,)
    if config.blend:
        features = (FEATURE_QUARTER, FEATURE_HALF) if config.photo_reach else (FEATURE_QUARTER, FEATURE_HALF, PICTURE)
    return (*features, SMALL, SOURCE_HEATMAP)


def signatures(config: NetworkConfig) -> dict[str, Signature]:
    """Return the signature of each graph of a config; `detect` only where some keypoints are learned."""
    encoded = encoded_source(config)
    keypoints = (SOURCE_VALUE, SOURCE_JACOBIAN, DRIVING_VALUE, DRIVING_JACOBIAN)
    contours = (SOURCE_CONTOURS, DRIVING_CONTOURS) if config.contour_width else ()
    detect = {DETECT: Signature((IMAGE,), (VALUE, JACOBIAN))} if config.detected_count else {}
    return (
        detect
        | {
            ENCODE_SOURCE: Signature((IMAGE, SOURCE_VALUE), encoded),
            ANIMATE: Signature(
                (*encoded, *keypoints, *contours), (PAINTED, KEPT, DEFORMATION) if config.photo_reach else (IMAGE,)
            ),
        }
        | {
            paint(part): Signature((GIVEN, CONTOURS, REFERENCE, REFERENCE_CONTOURS), (PART,))
            for part in (PAINTED_PARTS if config.part_width else ())
        }
    )


def tensors(graph: str, config: NetworkConfig) -> dict[str, Tensor]:
    """Return what a graph of a config takes and returns, by name; of an int8 twin the same."""
    name = graph.removesuffix(quantized(""))
    signature = signatures(config)[name]
    part = next((part for part in PAINTED_PARTS if paint(part) == name), None)
    known = _tensors(config) if part is None else _part_tensors(part)
    return {entry: known[entry] for entry in (*signature.inputs, *signature.outputs)}


def _tensors(config: NetworkConfig) -> dict[str, Tensor]:
    side, small, count, found = config.image_size, config.motion_size, config.keypoint_count, config.detected_count
    half, quarter = (min(config.generator_max_width, config.generator_width * factor) for factor in (2, 4))
    contours = Tensor("uint8", (1, CONTOUR_MASKS, config.contour_size, config.contour_size))
    values, jacobians = Tensor("float32", (1, count, 2)), Tensor("float32", (1, count, 2, 2))
    return {
        IMAGE: Tensor("uint8", (1, side, side, 3)),
        VALUE: Tensor("float32", (1, found, 2)),
        JACOBIAN: Tensor("float32", (1, found, 2, 2)),
        SOURCE_VALUE: values,
        SOURCE_JACOBIAN: jacobians,
        DRIVING_VALUE: values,
        DRIVING_JACOBIAN: jacobians,
        FEATURE_QUARTER: Tensor("float32", (1, quarter, side // 4, side // 4)),
        FEATURE_HALF: Tensor("float32", (1, half, side // 2, side // 2)),
        PICTURE: Tensor("float32", (1, 3, side, side)),
        SMALL: Tensor("float32", (1, 3, small, small)),
        SOURCE_HEATMAP: Tensor("float32", (1, count, small, small)),
        SOURCE_CONTOURS: contours,
        DRIVING_CONTOURS: contours,
        PAINTED: Tensor("uint8", (1, side, side, 3)),
        KEPT: Tensor("uint8", (1, side, side, 1)),
        DEFORMATION: Tensor("float32", (1, small, small, 2)),
    }


def _part_tensors(part: str) -> dict[str, Tensor]:
    count, side = PART_COUNTS[part], PART_PX[part]
    picture, masks = (Tensor("uint8", shape) for shape in ((count, side, side, 3), (count, PART_MASKS, side, side)))
    return {
        GIVEN: picture,
        CONTOURS: masks,
        REFERENCE: picture,
        REFERENCE_CONTOURS: masks,
        PART: Tensor("uint8", (count, side, side, 4)),
    }
