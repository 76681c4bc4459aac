"""Run the app for many minutes and watch it: memory, latency, speed and its warnings, minute by minute.

What follows `--` are the app's own options; the app runs as it is, in a separate process.
"""

from __future__ import annotations

import math
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TextIO

import numpy as np

from avatarify_plus.bench.memory import memory_mb
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
from avatarify_plus.program.ending import DONE, FAILED

MINUTE_S = 60.0
WARM_UP_MINUTES = 2
MAX_GROWTH_MB = 20.0
"""The growth of memory after the warm-up, in 10^6 bytes, above which a run is judged to leak."""

STATS = re.compile(r"([\d.]+) fps, latency (\d+) ms \(95 % within (\d+)\), (\d+) frames dropped")


@dataclass(slots=True)
class Minute:
    """What was measured in a minute, once a second: frames a second, latency (p50, p95), memory in 10^6 bytes."""

    fps: list[float] = field(default_factory=list)
    median_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.fps:
            return "no pictures"
        fps, median_ms, late_ms, memory_mb = map(np.median, (self.fps, self.median_ms, self.late_ms, self.memory_mb))
        return f"{fps:6.1f} {median_ms:8.0f} {late_ms:8.0f} {memory_mb:10.1f}"


@dataclass(slots=True)
class Soak:
    """A whole run. complaints: the app's warnings and errors. exit_code: the app's."""

    minutes: list[Minute]
    complaints: list[str]
    exit_code: int

    @property
    def growth_mb(self) -> float:
        """By how much the last minute's memory exceeds that of the first one after the warm-up, in 10^6 bytes."""
        steady = [minute for minute in self.minutes[WARM_UP_MINUTES:] if minute.memory_mb]
        return float(np.median(steady[-1].memory_mb) - np.median(steady[0].memory_mb)) if steady else float("nan")

    def verdict(self) -> list[str]:
        """Return what is wrong; nothing if all is well."""
        wrong = [f"complaint: {complaint}" for complaint in self.complaints]
        if math.isnan(self.growth_mb):
            wrong.append(f"memory was not measured after warm-up: run for more than {WARM_UP_MINUTES} minutes")
        elif self.growth_mb > MAX_GROWTH_MB:
            wrong.append(f"memory grew by {self.growth_mb:.1f} MB after warm-up, more than {MAX_GROWTH_MB:.0f}")
        if self.exit_code:
            wrong.append(f"the app ended with exit code {self.exit_code}")
        return wrong


def soak(options: Sequence[str], minutes: float, progress: TextIO) -> Soak:
    """Run the app with these options for some minutes. progress: gets a line a minute, and what the app prints."""
    command = module_command("avatarify_plus", [*options, "--log-stats", "--seconds", str(minutes * MINUTE_S)])
    environment = child_environment()
    with subprocess.Popen(
        command, env=environment, stdout=progress, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        result = _watch(process, progress)
    result.exit_code = process.returncode
    return result


def _watch(process: subprocess.Popen[str], progress: TextIO) -> Soak:
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_forward_lines, args=(process, lines), daemon=True).start()
    result = Soak([Minute()], [], 0)
    print("minute    fps   p50 ms   p95 ms  memory MB", file=progress, flush=True)
    start_s: float | None = None
    while (line := lines.get()) is not None:
        found = STATS.search(line)
        if found is None:
            if re.search("warning|error", line):
                result.complaints.append(line)
                print(line, file=progress)
            continue
        start_s = start_s or time.monotonic()
        if time.monotonic() - start_s >= MINUTE_S * len(result.minutes):
            _print_minute(result.minutes, progress)
            result.minutes.append(Minute())
        _add(result.minutes[-1], found, memory_mb(process.pid))
    _print_minute(result.minutes, progress)
    return result


def _forward_lines(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        lines.put(line.strip())
    lines.put(None)


def _add(minute: Minute, found: re.Match[str], memory_mb: float) -> None:
    minute.fps.append(float(found[1]))
    minute.median_ms.append(float(found[2]))
    minute.late_ms.append(float(found[3]))
    minute.memory_mb.append(memory_mb)


def _print_minute(minutes: Sequence[Minute], progress: TextIO) -> None:
    print(f"{len(minutes):6} {minutes[-1]}", file=progress, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the app, print and judge; the exit code is FAILED if something is wrong."""
    return run_program(lambda: _main(arguments))


def _main(arguments: list[str] | None) -> int:
    parser = ProgramParser(
        prog="avatarify bench soak",
        description=__doc__,
        examples=("avatarify bench soak --minutes 30 -- --avatar face.jpg --camera clip.mp4 --live --output soak.mp4",),
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="how long the app runs (default: %(default)s)")
    parser.add_argument("options", nargs="+", metavar="OPTION", help="of the app, after --")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    if not options.minutes > 0:
        parser.error(f"--minutes must be more than 0, found {options.minutes}")
    configure_logging(options.verbose)
    require_json_file(options.json)
    result = soak(options.options, options.minutes, sys.stderr if options.json == STDOUT else sys.stdout)
    wrong = result.verdict()
    lines = wrong or ["nothing is wrong"]
    if not math.isnan(result.growth_mb):
        lines = [f"memory grew by {result.growth_mb:.1f} MB after the first {WARM_UP_MINUTES} minutes", *lines]
    minutes = [{name: float(np.median(v)) if v else None for name, v in asdict(m).items()} for m in result.minutes]
    growth_mb = None if math.isnan(result.growth_mb) else result.growth_mb
    print_report("\n".join(lines), {"minutes": minutes, "growth_mb": growth_mb, "wrong": wrong}, options.json)
    return FAILED if wrong else DONE


if __name__ == "__main__":
    sys.exit(main())
