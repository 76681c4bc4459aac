"""How old a picture is when it is sent: a fake camera that stamps its frames, a fake sink that looks at the clock.

    python -m avatarify_plus.bench.latency --seconds 30

A frame waits until the one before it is done, then it is computed. Newest wins: the wait is shorter than the interval
between two frames, so the whole must stay within one interval plus what computing takes.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from avatarify_plus.bench.bench import EXAMPLES
from avatarify_plus.bundle import open_bundle
from avatarify_plus.camera import LiveCamera, PictureReader, open_reader
from avatarify_plus.config import AppConfig
from avatarify_plus.engines import Engine, choose_engine
from avatarify_plus.errors import AvatarifyError
from avatarify_plus.session.avatars import require_photo
from avatarify_plus.session.session import open_session
from avatarify_plus.session.timing import PICTURE_STAGES, TurnStage
from avatarify_plus.sinks import Outputs
from avatarify_plus.types import Image

MAX_FRAMES = 300
"""How many frames of the clip the fake camera holds, decoded."""

WARM_UP = 30


class StampedCamera:
    """A camera that delivers at a steady rate, whatever becomes of its frames. See `PictureReader`.

    due_s: when the newest frame was due, on `time.perf_counter()`'s clock: the moment of exposure.
    """

    is_live = True
    name = "fake camera"

    def __init__(self, pictures: list[Image], rate: Fraction) -> None:
        """Play (H, W, 3) pictures to and fro."""
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
    """A sink that notes when it was sent which frame. See `Sink`."""

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
    """All in ms, by frame. latency: from exposure to sent. compute: making and sending the picture. interval: between
    two frames of the camera. sent_count, dropped_count: frames.
    """

    latency: np.ndarray
    compute: np.ndarray
    interval: float
    dropped_count: int

    @property
    def excess(self) -> np.ndarray:
        """By how much each frame's latency exceeds one interval plus its own compute; negative: within."""
        return self.latency - self.interval - self.compute

    def __str__(self) -> str:
        rows = (("capture to sent", self.latency), ("compute", self.compute), ("wait", self.latency - self.compute))
        lines = [f"{len(self.latency)} frames sent, {self.dropped_count} dropped, one every {self.interval:.1f} ms"]
        for name, values in rows:
            p50, p95, p99 = np.percentile(values, (50, 95, 99))
            lines.append(f"{name:16} p50 {p50:5.1f}  p95 {p95:5.1f}  p99 {p99:5.1f}  most {values.max():5.1f} ms")
        within = 100 * float((self.excess <= 0).mean())
        lines.append(
            f"within one interval plus compute: {within:.1f} % of the frames; the latest exceeds it by "
            f"{max(self.excess.max(), 0):.1f} ms"
        )
        return "\n".join(lines)


def measure(config: AppConfig, engine: Engine, pictures: list[Image], rate: Fraction, seconds: float) -> LatencyReport:
    """Let a fake camera drive the app's own loop for so long. Raises AvatarifyError."""
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
                if session.timing.frame_count == WARM_UP:
                    skipped_count = camera.skipped_count
                if session.timing.elapsed_s >= seconds and session.timing.frame_count > WARM_UP + 1:
                    stop.set()
            dropped_count = camera.skipped_count - skipped_count
    dues_s = np.array(reader.due_s)
    captured_s, sent_s = np.array(sink.arrivals_s[WARM_UP:]).T
    exposed_s = dues_s[np.searchsorted(dues_s, captured_s, side="right") - 1]
    return LatencyReport(1000 * (sent_s - exposed_s), np.array(compute_ms[WARM_UP:]), float(1000 / rate), dropped_count)


def _decoded(reader: PictureReader) -> list[Image]:
    """Return the first pictures of a clip."""
    pictures: list[Image] = []
    while len(pictures) < MAX_FRAMES and (picture := reader.read()) is not None:
        pictures.append(picture)
    reader.close()
    return pictures


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; the exit code is 1 after a failure told in one line."""
    parser = argparse.ArgumentParser(
        prog="latency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--avatar", type=Path, default=EXAMPLES / "avatar_2.jpg")
    parser.add_argument("--clip", default=str(EXAMPLES / "driver.mp4"), help="driver (default: %(default)s)")
    parser.add_argument("--rate", type=Fraction, default=Fraction(30), metavar="FPS", help="of the fake camera")
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args(arguments)
    config = AppConfig(avatar=(options.avatar,))
    try:
        require_photo(config.avatar)
        pictures = _decoded(open_reader(options.clip, 25.0))
        engine, reason = choose_engine(open_bundle(config.model))
        with engine:
            print(f"engine {reason}", file=sys.stderr)
            print(measure(config, engine, pictures, options.rate, options.seconds))
    except AvatarifyError as error:
        print(f"latency: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
