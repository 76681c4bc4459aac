"""What a process holds of the system: memory, descriptors, threads. Standard library only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from avatarify_plus.program.memory import MEGABYTE, memory_mb

UNKNOWN = float("nan")


class Footprint(NamedTuple):
    """What a process holds at a moment; not a number where the system does not say, as all but Linux.

    memory_mb: physical memory, in 10^6 bytes. unique_mb: the part of it that no other process shares. descriptors: open
    files, sockets and devices. threads: those of libraries, too.
    """

    memory_mb: float
    unique_mb: float
    descriptors: float
    threads: float


def footprint_of(process_id: int) -> Footprint:
    """Return what a process holds now."""
    process = Path(f"/proc/{process_id}")
    return Footprint(memory_mb(process_id), _unique_mb(process), _count(process / "fd"), _count(process / "task"))


def _unique_mb(process: Path) -> float:
    try:
        regions = (process / "smaps_rollup").read_text(encoding="utf-8")
    except OSError:
        return UNKNOWN
    found = re.findall(r"Private_(?:Clean|Dirty):\s+(\d+)", regions)
    return sum(map(int, found)) * 1024 / MEGABYTE if found else UNKNOWN


def _count(folder: Path) -> float:
    try:
        return len(list(folder.iterdir()))
    except OSError:
        return UNKNOWN
