"""Run the app for many minutes and watch it: memory, descriptors, threads, latency, speed and its warnings.

What follows `--` are the app's own options; the app runs as it is, in a separate process. With --switch it runs again
and again in one process instead, and everything is switched all the time: engines, models, cameras, avatars, keys,
recordings, virtual cameras. Pictures must come within seconds of each change.
"""

from __future__ import annotations

import math
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TextIO

import numpy as np

from avatarify_plus.bench.footprint import UNKNOWN, Footprint, footprint_of
from avatarify_plus.bench.stand_in import STAND_IN
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
WARM_UP_ROUNDS = 2
"""After so many minutes, or rounds of switching, everything was done once and libraries hold what they keep."""

MAX_GROWTH_MB = 20.0
"""The growth of memory after the warm-up, in 10^6 bytes, above which a run is judged to leak."""

MAX_LATE_RATIO = 1.2
"""How much slower the last quarter may be than the first."""

STATS = re.compile(r"([\d.]+) fps, latency (\d+) ms \(95 % within (\d+)\), (\d+) frames dropped, (.+)")
SWITCHED = re.compile(r"^switched (.+) in (\d+) ms$")
ROUND_DONE = re.compile(r"^round \d+ is done$")


class Second(NamedTuple):
    """What the app said of a second, frames a second and latency (p50, p95) of what computes, and what it then held."""

    fps: float
    median_ms: float
    late_ms: float
    computing: str
    footprint: Footprint


