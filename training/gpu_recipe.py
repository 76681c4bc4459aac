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
from avatarify_plus.program.option_fields import add_fields, positive, read_fields
from training import train
from training.config import HEADINGS, TrainingConfig
from training.loop.checkpoint import CHECKPOINT
from training.transfer.checkpoint_chunks import join_chunks, write_chunks
from training.transfer.dataset_archive import is_archive, unpack, write_archive

logger = logging.getLogger("training")

DESCRIPTION = """\
Train on a rented GPU with time limits: a total budget in minutes, spent in sessions that resume each other.

train is training/train.py with other defaults; it takes all its options. Clips may be packed by pack, cached or plain;
packed clips bring their face meshes, so that the machine needs no MediaPipe. They are decoded once into --cache, on its
disk, and held in the GPU's memory. Every session ends with a checkpoint in --out and with --chunks of it to fetch: the
averaged weights, or with --chunks-hold checkpoint what another machine resumes from."""

EXAMPLES = (
    "python training/gpu_recipe.py pack --data clips/train stills/train --out archive           here",
    "python training/gpu_recipe.py train --data archive --out run --minutes 25 --chunks chunks  there, again and again",
    "python training/gpu_recipe.py join chunks live.pt                                          here again",
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

    text = "pack clips and their face meshes into files of limited size"
    pack = commands.add_parser("pack", description=f"{text.capitalize()}.", help=text)
    add = pack.add_argument
    add("--data", type=Path, nargs="+", required=True, help="folders of clips and photos")
    add("--out", type=Path, required=True, help="folder of the archives, one for each of --data")
    add("--cache", type=Path, help="folder of the decoded clips (default: OUT-cache)")
    add("--part-mb", type=float, default=60, metavar="MB", help="size limit of a file (default: 60)")
    add("--image-size", type=positive, default=256, metavar="PX", help="side of the decoded pictures (default: 256)")
    add("--processes", type=positive, default=processes, metavar="N", help="decode N clips at a time")

    text = "train, session by session"
    run = commands.add_parser(
        "train",
        usage="python training/gpu_recipe.py train --data FOLDER [FOLDER ...] --out FOLDER [OPTIONS]",
        description=f"{text.capitalize()}.",
        help=text,
    )
    add_fields(run, TrainingConfig, DEFAULTS, HEADINGS)
    add = run.add_argument_group("what is fetched").add_argument
    add("--chunks", "--pieces", type=Path, metavar="FOLDER", help="folder for the checkpoint chunks")
    add(
        "--chunks-hold",
        "--pieces-hold",
        choices=("weights", "checkpoint"),
        default="weights",
        help="what the chunks make up: the averaged weights or the whole checkpoint (default: weights)",
    )
    add("--chunk-mb", "--piece-mb", type=float, default=15, metavar="MB", help="size limit of a chunk (default: 15)")
    run.add_argument("--processes", type=positive, default=processes, metavar="N", help="decode N clips at a time")

    text = "join checkpoint chunks"
    join = commands.add_parser("join", description=f"{text.capitalize()}.", help=text)
    join.add_argument("chunks", type=Path, help="folder of the chunks")
    join.add_argument("out", type=Path, help="checkpoint to write")
    return parser


def pack_all(options: argparse.Namespace) -> None:
    """Pack each folder of --data."""
    for number, folder in enumerate(options.data):
        out = options.out / f"{number:02}-{folder.resolve().name}"
        root = options.cache or options.out.with_name(f"{options.out.name}-cache")
        for path in write_archive(folder, root, out, int(options.part_mb * 1e6), options.image_size, options.processes):
            print(f"{path} {path.stat().st_size / 1e6:.1f} MB")


def run_session(options: argparse.Namespace, wanted: TrainingConfig) -> None:
    """Unpack archives, train until the session or the run is over, and write the checkpoint chunks to fetch."""
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
        if options.chunks and checkpoint.exists():
            paths = write_chunks(
                checkpoint, options.chunks, int(options.chunk_mb * 1e6), options.chunks_hold == "checkpoint"
            )
            logger.info("%d files to fetch in %s", len(paths), options.chunks)


def _opened(folder: Path, cache_root: Path, size: int, processes: int) -> list[Path]:
    """Return the caches of an archive, or of a folder of archives; any other folder as it is."""
    archives = [folder] if is_archive(folder) else sorted(inner for inner in folder.glob("*") if is_archive(inner))
    return [
        unpack(archive, cache_root / f"{archive.resolve().parent.name}-{archive.name}", size, processes)
        for archive in archives
    ] or [folder]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code, see `program.command_line`."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    configure_logging(options.verbose, train.NEWS)
    if options.command == "pack":
        return run_program(lambda: pack_all(options))
    if options.command == "join":
        return run_program(lambda: join_chunks(options.chunks, options.out))
    wanted = read_fields(parser, TrainingConfig, options)
    return run_program(lambda: run_session(options, wanted))


if __name__ == "__main__":
    sys.exit(main())
