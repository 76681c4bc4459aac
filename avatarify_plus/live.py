"""One run of the app: photos, a driver, and where the pictures go. Reads downward."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from avatarify_plus.bundle import open_bundle
from avatarify_plus.camera import CaptureRequest, FileSource, FrameSource, open_frame_source
from avatarify_plus.config import AppConfig
from avatarify_plus.engines import Engine, choose_engine, open_engine
from avatarify_plus.errors import CameraError, ConfigError, RemoteError, SinkError, SourceError
from avatarify_plus.preview.window import PreviewWindow
from avatarify_plus.program.addresses import shown
from avatarify_plus.program.stop import stop_on_signal
from avatarify_plus.session.avatars import photos_in, require_photo
from avatarify_plus.session.driven import Driven
from avatarify_plus.session.preview_controller import PreviewController
from avatarify_plus.session.session import Session, look_ahead, open_session
from avatarify_plus.session.status_line import StatusLine
from avatarify_plus.settings import KeptSettings
from avatarify_plus.sinks import Outputs
from avatarify_plus.sinks.destination import require_folder, reserve_film
from avatarify_plus.sinks.own_file import OwnFile
from avatarify_plus.sinks.picture_folder import PictureFolder
from avatarify_plus.sinks.recorder import Recorder
from avatarify_plus.sinks.virtual_camera import VirtualCamera
from avatarify_plus.types import Frame, Size

logger = logging.getLogger(__name__)

LOOKED_INTO, LOOKED_AT = 3000, 600
"""So many frames of a driver's file are read to find a neutral face, and at most so many of them looked at."""


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


NOTHING_DONE = Summary(0, 0, 0, 0.0, 0.0, 0.0, 0.0, "", "", None)
"""What a run did that was stopped before its first frame."""


class Viewer(Protocol):
    """Sees the session after every turn of the loop, in the loop's thread, and may act on it."""

    def refresh(self) -> None:
        """Look at this moment."""
        ...


Watch = Callable[[Session, FrameSource, Outputs, StatusLine, threading.Event], Viewer]
"""Make a viewer of a run that is about to begin; the event ends the run."""


def run(
    config: AppConfig,
    engine: Engine | None = None,
    frame_source: FrameSource | None = None,
    stop: threading.Event | None = None,
    kept: KeptSettings | None = None,
    watch: Watch | None = None,
) -> Summary:
    """Animate the avatar until the driver ends, the preview is closed, or `stop` is set.

    engine, frame_source: open ones, which stay open; None opens what the config names. stop: None takes SIGINT and
    SIGTERM. kept: what keys changed in earlier calls, for a live run, which adds what they change in this one; None for
    none of it. watch: makes what sees every moment, instead of the preview window. Everything else is closed on every
    way out, and a recording is finished. Raises the AvatarifyError that says what failed.
    """
    if config.makes_films and frame_source is None:
        return _make_films(config, engine, stop)
    with ExitStack() as stack:
        stop = stop or stack.enter_context(stop_on_signal())

        # mistakes are reported before anything slow starts
        require_photo(config.avatar)
        if config.remote is not None:
            _require_remote(config.remote)
        is_own_source = frame_source is None
        if frame_source is None:
            request = CaptureRequest(config.camera_size, config.camera_fps, config.camera_format)
            try:
                opened = open_frame_source(config.camera, config.sequence_fps, config.live, request, stop)
            except CameraError:
                if stop.is_set():
                    return NOTHING_DONE
                raise
            frame_source = stack.enter_context(opened)
        _require_destination(config, frame_source)
        file = _reserve_file(config, frame_source.is_live)
        if file is not None:
            stack.enter_context(file)
        if kept is not None and frame_source.is_live:
            config = kept.applied(config)

        # the avatars, here or on another machine
        logger.debug(
            "driver %s: %.2f fps, %s frames",
            frame_source.name,
            float(frame_source.rate),
            frame_source.count or "endless",
        )
        outputs = stack.enter_context(Outputs())
        session: Driven
        if config.remote is not None:
            session, frame_source = stack.enter_context(_open_remote(config, outputs, frame_source))
            computing, device = "remote", shown(config.remote)
        else:
            if engine is None and not stop.is_set():
                engine = stack.enter_context(open_wanted_engine(config))
            if engine is None or stop.is_set():
                return NOTHING_DONE
            logger.debug("model %s, engine %s on %s", config.model, engine.name, engine.device)
            own = stack.enter_context(open_session(config, engine, outputs, frame_source.is_live))
            session, computing, device = own, f"{engine.name} {engine.precision}", engine.device

            # the whole of a file can be seen first
            if is_own_source and not frame_source.is_live and config.search and config.motion == "relative":
                _look_ahead(config, own, engine.config.image_size, stop)

        # where the pictures go
        recording = _open_recording(config, frame_source, session.size, file)
        if recording is not None:
            outputs.add(recording)
        outputs.is_needed = watch is None
        preview = _open_views(stack, outputs, config, frame_source, session.size) if frame_source.is_live else None
        status_line = StatusLine(session.timing, _skips_of(frame_source), computing, config.log_stats)
        viewer: Viewer | None = None
        if watch is not None:
            assert isinstance(session, Session), "who watches has an engine here"
            viewer = watch(session, frame_source, outputs, status_line, stop)
        elif preview is not None:
            viewer = controller = PreviewController(preview, session, frame_source, outputs, status_line, stop)
            if kept is not None:
                stack.callback(lambda: kept.keep(controller.changes))

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
            if viewer is not None:
                viewer.refresh()
            if config.seconds is not None and time.perf_counter() - begun_s >= config.seconds:
                break
            stop.wait(max(due_s - time.perf_counter(), 0))

        # what a file turned out to be
        if not frame_source.is_live:
            if frame_source.trouble is not None:
                logger.warning("%s", frame_source.trouble)
            if session.faceless_count == timing.frame_count > 0 and not stop.is_set():
                if recording is not None:
                    recording.discard()
                raise CameraError(_no_face(config))

    return Summary(
        frame_count=timing.frame_count,
        skipped_count=frame_source.skipped_count,
        faceless_count=session.faceless_count,
        elapsed_s=timing.elapsed_s,
        fps=timing.fps,
        latency_p50_ms=timing.latency_ms(50),
        latency_p95_ms=timing.latency_ms(95),
        engine=computing.partition(" ")[0],
        device=device,
        output=config.output if timing.frame_count else None,
    )


