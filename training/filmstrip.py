"""Show moments of several videos side by side in one picture.

python training/filmstrip.py examples/driver.mp4 avatar.mp4 --frames 0 60 120 --out strip.jpg
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from anywhere

from avatarify_plus.errors import AvatarifyError, DataError
from avatarify_plus.types import Image
from training.contact_sheet import write_picture
from training.evaluation.trials import decode_squares


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
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+", help="one row each, cut to centred squares")
    parser.add_argument("--frames", type=int, nargs="+", required=True, help="one column each")
    parser.add_argument("--side", type=int, default=192, help="side of a picture in px")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        write_picture(options.out, np.vstack([strip(path, options.frames, options.side) for path in options.videos]))
    except AvatarifyError as error:
        print(f"filmstrip: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
