"""Make clips of moving figures that are not faces: drawn animals, and rendered bodies."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.errors import ConfigError, DataError
from avatarify_plus.program.command_line import ProgramParser, configure_logging, run_program
from avatarify_plus.program.option_fields import parse_whole_number, positive
from avatarify_plus.program.whole_file import write_whole

# isort: split
from tqdm import tqdm

from training.data.parallel import each_result
from training.figures.clip import AnimalClip, BodyClip, Clip, make_clip
from training.figures.wardrobe import open_wardrobe

logger = logging.getLogger("training.moving_figures")

NEWS = ("training.moving_figures",)
"""The loggers whose news everybody gets."""

DESCRIPTION = """\
Make clips of moving figures that are not faces, to train and measure on, in the layouts of FOMM's data sets.

animals draws cartoons of animals that walk, run and jump in place: GIFs, as in MGif. bodies renders people in suits
who move slowly: folders of pictures, as in TaiChiHD. Both write OUT/train and OUT/test; what they show follows from the
seed. Clips that are there are not made again: stop at any time and run the same command to go on."""

EXAMPLES = (
    "python training/moving_figures.py animals clips/animals",
    "python training/moving_figures.py bodies clips/bodies --assets makehuman-assets",
    "python training/ablation.py run animals --data clips/animals --out runs/animals --page animals.md",
)

RECORD = "figures.json"
"""The file in OUT that says what its clips were asked for with."""

MIN_PX = 32
"""The smallest side of pictures."""


def picture_side(text: str) -> int:
    """Parse the side of pictures in px."""
    side = parse_whole_number(text)
    if side < MIN_PX:
        raise argparse.ArgumentTypeError(f"must be at least {MIN_PX}, found {side}")
    return side


def natural(text: str) -> int:
    """Parse a whole number that is not negative."""
    number = parse_whole_number(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, found {number}")
    return number


def animal_clips(options: argparse.Namespace) -> list[Clip]:
    """Return the clips of animals that are asked for."""
    return [
        AnimalClip(folder, is_test, number, options.seed, options.size) for folder, is_test, number in _places(options)
    ]


def body_clips(options: argparse.Namespace) -> list[Clip]:
    """Return the clips of bodies that are asked for. Raises DataError if the assets lack something."""
    open_wardrobe(options.assets)
    return [
        BodyClip(folder, is_test, number, options.seed, options.size, options.frames, options.assets)
        for folder, is_test, number in _places(options)
    ]


def _places(options: argparse.Namespace) -> list[tuple[Path, bool, int]]:
    """Return the folder of each clip, whether it is for tests, and its number there."""
    splits = (("train", False, options.train), ("test", True, options.test))
    return [(options.out / name, is_test, number) for name, is_test, count in splits for number in range(count)]


def make_clips(options: argparse.Namespace) -> None:
    """Make the clips that are asked for and not there yet. Raises AvatarifyError or OSError."""
    clips: list[Clip] = options.list_clips(options)
    require_same_figures(options)
    for folder in {clip.folder for clip in clips}:
        folder.mkdir(parents=True, exist_ok=True)
    pending = [clip for clip in clips if not clip.path.exists()]
    if len(pending) < len(clips):
        logger.info("%d of %d clips are there already", len(clips) - len(pending), len(clips))
    for _ in tqdm(each_result(make_clip, pending, options.processes), total=len(pending), unit="clip"):
        pass
    print(f"{options.train} training and {options.test} test clips of {options.figure} in {options.out}")


def require_same_figures(options: argparse.Namespace) -> None:
    """Note in OUT what its clips show. Raises ConfigError if it holds others, DataError if its note is damaged."""
    path = options.out / RECORD
    asked = {name: getattr(options, name, None) for name in ("figure", "seed", "size", "frames")}
    if not path.exists():
        if options.out.exists() and any(options.out.iterdir()):
            raise ConfigError(f"{options.out} holds something else: choose another OUT")
        options.out.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asked) + "\n")
        return
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}; choose another OUT") from error
    if found != asked:
        raise ConfigError(
            f"{options.out} holds clips of {_words(found)}; asked for {_words(asked)}: choose another OUT"
        )


def _words(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def build_parser() -> ProgramParser:
    """Return the command line's parser."""
    parser = ProgramParser(
        prog="python training/moving_figures.py", description=DESCRIPTION, examples=EXAMPLES, has_verbose=False
    )
    figures = parser.add_subparsers(dest="figure", required=True)
    text = "draw cartoons of animals"
    animals = figures.add_parser("animals", help=text, description=f"{text.capitalize()}.")
    animals.set_defaults(list_clips=animal_clips)
    text = "render people in suits"
    bodies = figures.add_parser("bodies", help=text, description=f"{text.capitalize()}.")
    bodies.set_defaults(list_clips=body_clips)
    bodies.add_argument(
        "--assets",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folder of MakeHuman's CC0 assets: clothes/female_NAME, clothes/male_NAME and hair/NAME, with their .obj",
    )
    bodies.add_argument("--frames", type=positive, default=60, metavar="N", help="pictures of a clip (default: 60)")
    for figure, train, test, size in ((animals, 300, 40, 64), (bodies, 150, 30, 96)):
        figure.add_argument("out", type=Path, metavar="OUT", help="folder for the clips")
        numbers = (
            ("--train", positive, train, "N", "training clips"),
            ("--test", positive, test, "N", "test clips"),
            ("--size", picture_side, size, "PX", "side of the pictures"),
            ("--seed", natural, 0, "N", "what chance starts from"),
        )
        for name, parse, default, metavar, meaning in numbers:
            shown = f"{meaning} (default: {default})"
            figure.add_argument(name, type=parse, default=default, metavar=metavar, help=shown)
        figure.add_argument(
            "--processes",
            type=positive,
            default=os.cpu_count() or 1,
            metavar="N",
            help="make N clips at a time (default: all cores)",
        )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code, see `program.command_line`."""
    options = build_parser().parse_args(arguments)
    configure_logging(options.verbose, NEWS)
    return run_program(lambda: make_clips(options))


if __name__ == "__main__":
    sys.exit(main())
