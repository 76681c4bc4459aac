"""The network's config: frozen, validated, stored with the weights. No torch."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from avatarify_plus.errors import ConfigError

KeypointOrigin = Literal["learned", "mesh", "both"]
AttentionKind = Literal["none", "cbam", "max-pool"]
Occlusion = Literal["single", "multi-scale"]


MOTION_RATIOS = (1, 2, 4, 8, 16)
"""By how much pictures may be reduced for keypoints and motion."""

MAX_WIDTH = 4096
"""The most channels of a layer, and the longest side of a model's picture in pixels."""

LIMITS: dict[str, tuple[float, float]] = {
    "width": (1, MAX_WIDTH),
    "max_width": (1, MAX_WIDTH),
    "depth": (1, 10),
    "image_size": (1, MAX_WIDTH),
    "motion_size": (1, MAX_WIDTH),
    "keypoint_count": (1, 512),
    "learned_count": (0, 512),
    "anchor_radius": (0, 10),
    "detector_padding": (0, 3),
    "temperature": (1e-6, 1e6),
    "heatmap_variance": (1e-6, 1e3),
    "mask_kernel": (1, 31),
    "mask_prior": (-1e6, 1e6),
    "attention_gain": (-1e6, 1e6),
    "attention_reduction": (1, MAX_WIDTH),
    "occlusion_entry": (0, MAX_WIDTH),
    "keypoints_to_painter": (0, MAX_WIDTH),
    "photo_reach": (0, 4),
    "contour_width": (0, MAX_WIDTH),
    "part_width": (0, MAX_WIDTH),
    "generator_width": (1, MAX_WIDTH),
    "generator_max_width": (1, MAX_WIDTH),
    "residual_blocks": (0, 64),
    "final_kernel": (1, 31),
}
"""The least and the most of each number: what a file from a stranger asks for must not fill the memory."""

PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""What a preset, a size or a mesh layout may be called: no path."""


@dataclass(frozen=True, slots=True)
class HourglassConfig:
    """Width of the first level, cap on the width, and number of levels of one hourglass."""

    width: int = 64
    max_width: int = 1024
    depth: int = 5

    def __post_init__(self) -> None:
        _require_values(self)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Everything that decides the network's graph; stored with the weights.

    `corner_aligned_grid` is True only for released First Order Model weights, which were trained with a
    coordinate grid from -1 to 1 inclusive while sampling used pixel centres.
    `detector_padding` pads the detector's last convolutions, whose 7x7 kernels otherwise see the picture's inside only.
    `keypoints` "both" takes the mesh's keypoints, then `learned_count` of the detector's (MobilePortrait's mixed
    keypoints): the mesh knows lips and eyelids, the detector shoulders, hair and what moves behind the head.
    `anchor_radius` is the standard deviation, in picture halves, of a prior on where each learned keypoint looks,
    around anchors spread along the picture's border; 0, the paper, leaves it out.
    `mask_kernel`, 7 in the paper, belongs to the most expensive convolution of a dense motion with many keypoints.
    `mask_prior` is what a mask's logit gains at its driving keypoint before training, falling off as the heatmap does:
    a keypoint's motion holds near that keypoint. It is learned per keypoint from there; 0, the paper, leaves it out.
    `occlusion_first` multiplies the coarsest map before the residual blocks (FOMM) instead of after (paper, eq. 13).
    `occlusion_entry` narrows zeta to this number of channels before the occlusion module's up blocks; 0 in the paper.
    `motion_to_painter` adds the occlusion module's features to the generator's at each scale: without it the painter
    sees the motion only through what was warped, and cannot know whether a hidden place is the inside of a mouth.
    `keypoints_to_painter` > 0 also shows the painter the driving keypoints' heatmaps, through this number of channels:
    the places of upper and lower lip show where the mouth is open.
    `blend` replaces eq. 13 by O * warped + (1 - O) * painted at every scale (preset `ours-skip`).
    `photo_reach` > 0 takes the last of these blends out of the graph: `animate` then returns painting, map and
    deformation, and the photo is warped in its own resolution, from a region of this many sides of the square.
    `contour_width` > 0 shows the contours of the driving mesh, and those of the source's mesh as the deformation moves
    them, to the maps and to the painter, through this number of channels.
    `part_width` > 0 adds a painter of that width for the mouth and one for the eyes, see `parts.PartPainter`.
    """

    preset: str = "ours"
    size: str = "paper"
    image_size: int = 256
    motion_size: int = 64
    keypoints: KeypointOrigin = "learned"
    keypoint_count: int = 10
    learned_count: int = 0
    anchor_radius: float = 0.0
    mesh_layout: str = "face-20"
    temperature: float = 0.1
    heatmap_variance: float = 0.01
    corner_aligned_grid: bool = False
    detector_padding: int = 0
    detector: HourglassConfig = field(default_factory=lambda: HourglassConfig(32, 1024, 5))
    motion: HourglassConfig = field(default_factory=lambda: HourglassConfig(64, 1024, 5))
    mask_kernel: int = 7
    mask_prior: float = 0.0
    attention: AttentionKind = "max-pool"
    attention_gain: float = 2.0
    attention_reduction: int = 16
    occlusion: Occlusion = "multi-scale"
    occlusion_entry: int = 0
    occlusion_widths: tuple[int, int] = (64, 32)
    occlusion_first: bool = False
    motion_to_painter: bool = False
    keypoints_to_painter: int = 0
    blend: bool = False
    photo_reach: float = 0.0
    contour_width: int = 0
    part_width: int = 0
    generator_width: int = 64
    generator_max_width: int = 512
    residual_blocks: int = 6
    final_kernel: int = 1

    def __post_init__(self) -> None:
        _require_values(self)
        if self.image_size not in [ratio * self.motion_size for ratio in MOTION_RATIOS]:
            raise ConfigError(
                f"image_size must be {MOTION_RATIOS[0]}, {', '.join(map(str, MOTION_RATIOS[1:-1]))} or "
                f"{MOTION_RATIOS[-1]} times motion_size, found {self.image_size} and {self.motion_size}"
            )
        if self.keypoints not in ("learned", "mesh", "both"):
            raise ConfigError(f"keypoints must be 'learned', 'mesh' or 'both', found {self.keypoints!r}")
        if (self.keypoints == "both") != (0 < self.learned_count < self.keypoint_count):
            raise ConfigError(
                "learned_count belongs to keypoints 'both' and counts some of them, found "
                f"{self.learned_count} of {self.keypoint_count} with keypoints {self.keypoints!r}"
            )
        if self.attention not in ("none", "cbam", "max-pool"):
            raise ConfigError(f"attention must be 'none', 'cbam' or 'max-pool', found {self.attention!r}")
        if self.occlusion not in ("single", "multi-scale"):
            raise ConfigError(f"occlusion must be 'single' or 'multi-scale', found {self.occlusion!r}")
        if self.blend and self.occlusion != "multi-scale":
            raise ConfigError("blend needs multi-scale occlusion maps")
        if (self.motion_to_painter or self.keypoints_to_painter) and not self.blend:
            raise ConfigError("motion_to_painter and keypoints_to_painter need blend")
        if self.photo_reach and not (self.blend and 1 <= self.photo_reach <= 4):
            raise ConfigError(f"photo_reach must be from 1 to 4, with blend, or 0, found {self.photo_reach}")
        if (self.contour_width or self.part_width) and not (self.photo_reach and self.reads_mesh):
            raise ConfigError("contour_width and part_width need photo_reach and keypoints from the mesh")
        if self.contour_width and self.image_size != 4 * self.motion_size:
            raise ConfigError("contour_width needs an image_size of 4 times motion_size")
        # Hourglasses halve the picture at every level.
        unit = 2 ** max(self.motion.depth, self.detector.depth if self.detected_count else 0)
        if self.motion_size % unit:
            raise ConfigError(
                f"motion_size must be a multiple of {unit} for hourglasses of that depth, found {self.motion_size}"
            )
        if self.mask_kernel % 2 == 0 or self.final_kernel % 2 == 0:
            raise ConfigError(
                f"mask_kernel and final_kernel must be odd, found {self.mask_kernel} and {self.final_kernel}"
            )

    @property
    def detected_count(self) -> int:
        """How many keypoints the detector finds; 0 for a model without one."""
        return {"learned": self.keypoint_count, "mesh": 0, "both": self.learned_count}[self.keypoints]

    @property
    def motion_channels(self) -> int:
        """Channels of zeta, the dense-motion feature: the hourglass's first level and its input."""
        return min(self.motion.max_width, self.motion.width) + 4 * (self.keypoint_count + 1)

    @property
    def contour_size(self) -> int:
        """Side of the whole picture's contours, in pixels; 0 for a model that reads none."""
        return 2 * self.motion_size if self.reads_contours else 0

    @property
    def reads_contours(self) -> bool:
        """Whether the contours of the face mesh are needed besides the keypoints."""
        return bool(self.contour_width or self.part_width)

    @property
    def reads_mesh(self) -> bool:
        """Whether some keypoints come from the face mesh."""
        return self.keypoints != "learned"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready values; `from_dict` is the inverse."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> NetworkConfig:
        """Build a config from `to_dict`'s output, whatever a file holds. Raises ConfigError if it is none."""
        fixed = _known_fields(values, NetworkConfig, "the network config")
        for name in ("detector", "motion"):
            if name in fixed:
                fixed[name] = HourglassConfig(**_known_fields(fixed[name], HourglassConfig, name))
        if isinstance(fixed.get("occlusion_widths"), list):  # JSON knows no tuples
            fixed["occlusion_widths"] = tuple(fixed["occlusion_widths"])
        return NetworkConfig(**fixed)


