"""How long the app takes to its first picture, and how much memory it needs: measured in a separate process.

`measure_start` starts `python -m avatarify_plus.bench.startup`, which runs the app and reports.
"""

from __future__ import annotations

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
from avatarify_plus.camera import FileSource, open_clip
from avatarify_plus.config import AppConfig
from avatarify_plus.errors import EngineError
from avatarify_plus.live import run
from avatarify_plus.program.checkout import child_environment, module_command
from avatarify_plus.program.command_line import ProgramParser, configure_logging, run_program
from avatarify_plus.program.ending import NAME
from avatarify_plus.program.memory import peak_memory_mb
from avatarify_plus.types import Frame

FRAME_COUNT = 50
"""How many frames the app animates, so that memory has reached its peak."""


@dataclass(frozen=True, slots=True)
class Start:
    """How the app started.

    first_picture_s: from just before the process was started until the first picture was sent. peak_memory_mb: the
    maximum of physical memory that the process held until `frame_count` pictures were made, in 10^6 bytes.
    """

    first_picture_s: float
    peak_memory_mb: float
    frame_count: int


class TimedOpening(FileSource):
    """A clip's first FRAME_COUNT frames. See `FileSource`.

    first_done_at: when the app was done with the first frame, in seconds since the epoch; 0 before.
    """

    first_done_at = 0.0

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield the first frames in order."""
        for frame in itertools.islice(super().frames(stop), FRAME_COUNT):
            yield frame
            if not frame.index:
                self.first_done_at = time.time()


def measure_start(contender: Contender, avatar: Path, clip: Path) -> Start:
    """Run the app as `avatarify --avatar AVATAR --camera CLIP --output FILE` does, with a contender's engine and model.

    Python, imports, verifying the model, loading the engine, encoding the avatar: everything counts. Raises ModelError,
    and EngineError with the reason why the app fails.
    """
    folder = open_bundle(contender.model).folder.resolve()
    with tempfile.TemporaryDirectory() as output:  # this process's, which outlives one that is ended
        options = (avatar.resolve(), clip.resolve(), folder, contender.engine, contender.precision, output)
        command = module_command("avatarify_plus.bench.startup", [str(option) for option in options])
        spawned_at = time.time()
        done = subprocess.run(
            command,
            env=child_environment(),
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    if done.returncode:
        last_line = (done.stderr.strip().splitlines() or [f"the app ended with code {done.returncode}"])[-1]
        raise EngineError(last_line.removeprefix(f"{NAME}: error: "))
    report = json.loads(done.stdout.splitlines()[-1])
    return Start(report["first_done_at"] - spawned_at, report["peak_memory_mb"], report["frame_count"])


def main(arguments: list[str] | None = None) -> int:
    """Run the app, print what was measured as a line of JSON, and return the exit code."""
    return run_program(lambda: _main(arguments))


def _main(arguments: list[str] | None) -> None:
    parser = ProgramParser(prog="python -m avatarify_plus.bench.startup", description=__doc__)
    for name in ("avatar", "clip", "model", "engine", "precision", "folder"):
        parser.add_argument(name)
    options = parser.parse_args(arguments)
    configure_logging(options.verbose)
    opening = TimedOpening(open_clip(options.clip, 25.0))
    with opening:
        config = AppConfig(
            avatar=(Path(options.avatar),),
            camera=options.clip,
            output=Path(options.folder) / "avatar.mp4",
            model=options.model,
            engine=options.engine,
            precision=options.precision,
        )
        summary = run(config, frame_source=opening)
    seen = {"first_done_at": opening.first_done_at, "peak_memory_mb": peak_memory_mb()}
    print(json.dumps(seen | {"frame_count": summary.frame_count}))


if __name__ == "__main__":
    sys.exit(main())
