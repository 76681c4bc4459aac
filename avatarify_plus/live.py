"""One run of the app: photos, a driver, and where the pictures go. Reads downward."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from avatarify_plus.bundle import open_bundle
from avatarify_plus.camera import CaptureRequest, FrameSource, open_frame_source
from avatarify_plus.config import AppConfig
from avatarify_plus.engines import Engine, choose_engine, open_engine
from avatarify_plus.errors import ConfigError, SinkError
from avatarify_plus.preview.window import PreviewWindow
from avatarify_plus.program.stop import stop_on_signal
from avatarify_plus.session.avatars import photos_in, require_photo
from avatarify_plus.session.preview_controller import PreviewController
from avatarify_plus.session.session import open_session
from avatarify_plus.session.status_line import StatusLine
from avatarify_plus.settings import KeptSettings
from avatarify_plus.sinks import Outputs
from avatarify_plus.sinks.recorder import Recorder
from avatarify_plus.sinks.virtual_camera import VirtualCamera
from avatarify_plus.types import Size

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did.

    skipped_count: frames that a newer one replaced. faceless_count: frames without a face. latency: from capture to
    sent; for a file processed frame by frame, the time from decoded to written. output: the file written, if any.
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


def run(
    config: AppConfig,
    engine: Engine | None = None,
    frame_source: FrameSource | None = None,
    stop: threading.Event | None = None,
    kept: KeptSettings | None = None,
) -> Summary:
    """Animate the avatar until the driver ends, the preview is closed, or `stop` is set.

    engine, frame_source: open ones, which stay open; None opens what the config names. stop: None takes SIGINT and
    SIGTERM. kept: what keys changed in earlier calls, for a live run, which adds what they change in this one; None for
    none of it. Everything else is closed on every way out, and a recording is finished. Raises the AvatarifyError that
    says what failed.
    """
    with ExitStack() as stack:
        stop = stop or stack.enter_context(stop_on_signal())

        # mistakes are reported before anything slow starts
        require_photo(config.avatar)
        if frame_source is None:
            request = CaptureRequest(config.camera_size, config.camera_fps, config.camera_format)
            frame_source = stack.enter_context(
                open_frame_source(config.camera, config.sequence_fps, config.live, request)
            )
        _require_destination(config, frame_source)
        if kept is not None and frame_source.is_live:
            config = kept.applied(config)

        # the avatars
        if engine is None:
            engine = stack.enter_context(_open_engine(config))
        logger.debug("model %s, engine %s on %s", config.model, engine.name, engine.device)
        logger.debug(
            "driver %s: %.2f fps, %s frames",
            frame_source.name,
            float(frame_source.rate),
            frame_source.count or "endless",
        )
        outputs = stack.enter_context(Outputs())
        session = stack.enter_context(open_session(config, engine, outputs, frame_source.is_live))

        # where the pictures go
        preview = _open_sinks(stack, outputs, config, frame_source, session.size)
        status_line = StatusLine(session.timing, frame_source, engine, config.log_stats)
        preview_controller = (
            PreviewController(preview, session, frame_source, outputs, status_line, stop)
            if preview is not None
            else None
        )
        if kept is not None and preview_controller is not None:
            stack.callback(lambda: kept.keep(preview_controller.changes))

        # one turn a frame; until the first one is done, the avatar rests
        if frame_source.is_live:
            session.idle(time.perf_counter())
        timing = session.timing
        timing.start()
        begun_s = time.perf_counter()
        for frame in tqdm(
            frame_source.frames(stop), total=frame_source.count, unit="frame", disable=frame_source.is_live
        ):
            due_s = time.perf_counter() + (1 / config.fps_limit if config.fps_limit and frame_source.is_live else 0)
            if frame is None:
                session.idle(time.perf_counter())
            else:
                session.turn(frame)
            status_line.update()
            if preview_controller is not None:
                preview_controller.refresh()
            if config.seconds is not None and time.perf_counter() - begun_s >= config.seconds:
                break
            stop.wait(max(due_s - time.perf_counter(), 0))

    return Summary(
        frame_count=timing.frame_count,
        skipped_count=frame_source.skipped_count,
        faceless_count=session.faceless_count,
        elapsed_s=timing.elapsed_s,
        fps=timing.fps,
        latency_p50_ms=timing.latency_ms(50),
        latency_p95_ms=timing.latency_ms(95),
        engine=engine.name,
        device=engine.device,
        output=config.output if timing.frame_count else None,
    )


def _open_engine(config: AppConfig) -> Engine:
    """Open the engine that the config names, and log which it is; "auto" also logs why it is not another."""
    bundle = open_bundle(config.model)
    if config.engine == "auto":
        engine, reason = choose_engine(bundle, precision=config.precision)
    else:
        engine = open_engine(bundle, config.engine, precision=config.precision)
        reason = f"{engine.name} on {engine.device}"
    logger.info("engine %s", reason)
    return engine


def _require_destination(config: AppConfig, frame_source: FrameSource) -> None:
    """Raise ConfigError if a driver file has nowhere to go or would be overwritten."""
    if config.output is None and not frame_source.is_live:
        raise ConfigError(
            f"{config.camera} is a file and has nowhere to go: add --output FILE.mp4 to write it frame by frame, "
            "or --live to play it to the preview and the virtual camera"
        )
    if config.output is not None and config.output.exists():
        avatars = [("--avatar", path) for path in photos_in(config.avatar)]
        for option, path in [("--camera", Path(config.camera)), *avatars]:
            if path.exists() and path.samefile(config.output):
                raise ConfigError(f"--output {config.output} is the file of {option}: choose another name")


def _open_sinks(
    stack: ExitStack, outputs: Outputs, config: AppConfig, frame_source: FrameSource, size: Size
) -> PreviewWindow | None:
    """Open what the config asks for and return the preview, if any; only a live driver is shown, a file is written.

    A preview or virtual camera that is missing costs a warning. Raises SinkError if the recording cannot be written, or
    if nothing at all is left.
    """
    if config.output is not None:
        outputs.add(Recorder(config.output, size, frame_source.rate, is_constant=not frame_source.is_live))
    if not frame_source.is_live:
        return None
    failures: list[SinkError] = []
    preview: PreviewWindow | None = None
    if config.preview:
        try:
            preview = PreviewWindow()
            stack.callback(preview.close)
            outputs.is_needed = False
        except SinkError as failure:
            failures.append(failure)
            logger.warning("%s; going on without it", failure)
    if config.virtual_camera:

        def open_camera() -> VirtualCamera:
            return VirtualCamera(size, frame_source.rate, config.virtual_camera_device)

        try:
            outputs.add(open_camera(), open_camera)
        except SinkError as failure:
            failures.append(failure)
            outputs.add_later(VirtualCamera.name, open_camera)
            logger.warning("%s; it is looked for while going on without it", failure)
    if preview is None and not len(outputs):
        raise SinkError("nothing is left to show pictures: " + "; ".join(map(str, failures)))
    return preview
