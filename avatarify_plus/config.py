"""Frozen, validated options: the network's shape and the app's behaviour. A default exists only here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from avatarify_plus.errors import ConfigError
from avatarify_plus.types import Size

KeypointOrigin = Literal["learned", "mesh", "both"]
Attention = Literal["none", "cbam", "max-pool"]
Occlusion = Literal["single", "multi-scale"]
PRESETS = ("fomm", "fomm-cbam", "fomm-attention", "fomm-cbam-occlusion", "ours", "ours-skip")
SIZES = ("paper", "live", "narrow", "tiny")


@dataclass(frozen=True, slots=True)
class HourglassConfig:
    """Width of the first level, cap on the width, and number of levels of one hourglass."""

    width: int = 64
    max_width: int = 1024
    depth: int = 5

    def __post_init__(self) -> None:
        if min(self.width, self.max_width, self.depth) < 1:
            raise ConfigError(f"hourglass sizes must be positive, found {self}")


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Everything that decides the network's graph; stored with the weights.

    `corner_aligned_grid` is True only for released First Order Model weights, which were trained with a
    coordinate grid from -1 to 1 inclusive while sampling used pixel centres.
    `keypoints` "both" takes the mesh's keypoints, then `learned_count` of the detector's (MobilePortrait's mixed
    keypoints): the mesh knows lips and eyelids, the detector shoulders, hair and what moves behind the head.
    `anchor_radius` is the standard deviation, in picture halves, of a prior on where each learned keypoint looks,
    around anchors spread along the picture's border; 0, the paper, leaves it out.
    `mask_kernel`, 7 in the paper, is the dearest convolution of a dense motion with many keypoints.
    `mask_prior` is what a mask's logit gains at its driving keypoint before training, falling off as the heatmap does:
    a keypoint's motion holds near that keypoint. It is learned per keypoint from there; 0, the paper, leaves it out.
    `occlusion_first` multiplies the coarsest map before the residual blocks (FOMM) instead of after (paper, eq. 13).
    `occlusion_entry` narrows zeta to so many channels before the occlusion module's up blocks; 0, the paper, does not.
    `motion_to_painter` adds the occlusion module's features to the generator's at each scale: without it the painter
    sees the motion only through what was warped, and cannot know whether a hidden place is the inside of a mouth.
    `keypoints_to_painter` > 0 also shows the painter the driving keypoints' heatmaps, through so many channels: where
    upper and lower lip are says at once where the mouth is open.
    `blend` replaces eq. 13 by O * warped + (1 - O) * painted at every scale (preset `ours-skip`).
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
    detector: HourglassConfig = field(default_factory=lambda: HourglassConfig(32, 1024, 5))
    motion: HourglassConfig = field(default_factory=lambda: HourglassConfig(64, 1024, 5))
    mask_kernel: int = 7
    mask_prior: float = 0.0
    attention: Attention = "max-pool"
    attention_gain: float = 2.0
    attention_reduction: int = 16
    occlusion: Occlusion = "multi-scale"
    occlusion_entry: int = 0
    occlusion_widths: tuple[int, int] = (64, 32)
    occlusion_first: bool = False
    motion_to_painter: bool = False
    keypoints_to_painter: int = 0
    blend: bool = False
    generator_width: int = 64
    generator_max_width: int = 512
    residual_blocks: int = 6
    final_kernel: int = 1

    def __post_init__(self) -> None:
        if self.image_size % self.motion_size or self.image_size // self.motion_size not in (1, 2, 4):
            raise ConfigError(
                f"image_size must be 1, 2 or 4 times motion_size, found {self.image_size} and {self.motion_size}"
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
        if self.keypoint_count < 1 or self.residual_blocks < 0 or self.generator_width < 1:
            raise ConfigError("keypoint_count and generator_width must be positive, residual_blocks not negative")

    @property
    def detected_count(self) -> int:
        """How many keypoints the detector finds; 0 for a model without one."""
        return {"learned": self.keypoint_count, "mesh": 0, "both": self.learned_count}[self.keypoints]

    @property
    def motion_channels(self) -> int:
        """Channels of zeta, the dense-motion feature: the hourglass's first level and its input."""
        return min(self.motion.max_width, self.motion.width) + 4 * (self.keypoint_count + 1)

    @property
    def reads_mesh(self) -> bool:
        """Whether some keypoints come from the face mesh."""
        return self.keypoints != "learned"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready values; `from_dict` is the inverse."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> NetworkConfig:
        """Build a config from `to_dict`'s output. Raises ConfigError for unknown fields."""
        known = NetworkConfig.__dataclass_fields__
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"the network config has unknown fields: {', '.join(unknown)}")
        fixed = dict(values)
        for name in ("detector", "motion"):
            if name in fixed:
                fixed[name] = HourglassConfig(**fixed[name])
        if "occlusion_widths" in fixed:
            first, second = fixed["occlusion_widths"]
            fixed["occlusion_widths"] = (int(first), int(second))
        return NetworkConfig(**fixed)


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


