"""Measure how old a picture is when it is sent: a fake camera notes when each frame was due, a fake sink when it came.

A frame waits until the one before it is done, then it is computed. Newest wins: the wait is shorter than the interval
between two frames, so the whole must stay within one interval plus what computing takes.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from avatarify_plus.bundle import open_bundle
from avatarify_plus.camera import LiveCamera, PictureReader, open_reader
from avatarify_plus.config import AppConfig
from avatarify_plus.engines import Engine, choose_engine
from avatarify_plus.program.command_line import (
    ProgramParser,
    add_json_option,
    configure_logging,
    print_report,
    require_json_file,
    run_program,
)
from avatarify_plus.program.examples import example
from avatarify_plus.program.option_fields import parse_rate
from avatarify_plus.session.avatars import require_photo
from avatarify_plus.session.session import open_session
from avatarify_plus.session.timing import PICTURE_STAGES, TurnStage
from avatarify_plus.sinks import Outputs
from avatarify_plus.types import Image

MAX_FRAMES = 300
"""How many frames of the clip the fake camera holds, decoded."""

WARM_UP_COUNT = 30
"""How many frames at the beginning do not count."""

SEQUENCE_FPS = 25.0
"""The rate that folders of pictures are opened with, since they have none; the fake camera plays at its own."""


class StampedCamera:
    """A camera with a steady rate, however fast its frames are taken. See `PictureReader`.

    due_s: when the newest frame was due, on `time.perf_counter()`'s clock: the moment of exposure.
    """

    is_live = True
    name = "fake camera"

    def __init__(self, pictures: list[Image], rate: Fraction) -> None:
        """Play (H, W, 3) uint8 RGB pictures forwards and backwards."""
        self.rate = rate
        self.count: int | None = None
        self.due_s: list[float] = []
        self._pictures = pictures + pictures[-2:0:-1]
        self._start_s = 0.0

    def read(self) -> Image:
        """Return the next picture when it is due."""
        index = len(self.due_s)
        if not index:
            self._start_s = time.perf_counter()
        due_s = self._start_s + float(index / self.rate)
        time.sleep(max(due_s - time.perf_counter(), 0))
        self.due_s.append(due_s)
        return self._pictures[index % len(self._pictures)]

    def close(self) -> None:
        """Do nothing."""


class StampedSink:
    """A sink that notes when each frame came. See `Sink`.

    arrivals_s: pairs of the frame's own time and the time it came, on `time.perf_counter()`'s clock.
    """

    name = "fake sink"

    def __init__(self) -> None:
        self.arrivals_s: list[tuple[float, float]] = []

    def send(self, image: Image, time_s: float) -> None:
        """Note the frame's time and the time now."""
        self.arrivals_s.append((time_s, time.perf_counter()))

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class LatencyReport:
    """What was measured, frame by frame.

    latency_ms: (N,), from exposure to sent. compute_ms: (N,), making and sending the picture. interval_ms: between two
    frames of the camera. dropped_count: frames that a newer one replaced.
    """

    latency_ms: np.ndarray
    compute_ms: np.ndarray
    interval_ms: float
    dropped_count: int

    @property
    def excess_ms(self) -> np.ndarray:
        """By how much each frame's latency exceeds one interval plus its own compute; negative: within."""
        return self.latency_ms - self.interval_ms - self.compute_ms

    def values(self) -> dict[str, Any]:
        """Return the report JSON-ready: percentiles in ms, counts, and the share of frames that were in time."""
        parts = {"latency": self.latency_ms, "compute": self.compute_ms, "wait": self.latency_ms - self.compute_ms}
        percentiles = {
            name: {f"p{percent}": float(np.percentile(values, percent)) for percent in (50, 95, 99, 100)}
            for name, values in parts.items()
        }
        return {
            "frames": len(self.latency_ms),
            "dropped": self.dropped_count,
            "interval_ms": self.interval_ms,
            "ms": percentiles,
            "within_interval_plus_compute": float((self.excess_ms <= 0).mean()),
        }

    def __str__(self) -> str:
        rows = (
            ("capture to sent", self.latency_ms),
            ("compute", self.compute_ms),
            ("wait", self.latency_ms - self.compute_ms),
        )
        lines = [
            f"{len(self.latency_ms)} frames sent, {self.dropped_count} dropped, one every {self.interval_ms:.1f} ms"
        ]
        for name, values in rows:
            p50, p95, p99 = np.percentile(values, (50, 95, 99))
            lines.append(f"{name:16} p50 {p50:5.1f}  p95 {p95:5.1f}  p99 {p99:5.1f}  max {values.max():5.1f} ms")
        within = 100 * float((self.excess_ms <= 0).mean())
        lines.append(
            f"within one interval plus compute: {within:.1f} % of the frames; the latest exceeds it by "
            f"{max(self.excess_ms.max(), 0):.1f} ms"
        )
        return "\n".join(lines)