def _known_fields(values: Any, kind: type[NetworkConfig | HourglassConfig], what: str) -> dict[str, Any]:
    """Return a copy of an object of a file. Raises ConfigError unless it has fields of `kind` alone."""
    if not isinstance(values, dict):
        raise ConfigError(f"{what} must be an object, found {_shown(values)}")
    unknown = sorted(repr(name) if not isinstance(name, str) else name for name in set(values) - set(_names(kind)))
    if unknown:
        raise ConfigError(f"{what} has unknown fields: {_shown(', '.join(unknown))}")
    return dict(values)


def _names(kind: type[NetworkConfig | HourglassConfig]) -> list[str]:
    return [entry.name for entry in fields(kind)]


def _require_values(config: NetworkConfig | HourglassConfig) -> None:
    """Raise ConfigError unless every field has the type that it is declared with, and a number is within LIMITS."""
    for entry in fields(config):
        name, value, kind = entry.name, getattr(config, entry.name), str(entry.type)
        if kind in ("int", "float"):
            is_number = type(value) is int or (kind == "float" and type(value) is float and math.isfinite(value))
            low, high = LIMITS[name]
            if not (is_number and low <= value <= high):
                what = "a whole number" if kind == "int" else "a number"
                raise ConfigError(f"{name} must be {what} from {low:g} to {high:g}, found {_shown(value)}")
        elif kind == "bool":
            if type(value) is not bool:
                raise ConfigError(f"{name} must be true or false, found {_shown(value)}")
        elif kind == "HourglassConfig":
            if not isinstance(value, HourglassConfig):
                raise ConfigError(f"{name} must be an hourglass, found {_shown(value)}")
        elif kind.startswith("tuple"):
            is_pair = isinstance(value, tuple) and len(value) == 2 and all(type(width) is int for width in value)
            if not (is_pair and all(1 <= width <= MAX_WIDTH for width in value)):
                raise ConfigError(f"{name} must be two whole numbers from 1 to {MAX_WIDTH}, found {_shown(value)}")
        elif not (isinstance(value, str) and PLAIN_NAME.fullmatch(value)):
            raise ConfigError(f"{name} must be a plain name, found {_shown(value)}")


def _shown(value: object) -> str:
    """Return a value of a file for a message: printable, and not longer than a line."""
    if not isinstance(value, (str, int, float, type(None))):
        return f"a {type(value).__name__}"
    if isinstance(value, int) and value.bit_length() > 64:
        return "a huge number"
    text = value if isinstance(value, str) and value.isprintable() else ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


_FOMM = {"attention": "none", "occlusion": "single", "occlusion_first": True, "final_kernel": 7}

_PRESET_FIELDS: dict[str, dict[str, Any]] = {
    "fomm": _FOMM,
    "fomm-cbam": _FOMM | {"attention": "cbam"},
    "fomm-attention": _FOMM | {"attention": "max-pool"},
    "fomm-cbam-occlusion": {"attention": "cbam"},
    "ours": {},
    "ours-skip": {
        "blend": True,
        "heatmap_variance": 0.003,
        "mask_prior": 8.0,
        "motion_to_painter": True,
        "keypoints_to_painter": 32,
    },
}

_SIZE_FIELDS: dict[str, dict[str, Any]] = {
    "paper": {},
    "live": {
        "detector": HourglassConfig(8, 64, 4),
        "motion": HourglassConfig(32, 256, 4),
        "mask_kernel": 3,
        "occlusion_entry": 16,
        "occlusion_widths": (16, 8),
        "generator_width": 24,
        "generator_max_width": 96,
        "residual_blocks": 3,
    },
    "narrow": {
        "image_size": 128,
        "motion_size": 32,
        "detector": HourglassConfig(8, 256, 4),
        "motion": HourglassConfig(16, 256, 4),
        "occlusion_widths": (16, 8),
        "generator_width": 16,
        "generator_max_width": 64,
        "residual_blocks": 3,
    },
    "tiny": {
        "detector": HourglassConfig(4, 16, 2),
        "motion": HourglassConfig(4, 16, 2),
        "occlusion_widths": (4, 4),
        "attention_reduction": 4,
        "generator_width": 4,
        "generator_max_width": 16,
        "residual_blocks": 1,
    },
}


PRESETS = tuple(_PRESET_FIELDS)
SIZES = tuple(_SIZE_FIELDS)


def network_config(preset: str, size: str, **changes: Any) -> NetworkConfig:
    """Return one of the six presets (the paper's Table 2 rows and `ours-skip`) in one of the sizes.

    `paper` has the paper's widths; `live` needs under 12 GFLOP a frame; `narrow` is the paper's network at half the
    picture's side, a quarter of the widths and half the residual blocks, to compare presets without a GPU; `tiny`
    is for tests. Raises ConfigError for an unknown preset or size.
    """
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
    if size not in SIZES:
        raise ConfigError(f"unknown size {size!r}: choose one of {', '.join(SIZES)}")
    config = NetworkConfig(preset=preset, size=size, **{**_PRESET_FIELDS[preset], **_SIZE_FIELDS[size]})
    return replace(config, **changes)
