"""Train on a rented GPU with time limits: a total budget in minutes, spent in sessions that resume each other."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.program.command_line import ProgramParser, configure_logging, run_program
from training import train
from training.config import HEADINGS, TrainingConfig
from training.loop.checkpoint import CHECKPOINT
from training.loop.option_fields import add_fields, positive, read_fields
from training.transfer.checkpoint_chunks import join_pieces, write_pieces
from training.transfer.dataset_archive import is_pack, unpack, write_pack

logger = logging.getLogger("training")

DESCRIPTION = """\
Train on a rented GPU with time limits: a total budget in minutes, spent in sessions that resume each other.

train is training/train.py with other defaults; it takes all its options. Clips may be packed, cached or plain; packed
ones bring their face meshes, so that the machine needs no MediaPipe. They are decoded once into --cache, on its disk,
and held in the GPU's memory. Every session ends with a checkpoint in --out and with --pieces of it to bring home:
the averaged weights, or with --pieces-hold checkpoint what another machine resumes from."""

EXAMPLES = (
    "python training/gpu_recipe.py pack --data clips/train stills/train --out pack          here",
    "python training/gpu_recipe.py train --data pack --out run --minutes 25 --pieces pieces  there, until it is done",
    "python training/gpu_recipe.py join pieces live.pt                                       here again",
)

DEFAULTS = {
    "preset": "ours-skip",
    "keypoints": "both",
    "stages": "128x256:0.5,256x96:0.5",
    "rate": 1.5e-3,  # that of a batch of 12, times about the square root of how much larger this batch is
    "minutes": 25,
    "session_minutes": 9.5,
    "save_minutes": 2,
    "sheet_minutes": 5,
}
"""What suits one large GPU; the rest is as in training/train.py."""


def build_parser() -> ProgramParser:
    """Return the command line's parser."""
    parser = ProgramParser(
        prog="python training/gpu_recipe.py", description=DESCRIPTION, examples=EXAMPLES, has_verbose=False
    )
    commands = parser.add_subparsers(dest="command", required=True)
    processes = os.cpu_count() or 1

    pack = commands.add_parser("pack", description="Pack clips and their face meshes.", help="pack clips and meshes")
    pack.add_argument("--data", type=Path, nargs="+", required=True, help="folders of clips and photos")
    pack.add_argument("--out", type=Path, required=True, help="folder of the pack, one folder in it for each of --data")
    pack.add_argument("--cache", type=Path, help="folder of the decoded clips (default: OUT-cache)")
    pack.add_argument("--part-mb", type=float, default=60, help="size limit of a file in MB (default: 60)")
    pack.add_argument("--image-size", type=int, default=256, help="side of the decoded pictures in px (default: 256)")
    pack.add_argument("--processes", type=positive, default=processes, help="decoding processes (default: all cores)")

    run = commands.add_parser(
        "train",
        usage="python training/gpu_recipe.py train --data FOLDER [FOLDER ...] --out FOLDER [OPTIONS]",
        description="Train, session by session.",
        help="train, session by session",
    )
    add_fields(run, TrainingConfig, DEFAULTS, HEADINGS)
    home = run.add_argument_group("way home")
    home.add_argument("--pieces", type=Path, help="folder for the pieces to bring home")
    home.add_argument(
        "--pieces-hold",
        choices=("weights", "checkpoint"),
        default="weights",
        help="what the pieces make up: the averaged weights or the whole checkpoint (default: weights)",
    )
    home.add_argument("--piece-mb", type=float, default=15, help="size limit of a piece in MB (default: 15)")
    home.add_argument("--processes", type=positive, default=processes, help="decoding processes (default: all cores)")

    join = commands.add_parser(
        "join", description="Put pieces back into a checkpoint.", help="put pieces back together"
    )
    join.add_argument("pieces", type=Path, help="folder of the pieces")
    join.add_argument("out", type=Path, help="checkpoint to write")
    return parser


def pack_all(options: argparse.Namespace) -> None:
    """Pack each folder of --data."""
    for number, folder in enumerate(options.data):
        out = options.out / f"{number:02}-{folder.resolve().name}"
        root = options.cache or options.out.with_name(f"{options.out.name}-cache")
        for path in write_pack(folder, root, out, int(options.part_mb * 1e6), options.image_size, options.processes):
            print(f"{path} {path.stat().st_size / 1e6:.1f} MB")


def run_session(options: argparse.Namespace, wanted: TrainingConfig) -> None:
    """Unpack what is packed, train until the session or the run is over, and leave the pieces to bring home."""
    began = time.monotonic()
    cache = wanted.cache or wanted.out / "cache"
    size = wanted.network().image_size
    data = [inner for folder in wanted.data for inner in _opened(folder, cache, size, options.processes)]
    val = _opened(wanted.val, cache, size, options.processes)[0] if wanted.val else None
    session_minutes = wanted.session_minutes
    if session_minutes is not None:
        session_minutes = max(0.0, session_minutes - (time.monotonic() - began) / 60)
    checkpoint = wanted.out / CHECKPOINT
    try:
        train.train(replace(wanted, data=tuple(data), val=val, cache=cache, session_minutes=session_minutes))
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
    """Run the command line and return the exit code, see `program.command_line`."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    configure_logging(options.verbose, train.NEWS)
    if options.command == "pack":
        return run_program(lambda: pack_all(options))
    if options.command == "join":
        return run_program(lambda: join_pieces(options.pieces, options.out))
    wanted = read_fields(parser, TrainingConfig, options)
    return run_program(lambda: run_session(options, wanted))


if __name__ == "__main__":
    sys.exit(main())
