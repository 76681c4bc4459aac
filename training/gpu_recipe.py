"""Train on a rented GPU with time limits: a total budget in minutes, spent in sessions that resume each other.

    python training/gpu_recipe.py pack --data clips/train stills/train --out pack          here
    python training/gpu_recipe.py train --data pack --out run --minutes 25 --pieces pieces  there, until it is done
    python training/gpu_recipe.py join pieces live.pt                                       here again

`train` is training/train.py with other defaults; it takes all its options. Clips may be packed, cached or plain; packed
ones bring their face meshes, so that the machine needs no MediaPipe. They are decoded once into --cache, on its disk,
and held in the GPU's memory. Every session ends with a checkpoint in --out and with --pieces of it to bring home:
the averaged weights, or with --pieces-hold checkpoint what another machine resumes from.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from anywhere

from avatarify_plus.errors import AvatarifyError
from training import train
from training.transfer.checkpoint_chunks import join_pieces, write_pieces
from training.transfer.dataset_archive import is_pack, unpack, write_pack

logger = logging.getLogger("training")

DEFAULTS = {
    "preset": "ours-skip",
    "keypoints": "both",
    "stages": "128x256:0.5,256x96:0.5",
    "rate": 1.5e-3,  # that of a batch of 12 times about the root of what this batch is larger
    "minutes": 25,
    "session_minutes": 9.5,
    "save_minutes": 2,
    "sheet_minutes": 5,
}
"""What suits one large GPU; the rest is as in training/train.py."""


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    processes = os.cpu_count() or 1

    pack = commands.add_parser("pack", help="pack clips and their face meshes for the journey")
    pack.add_argument("--data", type=Path, nargs="+", required=True, help="folders of clips and photos")
    pack.add_argument("--out", type=Path, required=True, help="folder of the pack, one folder in it for each of --data")
    pack.add_argument("--cache", type=Path, help="folder of the decoded clips (default: OUT-cache)")
    pack.add_argument("--part-mb", type=float, default=60, help="largest file")
    pack.add_argument("--image-size", type=int, default=256)
    pack.add_argument("--processes", type=int, default=processes)

    run = commands.add_parser("train", parents=[train.build_parser(add_help=False)], help="train, session by session")
    run.set_defaults(**DEFAULTS)
    run.add_argument("--pieces", type=Path, help="folder for the pieces to bring home")
    run.add_argument("--pieces-hold", choices=("weights", "checkpoint"), default="weights")
    run.add_argument("--piece-mb", type=float, default=15, help="largest piece")
    run.add_argument("--processes", type=int, default=processes, help="processes that decode")

    join = commands.add_parser("join", help="put pieces back into a checkpoint")
    join.add_argument("pieces", type=Path)
    join.add_argument("out", type=Path, help="checkpoint to write")
    return parser


def pack_all(options: argparse.Namespace) -> None:
    """Pack each folder of --data."""
    for number, folder in enumerate(options.data):
        out = options.out / f"{number:02}-{folder.resolve().name}"
        root = options.cache or options.out.with_name(f"{options.out.name}-cache")
        for path in write_pack(folder, root, out, int(options.part_mb * 1e6), options.image_size, options.processes):
            print(f"{path} {path.stat().st_size / 1e6:.1f} MB")


def run_session(options: argparse.Namespace) -> None:
    """Unpack what is packed, train until the session or the run is over, and leave the pieces to bring home."""
    began = time.monotonic()
    config, _ = train.build_config(options)
    options.cache = options.cache or options.out / "cache"
    options.data = [
        cache
        for folder in options.data
        for cache in _opened(folder, options.cache, config.image_size, options.processes)
    ]
    if options.val:
        (options.val,) = _opened(options.val, options.cache, config.image_size, options.processes)
    options.session_minutes -= (time.monotonic() - began) / 60
    checkpoint = options.out / "checkpoint.pt"
    try:
        train.train(options)
    finally:  # also of a run that diverged: its last good checkpoint
        if options.pieces and checkpoint.exists():
            paths = write_pieces(
                checkpoint, options.pieces, int(options.piece_mb * 1e6), options.pieces_hold == "checkpoint"
            )
            logger.info("%d files to bring home in %s", len(paths), options.pieces)


def _opened(folder: Path, cache_root: Path, size: int, processes: int) -> list[Path]:
    """Return the caches of a pack, or of a folder of packs; any other folder as it is."""
    packs = [folder] if is_pack(folder) else sorted(inner for inner in folder.glob("*") if is_pack(inner))
    if not packs:
        return [folder]
    return [unpack(pack, cache_root / f"{pack.resolve().parent.name}-{pack.name}", size, processes) for pack in packs]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if options.command == "pack":
            pack_all(options)
        elif options.command == "join":
            join_pieces(options.pieces, options.out)
        else:
            run_session(options)
    except AvatarifyError as error:
        print(f"gpu_recipe: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
