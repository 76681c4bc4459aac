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
from avatarify_plus.images import centred_square, crop
from training.cache import read_frames
from training.contact_sheet import write_picture


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+", help="one row each, cut to centred squares")
    parser.add_argument("--frames", type=int, nargs="+", required=True, help="one column each")
    parser.add_argument("--side", type=int, default=192, help="side of a picture in px")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        rows = []
        for path in options.videos:
            frames = read_frames(path)
            if max(options.frames) >= len(frames):
                raise DataError(f"{path} has {len(frames)} frames, asked for frame {max(options.frames)}")
            rows.append(
                np.hstack(
                    [crop(frames[index], centred_square(frames[index]), options.side) for index in options.frames]
                )
            )
        write_picture(options.out, np.vstack(rows))
    except AvatarifyError as error:
        print(f"filmstrip: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