def measure(config: AppConfig, engine: Engine, pictures: list[Image], rate: Fraction, seconds: float) -> LatencyReport:
    """Let a fake camera drive the app's own loop for some seconds. Raises AvatarifyError."""
    reader, sink, stop = StampedCamera(pictures, rate), StampedSink(), threading.Event()
    compute_ms: list[float] = []
    skipped_count = 0
    with Outputs() as outputs, LiveCamera(reader) as camera:
        outputs.add(sink)
        with open_session(config, engine, outputs, is_live=True) as session:
            session.timing.start()
            for frame in camera.frames(stop):
                if frame is None:
                    continue
                session.turn(frame)
                compute_ms.append(session.timing.newest_ms(*PICTURE_STAGES, TurnStage.SEND))
                if session.timing.frame_count == WARM_UP_COUNT:
                    skipped_count = camera.skipped_count
                if session.timing.elapsed_s >= seconds and session.timing.frame_count > WARM_UP_COUNT + 1:
                    stop.set()
            dropped_count = camera.skipped_count - skipped_count
    dues_s = np.array(reader.due_s)
    captured_s, sent_s = np.array(sink.arrivals_s[WARM_UP_COUNT:]).T
    exposed_s = dues_s[np.searchsorted(dues_s, captured_s, side="right") - 1]
    return LatencyReport(
        1000 * (sent_s - exposed_s), np.array(compute_ms[WARM_UP_COUNT:]), float(1000 / rate), dropped_count
    )


def _decoded(reader: PictureReader) -> list[Image]:
    """Return the first pictures of a clip."""
    pictures: list[Image] = []
    while len(pictures) < MAX_FRAMES and (picture := reader.read()) is not None:
        pictures.append(picture)
    reader.close()
    return pictures


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    return run_program(lambda: _main(arguments))


def _main(arguments: list[str] | None) -> None:
    parser = ProgramParser(
        prog="avatarify bench latency",
        description=__doc__,
        examples=("avatarify bench latency --seconds 30", "python -m avatarify_plus.bench.latency --rate 60"),
    )
    parser.add_argument(
        "--avatar", type=Path, metavar="PHOTO", default=example("avatar_2.jpg"), help="photo (default: %(default)s)"
    )
    parser.add_argument("--clip", default=str(example("driver.mp4")), help="driver (default: %(default)s)")
    parser.add_argument(
        "--rate", type=parse_rate, default=Fraction(30), metavar="FPS", help="of the fake camera (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to measure (default: %(default)s)")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    if not options.rate >= 1:
        parser.error(f"--rate must be at least 1, found {options.rate}")
    if not options.seconds > 0:
        parser.error(f"--seconds must be more than 0, found {options.seconds}")
    configure_logging(options.verbose)
    require_json_file(options.json)
    config = AppConfig(avatar=(options.avatar,))
    require_photo(config.avatar)
    pictures = _decoded(open_reader(options.clip, SEQUENCE_FPS))
    engine, reason = choose_engine(open_bundle(config.model))
    with engine:
        print(f"engine {reason}", file=sys.stderr)
        report = measure(config, engine, pictures, options.rate, options.seconds)
    print_report(str(report), report.values(), options.json)


if __name__ == "__main__":
    sys.exit(main())
