"""Networks that others have released, from checkouts of theirs, with random weights: how long a picture takes.

Only what is computed for each picture is timed, with random numbers as pictures: no camera, no face detection, no
cropping, no pasting. What depends on the photo alone is computed before. The code is run as it is, in PyTorch's eager
float32.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.errors import ConfigError, DataError
from avatarify_plus.program.command_line import ProgramParser, configure_logging, run_program
from avatarify_plus.program.memory import peak_memory_mb
from avatarify_plus.program.option_fields import positive

# isort: split
import torch
from torch import Tensor

DESCRIPTION = """\
Time the networks of a checkout of another project, with random weights. Prints one line of JSON: how long each picture
took, when the first was ready, and the peak of memory. export/field_benchmark.py calls it."""

EXAMPLES = ("python export/field_rivals.py fomm first-order-model --size 256 --pictures 10",)

LIVE_PORTRAIT_SIDE = 256
"""The side of the pictures that LivePortrait's networks take, in px; they make pictures twice as large."""

LIVE_PORTRAIT_KEYPOINTS = 21

FOMM_CONFIG = "config/vox-256.yaml"
LIVE_PORTRAIT_CONFIG = "src/config/models.yaml"

Picture = Callable[[Tensor], Tensor]
"""Makes a picture (1, 3, S, S) that follows a driving picture (1, 3, s, s)."""


def open_fomm(checkout: Path, size: int) -> tuple[Picture, int]:
    """Return what FOMM's networks compute for each picture, and the side of the driving pictures.

    size: of the pictures, in px. Raises DataError if the checkout lacks something. Source:
    github.com/AliaksandrSiarohin/first-order-model (Siarohin et al. 2019).
    """
    parameters = _read_config(checkout / FOMM_CONFIG)["model_params"]
    sys.path.insert(0, str(checkout))
    from modules.generator import OcclusionAwareGenerator
    from modules.keypoint_detector import KPDetector

    common = parameters["common_params"]
    generator = OcclusionAwareGenerator(**parameters["generator_params"], **common).eval()
    detector = KPDetector(**parameters["kp_detector_params"], **common).eval()
    source = torch.rand(1, 3, size, size)
    found = detector(source)

    def picture(driving: Tensor) -> Tensor:
        made: Tensor = generator(source, kp_source=found, kp_driving=detector(driving))["prediction"]
        return made

    return picture, size


def open_live_portrait(checkout: Path, size: int) -> tuple[Picture, int]:
    """Return what LivePortrait's networks compute for each picture, without stitching (a small MLP), and the side.

    size: of the pictures, in px: 512. Raises ConfigError for another, DataError if the checkout lacks something.
    Source: github.com/KwaiVGI/LivePortrait (Guo et al. 2024).
    """
    if size != 2 * LIVE_PORTRAIT_SIDE:
        raise ConfigError(f"LivePortrait makes pictures of {2 * LIVE_PORTRAIT_SIDE} px, not {size}")
    parameters = _read_config(checkout / LIVE_PORTRAIT_CONFIG)["model_params"]
    sys.path.insert(0, str(checkout))
    from src.modules.appearance_feature_extractor import AppearanceFeatureExtractor
    from src.modules.motion_extractor import MotionExtractor
    from src.modules.spade_generator import SPADEDecoder
    from src.modules.warping_network import WarpingNetwork

    appearance = AppearanceFeatureExtractor(**parameters["appearance_feature_extractor_params"]).eval()
    motion = MotionExtractor(**parameters["motion_extractor_params"]).eval()
    warping = WarpingNetwork(**parameters["warping_module_params"]).eval()
    decoder = SPADEDecoder(**parameters["spade_generator_params"]).eval()

    def keypoints(image: Tensor) -> Tensor:
        found: Tensor = motion(image)["kp"]
        return found.reshape(1, LIVE_PORTRAIT_KEYPOINTS, 3)

    source = torch.rand(1, 3, LIVE_PORTRAIT_SIDE, LIVE_PORTRAIT_SIDE)
    features, start = appearance(source), keypoints(source)

    def picture(driving: Tensor) -> Tensor:
        warped = warping(features, kp_source=start, kp_driving=keypoints(driving))
        made: Tensor = decoder(feature=warped["out"])
        return made

    return picture, LIVE_PORTRAIT_SIDE


RIVALS: dict[str, Callable[[Path, int], tuple[Picture, int]]] = {"fomm": open_fomm, "liveportrait": open_live_portrait}
"""Whose networks can be timed."""


def _read_config(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise ConfigError("reading the other projects' settings needs PyYAML: pip install pyyaml") from error
    try:
        with open(path, encoding="utf-8") as file:
            found = yaml.safe_load(file)
        if "model_params" in found:
            return dict(found)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError) as error:
        raise DataError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
    raise DataError(f"{path} has no model_params")


@torch.inference_mode()
def time_pictures(name: str, checkout: Path, size: int, count: int, began_at: float) -> dict[str, Any]:
    """Return what one rival takes: `ms` of each picture, `first_picture_s` since began_at, `peak_memory_mb`.

    began_at: when the program was started, in seconds since the epoch. The first picture does not count among the
    others. Raises AvatarifyError if the checkout does not hold what is needed.
    """
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    try:
        picture, side = RIVALS[name](checkout, size)
    except (ImportError, KeyError, TypeError) as error:
        raise DataError(f"{checkout} is no checkout of {name} that can be used: {error!r}") from error
    made = picture(torch.rand(1, 3, side, side))
    first_picture_s = time.time() - began_at
    if made.shape != (1, 3, size, size):
        raise DataError(f"{checkout} makes pictures {tuple(made.shape)}, not of {size} px")
    times = []
    for _ in range(count):
        driving = torch.rand(1, 3, side, side)
        began = time.perf_counter()
        picture(driving)
        times.append(1000 * (time.perf_counter() - began))
    return {"ms": times, "first_picture_s": first_picture_s, "peak_memory_mb": peak_memory_mb()}


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = ProgramParser(prog="python export/field_rivals.py", description=DESCRIPTION, examples=EXAMPLES)
    add = parser.add_argument
    add("rival", choices=RIVALS, help="whose networks")
    add("checkout", type=Path, help="folder of a checkout of that project")
    add("--size", type=positive, default=512, metavar="PX", help="side of the pictures (default: %(default)s)")
    add("--pictures", type=positive, default=3, metavar="N", help="so many after the first (default: %(default)s)")
    add("--threads", type=positive, default=os.cpu_count() or 1, metavar="N", help="CPU threads (default: all cores)")
    add("--began-at", type=float, default=time.time(), help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code, see `program.command_line`."""
    options = build_parser().parse_args(arguments)
    configure_logging(options.verbose)
    torch.set_num_threads(options.threads)

    def act() -> None:
        checkout = options.checkout.absolute()
        print(json.dumps(time_pictures(options.rival, checkout, options.size, options.pictures, options.began_at)))

    return run_program(act)


if __name__ == "__main__":
    sys.exit(main())
