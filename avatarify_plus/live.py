"""One run of the app: a photo, a driver, and where the pictures go. Reads downward."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from avatarify_plus.bundle import open_bundle
from avatarify_plus.camera import Driver, open_driver
from avatarify_plus.config import AppConfig
from avatarify_plus.engines import Engine, choose_engine, open_engine
from avatarify_plus.errors import ConfigError, SinkError
from avatarify_plus.images import load_photo
from avatarify_plus.preview import Preview
from avatarify_plus.show import open_show
from avatarify_plus.sinks import Outputs, Sink
from avatarify_plus.sinks.recorder import Recorder
from avatarify_plus.sinks.virtual_camera import VirtualCamera

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did.

    skipped_count: frames that a newer one replaced. faceless_count: frames without a face, which repeat the last
    picture. latency: from capture to sent; for a file processed frame by frame, the time from decoded to written.
    output: the file written, if any.
    """

    frame_count: int
    skipped_count: int
    faceless_count: int
    elapsed_s: float
    fps: float
    latency_p50_ms: float
    latency_p95_ms: float
    engine: str
    device: str
    output: Path | None


def run(config: AppConfig, engine: Engine | None = None, driver: Driver | None = None) -> Summary:
    """Animate the avatar until the driver ends, the preview is closed, or SIGINT or SIGTERM asks to stop.

    engine, driver: open ones, which stay open; None opens what the config names. Everything else is closed on every way
    out, and a recording is finished. Raises the AvatarifyError that says what failed.
    """
    with ExitStack() as stack:
        stop = stack.enter_context(_stop_on_signal())

        # what was asked for wrongly is told before anything slow starts
        photo = load_photo(config.avatar)
        if driver is None:
            driver = stack.enter_context(open_driver(config.camera, config.sequence_fps, config.live))
        _require_destination(config, driver)

        # the avatar
        if engine is None:
            engine = stack.enter_context(_open_engine(config))
        logger.debug("model %s, engine %s on %s", config.model, engine.name, engine.device)
        logger.debug("driver %s: %.2f fps, %s frames", driver.name, float(driver.rate), driver.count or "endless")
        outputs = stack.enter_context(Outputs())
        show = stack.enter_context(open_show(config, engine, photo, outputs, driver.is_live))

        # where the pictures go
        _open_sinks(outputs, config, driver, engine.config.image_size, stop)

        # one turn a frame
        timing = show.timing
        timing.start()
        for frame in tqdm(driver.frames(stop), total=driver.count, unit="frame", disable=driver.is_live):
            show.turn(frame)

    return Summary(
        frame_count=timing.frame_count,
        skipped_count=driver.skipped_count,
        faceless_count=show.faceless_count,
        elapsed_s=timing.elapsed_s,
        fps=timing.fps,
        latency_p50_ms=timing.latency_ms(50),
        latency_p95_ms=timing.latency_ms(95),
        engine=engine.name,
        device=engine.device,
        output=config.output if timing.frame_count else None,
    )


def _open_engine(config: AppConfig) -> Engine:
    """Open the engine that the config names, and tell which it is; "auto" also tells why it is not another."""
    bundle = open_bundle(config.model)
    if config.engine == "auto":
        engine, reason = choose_engine(bundle, precision=config.precision)
    else:
        engine = open_engine(bundle, config.engine, precision=config.precision)
        reason = f"{engine.name} on {engine.device}"
    logger.info("engine %s", reason)
    return engine


def _require_destination(config: AppConfig, driver: Driver) -> None:
    """Raise ConfigError if a driver file has nowhere to go or would be overwritten."""
    if config.output is None and not driver.is_live:
        raise ConfigError(
            f"{config.camera} is a file and has nowhere to go: add --output FILE.mp4 to write it frame by frame, "
            "or --live to play it to the preview and the virtual camera"
        )
    if config.output is not None and config.output.exists():
        for option, path in (("--camera", Path(config.camera)), ("--avatar", config.avatar)):
            if path.exists() and path.samefile(config.output):
                raise ConfigError(f"--output {config.output} is the file of {option}: choose another name")


def _open_sinks(outputs: Outputs, config: AppConfig, driver: Driver, size_px: int, stop: threading.Event) -> None:
    """Open what the config asks for; only a live driver is shown, a film is written.

    A preview or virtual camera that is missing costs a warning. Raises SinkError if the recording cannot be written, or
    if nothing at all is left.
    """
    if config.output is not None:
        outputs.add(Recorder(config.output, size_px, driver.rate, is_constant=not driver.is_live))
    if not driver.is_live:
        return
    openers: list[Callable[[], Sink]] = []
    if config.preview:
        openers.append(lambda: Preview(size_px, stop.set))
    if config.virtual_camera:
        openers.append(lambda: VirtualCamera(size_px, driver.rate))
    failures: list[str] = []
    for open_sink in openers:
        try:
            outputs.add(open_sink())
        except SinkError as failure:
            failures.append(str(failure))
    if not len(outputs):
        raise SinkError("nothing is left to show pictures: " + "; ".join(failures))
    for message in failures:
        logger.warning("%s; going on without it", message)


@contextlib.contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into an event, so that a run ends in order; the second one acts as ever."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request(number: int, frame: FrameType | None) -> None:
        stop.set()
        restore()

    for number in before:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        restore()