def _skips_of(frame_source: FrameSource) -> Callable[[], int]:
    return lambda: frame_source.skipped_count


def _require_remote(address: str) -> None:
    """Raise RemoteError if what --remote needs is not installed, ConfigError if the address is none."""
    try:
        from avatarify_plus.remote.link import socket_address
    except ModuleNotFoundError as error:
        raise RemoteError(
            f"--remote needs the package {error.name}: pip install -r requirements-serve.txt (or avatarify_plus[serve])"
        ) from error
    socket_address(address)


def _open_remote(
    config: AppConfig, outputs: Outputs, driver: FrameSource
) -> AbstractContextManager[tuple[Driven, FrameSource]]:
    """Have another machine compute the avatar. Raises ConfigError."""
    from avatarify_plus.remote.session import open_remote

    if not driver.is_live:
        raise ConfigError(f"--remote is for live calls, and {shown(config.camera)} is a file: add --live")
    return open_remote(config, outputs, driver)


def open_wanted_engine(config: AppConfig) -> Engine:
    """Open the engine that the config names, and log which it is; "auto" also logs why it is not another."""
    bundle = open_bundle(config.model)
    if config.engine == "auto":
        engine, reason = choose_engine(bundle, precision=config.precision, gpu=config.gpu)
    else:
        engine = open_engine(bundle, config.engine, precision=config.precision, gpu=config.gpu)
        reason = f"{engine.name} on {engine.device}"
    logger.info("engine %s", reason)
    if bundle.is_for_one_face:
        logger.warning("%s: %s", bundle.manifest.name, bundle.manifest.intended_use)
    return engine


def _make_films(config: AppConfig, engine: Engine | None, stop: threading.Event | None) -> Summary:
    """Make a film of each photo, of its name, in the folder that is the output.

    A photo that cannot be used is named in a warning and left out. Raises AvatarifyError as `run` does.
    """
    assert config.output is not None
    with ExitStack() as stack:
        stop = stop or stack.enter_context(stop_on_signal())
        require_photo(config.avatar)
        photos = photos_in(config.avatar)
        with open_frame_source(config.camera, config.sequence_fps, config.live) as frame_source:
            if frame_source.is_live:
                raise ConfigError(
                    f"{config.output} is a folder, and a live recording is one film: give --output FILE.mp4"
                )
        require_folder(config.output, is_for_pictures=False)
        if engine is None:
            engine = stack.enter_context(open_wanted_engine(config))
        is_new = not config.output.exists()
        config.output.mkdir(mode=0o700, exist_ok=True)
        names = _film_names(photos)
        summaries: list[Summary] = []
        first_failure: SourceError | None = None
        for photo in tqdm(photos, desc="films", unit="film"):
            if stop.is_set():
                break
            film = config.output / f"{names[photo]}.mp4"
            try:
                summaries.append(run(replace(config, avatar=(photo,), output=film), engine, stop=stop))
            except SourceError as failure:
                first_failure = first_failure or failure
                logger.warning("%s; this photo is left out", failure)
        if first_failure is not None and not summaries:
            if is_new:
                config.output.rmdir()
            raise first_failure
    return _sum_of(summaries, engine, config.output)


def _film_names(photos: Sequence[Path]) -> dict[Path, str]:
    """Return the photos' names without suffixes; one that was there before gets a number."""
    names: dict[Path, str] = {}
    for photo in photos:
        others, name = {each.casefold() for each in names.values()}, photo.stem
        for number in itertools.count(2):
            if name.casefold() not in others:
                break
            name = f"{photo.stem}-{number}"
        names[photo] = name
    return names


