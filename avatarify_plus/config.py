"""What a user can choose: frozen and validated. A default exists only here; the command line is made of the fields."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from avatarify_plus.errors import ConfigError
from avatarify_plus.motion.controls import Region, SmileOrigin
from avatarify_plus.program.model_option import MODEL_HELP, SHIPPED_MODEL
from avatarify_plus.program.option_fields import AUTO, about, check_choices, option_name
from avatarify_plus.types import Size

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


FILM_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".gif")
"""How the names of films that are written end, in lower case."""

RANGES: dict[str, tuple[float, float]] = {
    "face": (1, 1000),
    "camera_fps": (1, 1000),
    "zoom": (0.25, 4),
    "shift_x": (-1, 1),
    "shift_y": (-1, 1),
    "strength": (0, 2),
    "smoothing": (0, 1),
    "mouth": (0, 2),
    "eyes": (0, 2),
    "brows": (0, 2),
    "gaze": (0, 2),
    "head": (0, 2),
    "overlay": (0, 1),
    "fps_limit": (1, 240),
    "sequence_fps": (1, 240),
    "photo_px": (64, 1024),
    "gpu": (0, 63),
    "seconds": (0, 1e9),
}
"""The smallest and the largest value of each number in AppConfig."""


# the groups of options, in the order in which --help lists them
WHO, WEBCAM, OUTPUT = "who drives whom", "webcam", "where the pictures go"
REMOTE = "computing elsewhere"
PICTURE, COMPUTING, MOTION = "the picture that is sent", "computing", "motion"
WINDOW, RUN = "preview window", "the run"


def _option(default: Any, group: str, text: str, metavar: str | None = None, persists: bool = False) -> Any:
    """Return a field of AppConfig; a metavar that ends in AUTO makes that word stand for None."""
    has_auto = metavar is not None and metavar.endswith(f"|{AUTO}")
    return field(default=default, metadata=about(group, text, metavar, has_auto=has_auto, persists=persists))


@dataclass(frozen=True, slots=True, kw_only=True)
class AppConfig:
    """Everything a user can choose; the command line is generated from these fields and their help.

    A boolean becomes `--NAME` and `--no-NAME`; a number or size that may be None takes the word `auto` for None. What
    keys change while running and `persists` is kept for the next time, see `settings`. Raises ConfigError for a value
    out of range.
    """

    avatar: tuple[Path, ...] = field(
        metadata=about(WHO, "photos of the faces to animate, or folders of such photos", "PHOTO")
    )
    face: int | None = _option(
        None,
        WHO,
        "which face of a photo that shows several: 1 is the largest, 2 the second largest and so on; "
        "auto takes the largest and warns that there are more",
        "NUMBER|auto",
    )
    camera: str = _option(
        "0",
        WHO,
        "who moves the face: a webcam's number or name (see --list-cameras), a video file, a URL, a folder of pictures "
        "or a pattern such as shots/%04d.png",
        "DRIVER",
    )
    camera_size: Size | None = _option(
        Size(640, 480), WEBCAM, "picture size asked of a webcam; auto leaves it to the webcam", "WxH|auto"
    )
    camera_fps: float | None = _option(
        30.0, WEBCAM, "frame rate asked of a webcam; auto leaves it to the webcam", "FPS|auto"
    )
    camera_format: CameraFormat = _option(
        "auto", WEBCAM, "pixel format asked of a webcam; mjpg is what most need for large pictures at full rate"
    )
    remote: str | None = _option(
        None,
        REMOTE,
        "have the avatar computed at this address, where `avatarify serve` runs; your webcam's pictures and the photos "
        "go there",
        "URL",
    )
    token: str | None = field(
        default=None,
        repr=False,
        metadata=about(
            REMOTE,
            "what that address asks for; better in the environment, as AVATARIFY_TOKEN",
            "T",
        ),
    )
    remote_certificate: Path | None = _option(
        None, REMOTE, "the certificate that it is known by, of one that no authority vouches for", "FILE"
    )
    output: Path | None = _option(
        None,
        OUTPUT,
        "record to this file, an existing one is replaced: .mp4, .mov, .mkv, .webm or .gif; a name without a suffix or "
        "an existing folder takes the pictures as PNGs, or, of several photos or a folder of photos, a film of each",
        "FILE",
    )
    sound: bool = _option(True, OUTPUT, "take over the sound of a driver's file into the film that is made of it")
    live: bool = _option(
        False,
        WHO,
        "play a driver file in real time, over and over, newest frame wins, instead of frame by frame into a file",
    )
    preview: bool = _option(True, OUTPUT, "open a preview window for a live driver")
    virtual_camera: bool = _option(True, OUTPUT, "send to the virtual camera while the driver is live")
    virtual_camera_device: str | None = _option(
        None, OUTPUT, "which virtual camera, such as /dev/video2 or 'OBS Virtual Camera'", "NAME"
    )
    frame: FrameMode = _option(
        "head", PICTURE, "head shows the square around the head, photo puts the moving head back into the whole photo"
    )
    size: Size | None = _option(
        None,
        PICTURE,
        "size of the picture that is sent; auto: 1280x720 live, for a file the size that is animated",
        "WxH|auto",
    )
    fit: Fit = _option(
        "letterbox",
        PICTURE,
        "how the avatar gets to that size: letterbox shows all of it, crop fills the picture",
    )
    photo_px: int = _option(
        512,
        PICTURE,
        "the most pixels that the side of the animated square may have; it has as many as the photo, of models that "
        "show the photo in its own size",
        "PIXELS",
    )
    badge: bool = _option(True, PICTURE, "mark the picture as made by AI")
    model: str = _option(SHIPPED_MODEL, COMPUTING, MODEL_HELP, "BUNDLE")
    engine: EngineName = _option("auto", COMPUTING, "what computes the pictures; auto takes the fastest")
    precision: Precision = _option(
        "auto", COMPUTING, "what the pictures are computed in; auto takes the fastest of engine and model"
    )
    gpu: int = _option(0, COMPUTING, "which GPU computes, counted from 0, if there are several", "NUMBER")
    framing: FramingMode = _option(
        "auto", WHO, "auto cuts photo and driver to a square around the face, none resizes them as they are"
    )
    zoom: float = _option(1.0, WHO, "zoom into the driver's square, keys W and S", "FACTOR", persists=True)
    shift_x: float = _option(
        0.0, WHO, "move the driver's square right by this share of its side, keys H and K", "SHARE", persists=True
    )
    shift_y: float = _option(
        0.0, WHO, "move the driver's square down by this share of its side, keys U and J", "SHARE", persists=True
    )
    motion: MotionMode = _option(
        "relative", MOTION, "relative moves the avatar by how you move from your neutral face, absolute takes your pose"
    )
    movement_scale: float | None = _option(
        None, MOTION, "size of the avatar's face over yours in relative motion; auto compares the two", "NUMBER|auto"
    )
    strength: float = _option(
        1.0, MOTION, "how strongly the avatar moves; 1 as you do, keys [ and ]", "FACTOR", persists=True
    )
    smoothing: float = _option(
        0.5,
        MOTION,
        "how much jitter is smoothed away, from 0 (nothing) to 1 (sluggish), keys , and .",
        "STRENGTH",
        persists=True,
    )
    mouth: float = _option(
        1.0,
        MOTION,
        "how much of your mouth the avatar's follows, 0 leaves the photo's, keys M, Shift+M",
        "FACTOR",
        persists=True,
    )
    eyes: float = _option(1.0, MOTION, "the same of your eyelids, keys E, Shift+E", "FACTOR", persists=True)
    brows: float = _option(1.0, MOTION, "the same of your brows, keys B, Shift+B", "FACTOR", persists=True)
    gaze: float = _option(1.0, MOTION, "the same of where you look, keys G, Shift+G", "FACTOR", persists=True)
    head: float = _option(
        1.0, MOTION, "the same of how your head turns, nods and travels, keys N, Shift+N", "FACTOR", persists=True
    )
    region: Region = _option("all", MOTION, "move only this part of the face, the rest stays as in the photo, key V")
    smile: SmileOrigin = _option(
        "photo", MOTION, "photo adds your smile to the photo's own, driver begins with a mouth at rest"
    )
    lock_gaze: bool = _option(False, MOTION, "the avatar looks into the camera wherever you look, key Y", persists=True)
    travel: bool = _option(
        False, MOTION, "let the head travel and approach as far as yours, instead of keeping it in its frame"
    )
    search: bool = _option(True, MOTION, "look for a better neutral face while running, key F", persists=True)
    mirror: bool = _option(False, WHO, "mirror the driver, so that the avatar is your mirror image")
    mirror_preview: bool = _option(True, WINDOW, "mirror what the preview shows, key R", persists=True)
    mirror_output: bool = _option(False, PICTURE, "mirror the picture that is sent, key T", persists=True)
    overlay: float = _option(
        0.0,
        WINDOW,
        "lay the photo over yourself in the preview, from 0 to 1, keys Z and C",
        "OPACITY",
        persists=True,
    )
    show_stats: bool = _option(False, WINDOW, "show speed and latency in the preview, key I", persists=True)
    show_face: bool = _option(False, WINDOW, "show the face that was found in the preview, key O", persists=True)
    fps_limit: float | None = _option(
        None, COMPUTING, "send at most this many pictures a second; auto: no limit", "FPS|auto"
    )
    sequence_fps: float = _option(25.0, WHO, "frame rate given to a folder or pattern of pictures", "FPS")
    seconds: float | None = _option(None, RUN, "stop after this time; auto: when the driver ends", "SECONDS|auto")
    log_stats: bool = _option(False, RUN, "log speed and latency once a second")
    config: bool = _option(True, RUN, "use the settings that keys changed in earlier calls, and keep what they change")
    verbose: bool = _option(False, RUN, "log what happens, and let the libraries log it too")

    def __post_init__(self) -> None:
        check_choices(self)
        if not self.camera:
            raise ConfigError("--camera is empty: give a webcam's number, a file, a folder, a pattern or a URL")
        if self.output is not None and not self.fills_folder and self.output.suffix.lower() not in FILM_SUFFIXES:
            raise ConfigError(
                f"--output must end in one of {', '.join(FILM_SUFFIXES)}, or be a folder, found {str(self.output)!r}"
            )
        if self.output is None and not self.preview and not self.virtual_camera:
            raise ConfigError("neither --output, --preview nor --virtual-camera is wanted: leave at least one")
        if self.movement_scale is not None and not 0 < self.movement_scale <= 10:
            raise ConfigError(f"--movement-scale must be above 0 and at most 10, or auto, found {self.movement_scale}")
        for name, (smallest, largest) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not smallest <= value <= largest:
                raise ConfigError(f"{option_name(name)} must be from {smallest:g} to {largest:g}, found {value:g}")
        for name in ("camera_size", "size"):
            wanted: Size | None = getattr(self, name)
            if wanted is not None and not (min(wanted) >= 64 and max(wanted) <= 7680):
                raise ConfigError(f"{option_name(name)} must be from 64x64 to 7680x7680, found {wanted}")
        if self.size is not None and (self.size.width % 2 or self.size.height % 2):
            raise ConfigError(f"--size must be even, as video encoders ask for, found {self.size}")

    @property
    def fills_folder(self) -> bool:
        """Whether the output is a folder: it is one already, or its name has no suffix."""
        return self.output is not None and (_is_folder(self.output) or not self.output.suffix)

    @property
    def makes_films(self) -> bool:
        """Whether a film is made of each photo: there are several, or a folder of them, and the output is a folder."""
        return self.fills_folder and (len(self.avatar) > 1 or any(_is_folder(path) for path in self.avatar))


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  # Path.is_dir raises an error for a name that no file system takes
