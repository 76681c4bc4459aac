"""Run the app for long and watch it: memory, latency, speed, and what it complains about, minute by minute.

    python -m avatarify_plus.bench.soak --minutes 30 -- --avatar face.jpg --camera clip.mp4 --live --output soak.mp4

What follows `--` are run.py's own options; run.py is started as it is, in a process of its own.
"""

from __future__ import annotations

import argparse
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
MINUTE_S = 60.0
WARM_UP_MINUTES = 2
MEGABYTE = 1e6
MAX_GROWTH_MB = 20.0
STATS = re.compile(r"([\d.]+) fps, latency (\d+) ms \(95 % within (\d+)\), (\d+) frames dropped")


@dataclass(slots=True)
class Minute:
    """What was seen in a minute, once a second: frames a second, latency in ms (p50, p95), memory in 10^6 bytes."""

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
    """A whole run. complaints: the app's warnings and errors. exit_code: run.py's."""

    minutes: list[Minute]
    complaints: list[str]
    exit_code: int

    @property
    def growth_mb(self) -> float:
        """Memory of the last minute over that of the first one after warm-up."""
        steady = [minute for minute in self.minutes[WARM_UP_MINUTES:] if minute.memory_mb]
        return float(np.median(steady[-1].memory_mb) - np.median(steady[0].memory_mb)) if steady else float("nan")

    def verdict(self) -> list[str]:
        """Return what is wrong; nothing if all is well."""
        wrong = [f"complaint: {complaint}" for complaint in self.complaints]
        if not self.growth_mb <= MAX_GROWTH_MB:
            wrong.append(f"memory grew by {self.growth_mb:.1f} MB after warm-up, more than {MAX_GROWTH_MB:.0f}")
        if self.exit_code:
            wrong.append(f"run.py ended with exit code {self.exit_code}")
        return wrong


def soak(options: Sequence[str], minutes: float) -> Soak:
    """Run the app with these options of run.py for so long, printing a line a minute."""
    command = [sys.executable, "run.py", *options, "--log-stats", "--seconds", str(minutes * MINUTE_S)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        result = _watch(process)
    result.exit_code = process.returncode
    return result


def _watch(process: subprocess.Popen[str]) -> Soak:
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_pass_on, args=(process, lines), daemon=True).start()
    result = Soak([Minute()], [], 0)
    print("minute    fps   p50 ms   p95 ms  memory MB")
    start_s: float | None = None
    while (line := lines.get()) is not None:
        found = STATS.search(line)
        if found is None:
            if re.search("warning|error", line):
                result.complaints.append(line)
                print(line)
            continue
        start_s = start_s or time.monotonic()
        if time.monotonic() - start_s >= MINUTE_S * len(result.minutes):
            _tell(result.minutes)
            result.minutes.append(Minute())
        _note(result.minutes[-1], found, _memory_mb(process.pid))
    _tell(result.minutes)
    return result


def _pass_on(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        lines.put(line.strip())
    lines.put(None)


def _note(minute: Minute, found: re.Match[str], memory_mb: float) -> None:
    minute.fps.append(float(found[1]))
    minute.median_ms.append(float(found[2]))
    minute.late_ms.append(float(found[3]))
    minute.memory_mb.append(memory_mb)


def _tell(minutes: Sequence[Minute]) -> None:
    print(f"{len(minutes):6} {minutes[-1]}", flush=True)


def _memory_mb(process_id: int) -> float:
    """Return the physical memory of a process in 10^6 bytes; not a number where the system does not tell."""
    try:
        status = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8")
    except OSError:
        return float("nan")
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found[1]) * 1024 / MEGABYTE if found else float("nan")


def main(arguments: list[str] | None = None) -> int:
    """Run, print and judge; the exit code is 1 if something is wrong."""
    parser = argparse.ArgumentParser(
        prog="soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("options", nargs="+", metavar="OPTION", help="of run.py, after --")
    wanted = parser.parse_args(arguments)
    result = soak(wanted.options, wanted.minutes)
    wrong = result.verdict()
    print(f"memory grew by {result.growth_mb:.1f} MB after the first {WARM_UP_MINUTES} minutes")
    print("\n".join(wrong) or "nothing to complain about")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