def _sum_of(summaries: Sequence[Summary], engine: Engine, output: Path) -> Summary:
    """Return what several runs did together."""
    elapsed_s = sum(each.elapsed_s for each in summaries)
    frame_count = sum(each.frame_count for each in summaries)
    middle = sorted(summaries, key=lambda each: each.latency_p50_ms)[len(summaries) // 2 :][:1]
    return Summary(
        frame_count=frame_count,
        skipped_count=0,
        faceless_count=sum(each.faceless_count for each in summaries),
        elapsed_s=elapsed_s,
        fps=frame_count / elapsed_s if elapsed_s > 0 else 0.0,
        latency_p50_ms=middle[0].latency_p50_ms if middle else 0.0,
        latency_p95_ms=max((each.latency_p95_ms for each in summaries), default=0.0),
        engine=engine.name,
        device=engine.device,
        output=output if frame_count else None,
    )


def _look_ahead(config: AppConfig, session: Session, size_px: int, stop: threading.Event) -> None:
    """Find the neutral face in a driver's file before it is animated, at most LOOKED_AT frames of its beginning.

    Raises CameraError if there is no face in all of it.
    """
    with open_frame_source(config.camera, config.sequence_fps, plays_live=False) as source:
        step = max(math.ceil(min(source.count or LOOKED_INTO, LOOKED_INTO) / LOOKED_AT), 1)
        readable = _until_damaged(source.frames(stop))
        begun = itertools.islice(readable, LOOKED_INTO)
        frames = (frame for frame in begun if frame is not None and frame.index % step == 0)
        has_face = look_ahead(session, size_px, tqdm(frames, desc="look ahead", unit="frame", leave=False))
        is_over = next(readable, None) is None
    if not has_face and is_over and not stop.is_set():
        raise CameraError(_no_face(config))


def _until_damaged(frames: Iterator[Frame | None]) -> Iterator[Frame | None]:
    """Yield the frames that can be read: what is made of them is worth keeping, and the run says what is damaged."""
    with contextlib.suppress(CameraError):
        yield from frames


def _no_face(config: AppConfig) -> str:
    return (
        f"no face was found in the driver {shown(config.camera)}: give a video of one person who looks into the "
        "camera, large and well lit"
    )


def _require_destination(config: AppConfig, frame_source: FrameSource) -> None:
    """Raise ConfigError if a driver file has nowhere to go or would be overwritten, SinkError if a folder cannot be."""
    output = config.output
    if output is None:
        if not frame_source.is_live:
            raise ConfigError(
                f"{shown(config.camera)} is a file and has nowhere to go: add --output FILE.mp4 to write it frame by "
                "frame, or --live to play it to the preview and the virtual camera"
            )
        return
    if config.fills_folder:
        if frame_source.is_live:
            raise ConfigError(f"{output} is a folder, and a live recording is one film: give --output FILE.mp4")
        require_folder(output, is_for_pictures=True)
        return
    if output.exists():
        avatars = [("--avatar", path) for path in photos_in(config.avatar)]
        for option, path in [("--camera", Path(config.camera)), *avatars]:
            if path.exists() and path.samefile(output):
                raise ConfigError(f"--output {output} is the file of {option}: choose another name")
    photos = photos_in(config.avatar)
    if len(photos) > 1 and not frame_source.is_live:
        logger.warning("%s shows the first photo, %s; for a film of each, give a folder as --output", output, photos[0])


def _reserve_file(config: AppConfig, is_live: bool) -> OwnFile | None:
    """Open the file of the recording, if there will be one. Raises SinkError if it cannot be written."""
    if config.output is None or config.fills_folder:
        return None
    return reserve_film(config.output, "fast" if is_live else "small")


def _open_recording(
    config: AppConfig, frame_source: FrameSource, size: Size, file: OwnFile | None
) -> Recorder | PictureFolder | None:
    """Open what the pictures are written to, if anything. Raises SinkError."""
    if config.output is None:
        return None
    timeline = frame_source if isinstance(frame_source, FileSource) else None
    if config.fills_folder:
        logger.info("%s: the times of the pictures are not kept, %.4g a second", config.output, frame_source.rate)
        sound = timeline.open_sound() if timeline is not None and config.sound else None
        if sound is not None:
            sound.close()
            logger.warning("%s has no sound, because pictures can hold none", config.output)
        return PictureFolder(config.output)
    return Recorder(config.output, size, frame_source.rate, timeline, config.sound, file)


def _open_views(
    stack: ExitStack, outputs: Outputs, config: AppConfig, frame_source: FrameSource, size: Size
) -> PreviewWindow | None:
    """Open what the config asks for of what shows a live driver, and return the preview, if any.

    A preview or virtual camera that is missing costs a warning. Raises SinkError if nothing at all is left.
    """
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
    if preview is None and not len(outputs) and outputs.is_needed:
        raise SinkError("nothing is left to show pictures: " + "; ".join(map(str, failures)))
    return preview
