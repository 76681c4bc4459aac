"""How long the app takes to its first picture, and how much memory it needs: seen in a process of its own.

`measure_start` starts `python -m avatarify_plus.bench.startup`, which runs the app and reports.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from avatarify_plus.bench.contender import Contender
from avatarify_plus.bundle import open_bundle
from avatarify_plus.camera import FileSource, open_reader
from avatarify_plus.config import AppConfig
from avatarify_plus.errors import AvatarifyError, EngineError
from avatarify_plus.live import run
from avatarify_plus.types import Frame

FRAME_COUNT = 50
"""How many frames the app animates, so that memory has reached its peak."""

MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Start:
    """first_picture_s: from just before the process was started until the first picture was sent. peak_memory_mb: the
    most physical memory that the process ever held, in 10^6 bytes, after `frame_count` pictures.
    """

    first_picture_s: float
    peak_memory_mb: float
    frame_count: int


class Opening(FileSource):
    """A film's first frames; it knows when the first one was done with. See `FileSource`."""

    first_done_at = 0.0
    """Seconds since the epoch; 0 before."""

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield the first frames in order."""
        for frame in itertools.islice(super().frames(stop), FRAME_COUNT):
            yield frame
            if not frame.index:
                self.first_done_at = time.time()


def measure_start(contender: Contender, avatar: Path, clip: Path) -> Start:
    """Run the app as `run.py --avatar AVATAR --camera CLIP --output FILE` does, with a contender's engine and model.

    Python, imports, verifying the model, loading the engine, encoding the avatar: everything counts. Raises ModelError,
    and EngineError with the reason why the app fails.
    """
    folder = open_bundle(contender.model).folder.resolve()
    options = (avatar.resolve(), clip.resolve(), folder, contender.engine, contender.precision)
    command = [sys.executable, "-m", "avatarify_plus.bench.startup", *map(str, options)]
    root = Path(__file__).resolve().parents[2]
    spawned_at = time.time()
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode:
        last_line = (done.stderr.strip().splitlines() or [f"the app ended with code {done.returncode}"])[-1]
        raise EngineError(last_line.removeprefix("startup: error: "))
    report = json.loads(done.stdout.splitlines()[-1])
    return Start(report["first_done_at"] - spawned_at, report["peak_memory_mb"], report["frame_count"])


def peak_memory_mb() -> float:
    """Return the most physical memory that this process ever held, in 10^6 bytes."""
    if sys.platform == "linux":  # getrusage's peak includes that of the process that started this one
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        (peak,) = (line for line in lines if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024 / MEGABYTE
    if sys.platform == "win32":
        return _windows_peak() / MEGABYTE
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGABYTE  # macOS counts bytes


def _windows_peak() -> int:
    """Return PROCESS_MEMORY_COUNTERS.PeakWorkingSetSize."""
    import ctypes
    from ctypes import wintypes

    class Counters(ctypes.Structure):
        _fields_ = (
            ("size", wintypes.DWORD),
            ("faults", wintypes.DWORD),
            ("peak", ctypes.c_size_t),
            ("rest", ctypes.c_size_t * 7),
        )

    counters = Counters(size=ctypes.sizeof(Counters))
    kernel = ctypes.CDLL("kernel32")
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    kernel.K32GetProcessMemoryInfo.argtypes = (wintypes.HANDLE, ctypes.POINTER(Counters), wintypes.DWORD)
    kernel.K32GetProcessMemoryInfo(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.size)
    return int(counters.peak)


def main(arguments: list[str] | None = None) -> int:
    """Run the app and print what was seen as a line of JSON; the exit code is 1 after a failure told in one line."""
    parser = argparse.ArgumentParser(prog="startup", description=__doc__)
    for name in ("avatar", "clip", "model", "engine", "precision"):
        parser.add_argument(name)
    options = parser.parse_args(arguments)
    try:
        opening = Opening(open_reader(options.clip, 25.0))
        with tempfile.TemporaryDirectory() as folder, opening:
            config = AppConfig(
                avatar=(Path(options.avatar),),
                camera=options.clip,
                output=Path(folder) / "avatar.mp4",
                model=options.model,
                engine=options.engine,
                precision=options.precision,
            )
            summary = run(config, frame_source=opening)
    except AvatarifyError as error:
        print(f"startup: error: {error}", file=sys.stderr)
        return 1
    seen = {"first_done_at": opening.first_done_at, "peak_memory_mb": peak_memory_mb()}
    print(json.dumps(seen | {"frame_count": summary.frame_count}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