def network_config(preset: str, size: str, **changes: Any) -> NetworkConfig:
    """Return one of the six presets (the paper's Table 2 rows and `ours-skip`) in one of the sizes.

    `paper` has the paper's widths; `live` needs under 12 GFLOP a frame; `narrow` is the paper's network at half the
    picture's side, a quarter of the widths and half the residual blocks, to compare presets without a GPU; `tiny`
    serves tests.
    Raises ConfigError for an unknown preset or size.
    """
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
    if size not in SIZES:
        raise ConfigError(f"unknown size {size!r}: choose one of {', '.join(SIZES)}")
    config = NetworkConfig(preset=preset, size=size, **{**_PRESET_FIELDS[preset], **_SIZE_FIELDS[size]})
    return replace(config, **changes)


EngineName = Literal[
    "auto",
    "openvino",
    "onnxruntime",
    "onnxruntime-cuda",
    "onnxruntime-directml",
    "onnxruntime-coreml",
    "torch",
    "torch-cuda",
    "tensorrt",
]
FramingMode = Literal["auto", "none"]
FrameMode = Literal["head", "photo"]
"""What is shown: the square around the avatar's head, or the whole photo with the head pasted back."""

Fit = Literal["letterbox", "crop"]
CameraFormat = Literal["auto", "mjpg", "yuyv"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
"""What `animate` computes in; auto: the fastest that the engine and the model offer on this machine."""

MotionMode = Literal["relative", "absolute"]


RANGES: dict[str, tuple[float, float]] = {
    "camera_fps": (1, 1000),
    "zoom": (0.25, 4),
    "shift_x": (-1, 1),
    "shift_y": (-1, 1),
    "strength": (0, 2),
    "smoothing": (0, 1),
    "overlay": (0, 1),
    "fps_limit": (1, 240),
    "sequence_fps": (1, 240),
    "seconds": (0, 1e9),
}
"""Least and most of numbers in AppConfig."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppConfig:
    """Everything a user can choose; run.py's command line is generated from these fields and their help.

    A boolean that is True by default becomes `--no-NAME`; a number or size that may be None takes the word `auto` for
    None. What keys change while running and `persists` is kept for the next time, see `settings`.
    Raises ConfigError for a value out of range.
    """

    avatar: tuple[Path, ...] = field(
        metadata={"metavar": "PHOTO", "help": "photos of the faces to animate, or folders of such photos"}
    )
    camera: str = field(
        default="0",
        metadata={
            "metavar": "DRIVER",
            "help": "who moves the face: a webcam's number or name (see --list-cameras), a video file, a URL, a folder "
            "of pictures or a pattern such as shots/%04d.png",
        },
    )
    camera_size: Size | None = field(
        default=Size(640, 480),
        metadata={"metavar": "WxH|auto", "help": "picture size asked of a webcam; auto leaves it to the webcam"},
    )
    camera_fps: float | None = field(
        default=30.0,
        metadata={"metavar": "FPS|auto", "help": "frame rate asked of a webcam; auto leaves it to the webcam"},
    )
    camera_format: CameraFormat = field(
        default="auto",
        metadata={"help": "pixel format asked of a webcam; mjpg is what most need for large pictures at full rate"},
    )
    output: Path | None = field(
        default=None, metadata={"metavar": "FILE.mp4", "help": "record to this file, an existing one is replaced"}
    )
    live: bool = field(
        default=False,
        metadata={
            "help": "play a driver file in real time, over and over, newest frame wins, instead of frame by "
            "frame into a file"
        },
    )
    preview: bool = field(default=True, metadata={"help": "do not open a preview window"})
    virtual_camera: bool = field(default=True, metadata={"help": "do not send to the virtual camera"})
    virtual_camera_device: str | None = field(
        default=None,
        metadata={"metavar": "NAME", "help": "which virtual camera, such as /dev/video2 or 'OBS Virtual Camera'"},
    )
    frame: FrameMode = field(
        default="head",
        metadata={
            "help": "head shows the square around the head, photo puts the moving head back into the whole photo"
        },
    )
    size: Size | None = field(
        default=None,
        metadata={
            "metavar": "WxH|auto",
            "help": "size of the picture that is sent; auto: 1280x720 live, for a file the size that is animated",
        },
    )
    fit: Fit = field(
        default="letterbox",
        metadata={"help": "how the avatar gets to that size: letterbox shows all of it, crop fills the picture"},
    )
    badge: bool = field(default=True, metadata={"help": "do not mark the picture as made by AI"})
    model: str = field(
        default="live-256", metadata={"metavar": "BUNDLE", "help": "name of a shipped model or folder of a bundle"}
    )
    engine: EngineName = field(default="auto", metadata={"help": "what computes the pictures; auto takes the fastest"})
    precision: Precision = field(
        default="auto",
        metadata={"help": "what the pictures are computed in; auto takes the fastest of engine and model"},
    )
    framing: FramingMode = field(
        default="auto",
        metadata={"help": "auto cuts photo and driver to a square around the face, none resizes them as they are"},
    )
    zoom: float = field(
        default=1.0,
        metadata={"metavar": "FACTOR", "persists": True, "help": "zoom into the driver's square, keys W and S"},
    )
    shift_x: float = field(
        default=0.0,
        metadata={
            "metavar": "SHARE",
            "persists": True,
            "help": "move the driver's square right by this share of its side, keys H and K",
        },
    )
    shift_y: float = field(
        default=0.0,
        metadata={
            "metavar": "SHARE",
            "persists": True,
            "help": "move the driver's square down by this share of its side, keys U and J",
        },
    )
    motion: MotionMode = field(
        default="relative",
        metadata={"help": "relative moves the avatar by how you move from your neutral face, absolute takes your pose"},
    )
    movement_scale: float | None = field(
        default=None,
        metadata={
            "metavar": "NUMBER|auto",
            "help": "size of the avatar's face over yours in relative motion; auto compares the two",
        },
    )
    strength: float = field(
        default=1.0,
        metadata={"metavar": "FACTOR", "persists": True, "help": "how strongly the avatar moves; 1 as you do"},
    )
    smoothing: float = field(
        default=0.5,
        metadata={
            "metavar": "STRENGTH",
            "persists": True,
            "help": "how much jitter is smoothed away, from 0 (nothing) to 1 (sluggish)",
        },
    )
    search: bool = field(
        default=True,
        metadata={"persists": True, "help": "do not look for a better neutral face while running, key F"},
    )
    mirror: bool = field(default=False, metadata={"help": "mirror the driver, so that the avatar is your mirror image"})
    mirror_preview: bool = field(
        default=True, metadata={"persists": True, "help": "do not mirror what the preview shows, key R"}
    )
    mirror_output: bool = field(
        default=False, metadata={"persists": True, "help": "mirror the picture that is sent, key T"}
    )
    overlay: float = field(
        default=0.0,
        metadata={
            "metavar": "OPACITY",
            "persists": True,
            "help": "lay the photo over yourself in the preview, from 0 to 1, keys Z and C",
        },
    )
    show_stats: bool = field(
        default=False, metadata={"persists": True, "help": "show speed and latency in the preview, key I"}
    )
    show_face: bool = field(
        default=False, metadata={"persists": True, "help": "show the face that was found in the preview, key O"}
    )
    fps_limit: float | None = field(
        default=None, metadata={"metavar": "FPS|auto", "help": "send at most so many pictures a second; auto: no limit"}
    )
    sequence_fps: float = field(
        default=25.0, metadata={"metavar": "FPS", "help": "frame rate given to a folder or pattern of pictures"}
    )
    seconds: float | None = field(
        default=None, metadata={"metavar": "SECONDS|auto", "help": "stop after so long; auto: when the driver ends"}
    )
    log_stats: bool = field(default=False, metadata={"help": "tell speed and latency once a second"})
    config: bool = field(default=True, metadata={"help": "neither use nor keep the settings changed by keys"})
    verbose: bool = field(default=False, metadata={"help": "tell what happens, and let the libraries tell it too"})

    def __post_init__(self) -> None:
        for name, choices in (
            ("engine", EngineName),
            ("framing", FramingMode),
            ("motion", MotionMode),
            ("frame", FrameMode),
            ("fit", Fit),
            ("camera_format", CameraFormat),
        ):
            if getattr(self, name) not in get_args(choices):
                raise ConfigError(
                    f"{name} must be one of {', '.join(get_args(choices))}, found {getattr(self, name)!r}"
                )
        if not self.camera:
            raise ConfigError("camera is empty: give a webcam's number, a file, a folder, a pattern or a URL")
        if self.output is not None and self.output.suffix.lower() != ".mp4":
            raise ConfigError(f"output must be a file name ending in .mp4, found {str(self.output)!r}")
        if self.output is None and not self.preview and not self.virtual_camera:
            raise ConfigError("neither output, preview nor virtual camera is wanted: leave at least one")
        if self.movement_scale is not None and not 0 < self.movement_scale <= 10:
            raise ConfigError(f"movement_scale must be above 0 and at most 10, or auto, found {self.movement_scale}")
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ConfigError(f"{name} must be from {least:g} to {most:g}, found {value:g}")
        for name in ("camera_size", "size"):
            wanted: Size | None = getattr(self, name)
            if wanted is not None and not (min(wanted) >= 64 and max(wanted) <= 7680):
                raise ConfigError(f"{name} must be from 64x64 to 7680x7680, found {wanted}")
        if self.size is not None and (self.size.width % 2 or self.size.height % 2):
            raise ConfigError(f"size must be even, as video encoders ask for, found {self.size}")
