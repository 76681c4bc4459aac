"""Measure the app beside what others have released, on the same cores in one run: time, start-up and memory."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.errors import ConfigError, DataError
from avatarify_plus.program.checkout import child_environment, module_command
from avatarify_plus.program.command_line import (
    STDOUT,
    ProgramParser,
    add_json_option,
    configure_logging,
    print_report,
    require_json_file,
    run_program,
)
from avatarify_plus.program.option_fields import positive

DESCRIPTION = """\
Measure the app beside the networks that others have released, in turns on the same cores: ms a picture, seconds to the
first picture, peak memory, and the ratios.

Of the app everything counts that it does for a picture: framing, detecting the face, animating, composing (`avatarify
bench`). Of the others only their networks count, run as their code runs them on a CPU, with random weights. Nothing is
fetched: give the folders of checkouts of github.com/AliaksandrSiarohin/first-order-model and of
github.com/KwaiVGI/LivePortrait."""

EXAMPLES = ("python export/field_benchmark.py --fomm first-order-model --liveportrait LivePortrait",)

MODELS = {256: "live-256", 512: "live-512"}
"""The app's models, by the side of their pictures in px."""

PICTURES = {("fomm", 256): 8, ("fomm", 512): 3, ("liveportrait", 512): 2}
"""How many pictures others make in a turn, and in which sizes."""

SECONDS = 6
"""How long the app makes pictures in a turn."""


class Turn(NamedTuple):
    """What one turn took: the median of a picture in ms, seconds to the first picture, peak memory in 10^6 bytes."""

    ms: float
    first_picture_s: float
    peak_memory_mb: float


@dataclass(frozen=True, slots=True)
class Standing:
    """One contestant in one size: medians over the turns, and how many times the app's time and memory that is."""

    name: str
    size: int
    turns: int
    ms: float
    first_picture_s: float
    peak_memory_mb: float
    to_ours_time: float
    to_ours_memory: float


def ours(size: int, threads: int) -> tuple[Turn, dict[str, Any]]:
    """Let the app make pictures for a turn; return what it took, and the machine. Raises DataError if it cannot."""
    options = [
        "--model",
        MODELS[size],
        "--engines",
        "auto",
        "--seconds",
        SECONDS,
        "--threads",
        threads,
        "--json",
        STDOUT,
    ]
    command = module_command("avatarify_plus.bench", [*map(str, options)])
    report = _run(command)
    found, start = report["results"][0], report["results"][0]["start"]
    turn = Turn(found["speed"]["ms"]["picture"]["p50"], start["first_picture_s"], start["peak_memory_mb"])
    return turn, report["machine"]


def rival(name: str, checkout: Path, size: int, threads: int) -> Turn:
    """Let another's networks make pictures for a turn. Raises DataError if they cannot."""
    options = ["--size", size, "--pictures", PICTURES[name, size], "--threads", threads, "--began-at", time.time()]
    found = _run(module_command("export.field_rivals", [name, str(checkout), *map(str, options)]))
    return Turn(statistics.median(found["ms"]), found["first_picture_s"], found["peak_memory_mb"])


def _run(command: Sequence[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(), check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise DataError("".join(last).partition("error: ")[2] or f"{command[2]} ended with code {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(checkouts: dict[str, Path], rounds: int, threads: int) -> tuple[list[Standing], dict[str, Any]]:
    """Let everybody take turns, round by round; return the standings and the machine.

    Raises DataError if somebody cannot.
    """
    entries = [(name, size) for name, size in PICTURES if name in checkouts]
    sizes = sorted({size for _, size in entries})
    turns: dict[tuple[str, int], list[Turn]] = {}
    machine: dict[str, Any] = {}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for size in sizes:
            turn, machine = ours(size, threads)
            turns.setdefault((MODELS[size], size), []).append(turn)
        for name, size in entries:
            turns.setdefault((name, size), []).append(rival(name, checkouts[name], size, threads))
    medians = {key: Turn(*map(statistics.median, zip(*found, strict=True))) for key, found in turns.items()}
    standings = []
    for (name, size), found in sorted(medians.items(), key=lambda item: (item[0][1], item[1].ms)):
        base = medians[MODELS[size], size]
        to_ours = found.ms / base.ms, found.peak_memory_mb / base.peak_memory_mb
        standings.append(Standing(name, size, rounds, *found, *to_ours))
    return standings, machine


def table(standings: Sequence[Standing]) -> str:
    """Return what was measured, for people."""
    lines = ["| | px | ms a picture | pictures/s | times ours | first picture | peak memory | times ours |"]
    lines.append(f"|{'---|' * 8}")
    for found in standings:
        lines.append(
            f"| `{found.name}` | {found.size} | {found.ms:.1f} | {1000 / found.ms:.2f} | {found.to_ours_time:.1f} | "
            f"{found.first_picture_s:.1f} s | {found.peak_memory_mb:.0f} MB | {found.to_ours_memory:.1f} |"
        )
    return "\n".join(lines)


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = ProgramParser(prog="python export/field_benchmark.py", description=DESCRIPTION, examples=EXAMPLES)
    add = parser.add_argument
    add("--fomm", type=Path, metavar="FOLDER", help="checkout of the first order motion model")
    add("--liveportrait", type=Path, metavar="FOLDER", help="checkout of LivePortrait")
    add("--rounds", type=positive, default=3, metavar="N", help="turns of each (default: %(default)s)")
    add("--threads", type=positive, default=os.cpu_count() or 1, metavar="N", help="CPU threads (default: all cores)")
    add_json_option(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code, see `program.command_line`."""
    options = build_parser().parse_args(arguments)
    configure_logging(options.verbose)
    return run_program(lambda: benchmark(options))


def benchmark(options: argparse.Namespace) -> None:
    """Measure what the command line asks for and print it. Raises AvatarifyError."""
    require_json_file(options.json)
    given = {"fomm": options.fomm, "liveportrait": options.liveportrait}
    checkouts = {name: folder.absolute() for name, folder in given.items() if folder is not None}
    if not checkouts:
        raise ConfigError("nothing to compare with: give --fomm or --liveportrait, a folder of a checkout")
    standings, machine = measure(checkouts, options.rounds, options.threads)
    values = {"machine": machine, "standings": [asdict(found) for found in standings]}
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    text = f"{machine['cpu']}, {options.threads} threads; Python {machine['python']}; {packages}"
    print_report(f"{text}\n\n{table(standings)}", values, options.json)


if __name__ == "__main__":
    sys.exit(main())