@dataclass(slots=True)
class Minute:
    """What was measured in a minute, once a second."""

    seconds: list[Second] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Return the medians of what was measured, by names; nothing if there were no pictures."""
        if not self.seconds:
            return {}
        fps, median_ms, late_ms, _, footprints = zip(*self.seconds, strict=True)
        values = np.column_stack([fps, median_ms, late_ms, footprints])
        names = ("fps", "median_ms", "late_ms", *Footprint._fields)
        return dict(zip(names, np.median(values, 0).tolist(), strict=True))

    def __str__(self) -> str:
        figures = self.figures()
        if not figures:
            return "no pictures"
        return ROW.format(**figures)


HEAD = "minute    fps   p50 ms   p95 ms  memory MB  unique MB  descriptors  threads"
ROW = (
    "{fps:6.1f} {median_ms:8.0f} {late_ms:8.0f} {memory_mb:10.1f} {unique_mb:10.1f} {descriptors:12.0f} {threads:8.0f}"
)


@dataclass(slots=True)
class Soak:
    """A whole run. complaints: the app's warnings and errors, but for those that were provoked. exit_code: the app's.

    switches_ms: how long pictures stayed away after each change, by its kind. rests: what the process held after each
    round of changes; None of a run that changes nothing. provoked_count: complaints about stand-ins.
    """

    minutes: list[Minute]
    complaints: list[str]
    exit_code: int
    switches_ms: dict[str, list[float]] = field(default_factory=dict)
    rests: list[Footprint] | None = None
    provoked_count: int = 0

    @property
    def ends(self) -> tuple[list[Footprint], list[Footprint]]:
        """What the process held in the beginning, after the warm-up, and in the end; nothing of too short a run.

        Of a run that changes nothing, in the first and the last minute; of another, after the first and the last
        quarter of its rounds.
        """
        if self.rests is None:
            steady = [minute for minute in self.minutes[WARM_UP_MINUTES:] if minute.seconds]
            ends = [[second.footprint for second in minute.seconds] for minute in steady]
        else:
            rests = self.rests[WARM_UP_ROUNDS:]
            count = math.ceil(len(rests) / 4)
            ends = [rests[:count], rests[-count:]] if len(rests) > 1 else []
        return (ends[0], ends[-1]) if ends else ([], [])

    @property
    def growth_mb(self) -> float:
        """By how much memory in the end exceeds that in the beginning, in 10^6 bytes, see `ends`."""
        first, last = self.ends
        if not first:
            return UNKNOWN
        return float(np.median([each.memory_mb for each in last]) - np.median([each.memory_mb for each in first]))

    @property
    def late_ratio(self) -> float:
        """By what factor p95 in the last quarter after the warm-up exceeds that in the first.

        Of each engine and model by itself, then the median.
        """
        seconds = [second for minute in self.minutes[WARM_UP_MINUTES:] for second in minute.seconds]
        count = len(seconds) // 4
        first, last = (_late_ms(part) for part in (seconds[:count], seconds[len(seconds) - count :]))
        ratios = [last[computing] / first[computing] for computing in first if computing in last and first[computing]]
        return float(np.median(ratios)) if ratios else UNKNOWN

    def verdict(self) -> list[str]:
        """Return what is wrong; nothing if all is well."""
        wrong = [f"complaint: {complaint}" for complaint in self.complaints]
        if math.isnan(self.growth_mb):
            enough = f"{WARM_UP_MINUTES} minutes" if self.rests is None else f"{WARM_UP_ROUNDS + 1} rounds"
            wrong.append(f"memory was not measured after warm-up: run for more than {enough}")
        elif self.growth_mb > MAX_GROWTH_MB:
            wrong.append(f"memory grew by {self.growth_mb:.1f} MB after warm-up, more than {MAX_GROWTH_MB:.0f}")
        for name in ("descriptors", "threads"):
            first, last = ([getattr(each, name) for each in end] for end in self.ends)
            if first and min(last) > max(first):
                wrong.append(f"{name} grew after warm-up, from {max(first):.0f} to {min(last):.0f}")
        if self.late_ratio > MAX_LATE_RATIO:
            wrong.append(f"p95 grew {self.late_ratio:.2f} times from the first quarter to the last")
        if self.exit_code:
            wrong.append(f"the app ended with exit code {self.exit_code}")
        return wrong

    def values(self) -> dict[str, Any]:
        """Return everything, JSON-ready: of what is not known, None."""
        switches = {kind: _spread_ms(times_ms) for kind, times_ms in sorted(self.switches_ms.items())}
        rests = None if self.rests is None else [_known(rest._asdict()) for rest in self.rests]
        overall = _known({"growth_mb": self.growth_mb, "late_ratio": self.late_ratio})
        minutes = [_known(minute.figures()) for minute in self.minutes]
        return overall | {
            "minutes": minutes,
            "switches_ms": switches,
            "rests": rests,
            "provoked": self.provoked_count,
            "wrong": self.verdict(),
        }

    def __str__(self) -> str:
        wrong = self.verdict()
        lines = []
        if not math.isnan(self.growth_mb):
            since = f"{WARM_UP_MINUTES} minutes" if self.rests is None else f"{WARM_UP_ROUNDS} rounds"
            lines.append(f"memory grew by {self.growth_mb:.1f} MB after the first {since}")
        if not math.isnan(self.late_ratio):
            lines.append(f"p95 of the last quarter is {self.late_ratio:.2f} times that of the first")
        for kind, times_ms in sorted(self.switches_ms.items()):
            spread = _spread_ms(times_ms)
            lines.append(
                f"{kind:24} {spread['count']:4} times, pictures after {spread['p50']:.0f} ms "
                f"(95 % within {spread['p95']:.0f}, longest {spread['max']:.0f})"
            )
        if self.rests:
            lines.append("held after each round: memory MB, unique MB, descriptors, threads")
            lines += [f"{number:6} {' '.join(f'{x:9.1f}' for x in rest)}" for number, rest in enumerate(self.rests, 1)]
            lines.append(f"{self.provoked_count} complaints were provoked")
        return "\n".join([*lines, *(wrong or ["nothing is wrong"])])


def _late_ms(seconds: Sequence[Second]) -> dict[str, float]:
    """Return the median of p95 by what computes."""
    late_ms: dict[str, list[float]] = {}
    for second in seconds:
        late_ms.setdefault(second.computing, []).append(second.late_ms)
    return {computing: float(np.median(values)) for computing, values in late_ms.items()}


def _spread_ms(times_ms: Sequence[float]) -> dict[str, float]:
    p50, p95, most = np.percentile(times_ms, [50, 95, 100]).tolist()
    return {"count": len(times_ms), "p50": p50, "p95": p95, "max": most}


def _known(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def soak(options: Sequence[str], minutes: float, progress: TextIO) -> Soak:
    """Run the app with these options for some minutes. progress: gets a line a minute, and what the app prints."""
    command = module_command("avatarify_plus", [*options, "--log-stats", "--seconds", str(minutes * MINUTE_S)])
    return _run(command, Soak([Minute()], [], 0), progress)


def soak_switching(minutes: float, seed: int, progress: TextIO) -> Soak:
    """Run the app again and again in one process for some minutes, and switch everything, in the order of a seed.

    progress: gets a line a minute.
    """
    options = ["--seconds", str(minutes * MINUTE_S), "--seed", str(seed)]
    command = module_command("avatarify_plus.bench.switching", options)
    return _run(command, Soak([Minute()], [], 0, rests=[]), progress)


def _run(command: Sequence[str], result: Soak, progress: TextIO) -> Soak:
    """Run a command to its end, or end it if this program is asked to end."""
    with subprocess.Popen(
        command, env=child_environment(), stdout=progress, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        try:
            _watch(process, result, progress)
        except BaseException:
            process.terminate()
            raise
    result.exit_code = process.returncode
    return result


def _watch(process: subprocess.Popen[str], result: Soak, progress: TextIO) -> None:
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_forward_lines, args=(process, lines), daemon=True).start()
    print(HEAD, file=progress, flush=True)
    start_s: float | None = None
    while (line := lines.get()) is not None:
        found = STATS.search(line)
        if found is None:
            _note(line, process.pid, result, progress)
            continue
        start_s = start_s or time.monotonic()
        if time.monotonic() - start_s >= MINUTE_S * len(result.minutes):
            _print_minute(result.minutes, progress)
            result.minutes.append(Minute())
        result.minutes[-1].seconds.append(_second(found, process.pid))
    _print_minute(result.minutes, progress)


def _forward_lines(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        lines.put(line.strip())
    lines.put(None)


def _note(line: str, process_id: int, result: Soak, progress: TextIO) -> None:
    """Note what a line says: a change that is done, a round, or a complaint."""
    switched = SWITCHED.search(line)
    if switched is not None:
        result.switches_ms.setdefault(switched[1], []).append(float(switched[2]))
    elif result.rests is not None and ROUND_DONE.search(line):
        result.rests.append(footprint_of(process_id))
    elif re.search("warning|error|Traceback", line):
        if result.rests is not None and STAND_IN in line:
            result.provoked_count += 1
        else:
            result.complaints.append(line)
            print(line, file=progress, flush=True)


def _second(found: re.Match[str], process_id: int) -> Second:
    return Second(float(found[1]), float(found[2]), float(found[3]), found[5], footprint_of(process_id))


def _print_minute(minutes: Sequence[Minute], progress: TextIO) -> None:
    print(f"{len(minutes):6} {minutes[-1]}", file=progress, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the app, print and judge; the exit code is FAILED if something is wrong."""
    return run_program(lambda: _main(arguments))


