"""Show moments of several videos side by side in one picture."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.errors import DataError
from avatarify_plus.program.command_line import ProgramParser, configure_logging, require_place, run_program

# isort: split
import numpy as np

from avatarify_plus.program.option_fields import positive
from avatarify_plus.types import Image
from training.contact_sheet import write_picture
from training.evaluation.trials import decode_squares

EXAMPLES = ("python training/filmstrip.py examples/driver.mp4 avatar.mp4 --frames 0 60 120 --out strip.jpg",)


def strip(path: Path, frames: list[int], side_px: int) -> Image:
    """Return frames of a video side by side, (side_px, side_px times their number, 3). Raises DataError."""
    wanted = set(frames)
    found: dict[int, Image] = {}
    count = 0
    for index, image in enumerate(decode_squares(path, side_px)):
        count = index + 1
        if index in wanted:
            found[index] = image
        if len(found) == len(wanted):
            break
    missing = sorted(wanted - set(found))
    if missing:
        raise DataError(f"{path} has {count} frames, asked for frame {missing[-1]}; the first is 0")
    return np.hstack([found[index] for index in frames])


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code, see `program.command_line`."""
    parser = ProgramParser(
        prog="python training/filmstrip.py",
        description="Show moments of several videos side by side in one picture.",
        examples=EXAMPLES,
    )
    parser.add_argument("videos", type=Path, nargs="+", help="one row each, cut to centred squares")
    parser.add_argument("--frames", type=int, nargs="+", required=True, metavar="N", help="one column each; 0 is first")
    parser.add_argument("--side", type=positive, default=192, metavar="PX", help="side of a picture (default: 192)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="picture to write")
    options = parser.parse_args(arguments)
    configure_logging(options.verbose)

    def work() -> None:
        require_place(options.out, "--out")
        write_picture(options.out, np.vstack([strip(path, options.frames, options.side) for path in options.videos]))

    return run_program(work)


if __name__ == "__main__":
    sys.exit(main())