def _main(arguments: list[str] | None) -> int:
    parser = ProgramParser(
        prog="avatarify bench soak",
        usage="avatarify bench soak [--minutes MINUTES] (--switch | -- OPTION ...)",
        description=__doc__,
        examples=(
            "avatarify bench soak --minutes 30 -- --avatar face.jpg --camera clip.mp4 --live --output soak.mp4",
            "avatarify bench soak --minutes 30 --switch",
        ),
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="how long the app runs (default: %(default)s)")
    parser.add_argument("--switch", action="store_true", help="switch everything all the time")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the order in which --switch does (default: %(default)s)"
    )
    parser.add_argument("options", nargs="*", metavar="OPTION", help="of the app, after --")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    if not options.minutes > 0:
        parser.error(f"--minutes must be more than 0, found {options.minutes}")
    if options.switch == bool(options.options):
        parser.error("give either --switch or the app's options, after --")
    configure_logging(options.verbose)
    require_json_file(options.json)
    progress = sys.stderr if options.json == STDOUT else sys.stdout
    if options.switch:
        result = soak_switching(options.minutes, options.seed, progress)
    else:
        result = soak(options.options, options.minutes, progress)
    print_report(str(result), result.values(), options.json)
    return FAILED if result.verdict() else DONE


if __name__ == "__main__":
    sys.exit(main())
