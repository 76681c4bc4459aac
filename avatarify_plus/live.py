"""One run of the app: a photo, a driver and where the pictures go. Reads downward."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from avatarify_plus.bundle import open_bundle
from avatarify_plus.camera import LiveCamera, PictureReader, frames_in_order, open_reader
from avatarify_plus.config import AppConfig
from avatarify_plus.engines import Engine, open_engine
from avatarify_plus.errors import CameraError, ConfigError, SinkError
from avatarify_plus.framing import DriverFraming, frame_photo, open_mesh
from avatarify_plus.images import load_photo, mirror
from avatarify_plus.preview import Preview
from avatarify_plus.puppeteer import Puppeteer
from avatarify_plus.sinks import Sink
from avatarify_plus.sinks.recorder import Recorder
from avatarify_plus.sinks.virtual_camera import VirtualCamera
from avatarify_plus.timing import Timing
from avatarify_plus.types import Frame, Image

logger = logging.getLogger(__name__)

POLL_S = 0.1
"""How often a wait for the camera looks whether the user wants to stop."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did.

    latency: from capture to sent; for a driver file processed frame by frame, the time a frame took.
    faceless_count: frames without a face, which repeat the last picture. output: the file written, if any.
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


def run(config: AppConfig, engine: Engine | None = None) -> Summary:
    """Animate the avatar until the driver ends, the preview is closed, or SIGINT or SIGTERM asks to stop.

    engine: an open one, which stays open; None opens the one that the config names. Everything else is closed on every
    way out, and a recording is finished. Raises AvatarifyError of the kind that says what failed.
    """
    with ExitStack() as stack:
        stop = stack.enter_context(_stop_on_signal())

        # what is told wrongly is told at once, before anything slow
        photo = load_photo(config.avatar)
        reader = open_reader(config.camera, config.sequence_fps)
        stack.callback(reader.close)
        is_live = reader.is_live or config.live
        _require_outputs(config, is_live)

        if engine is None:
            engine = stack.enter_context(open_engine(open_bundle(config.model), config.engine))
        size_px = engine.config.image_size
        puppeteer = Puppeteer(engine, config.motion, config.movement_scale, config.smoothing)
        needs_mesh = puppeteer.needs_mesh or config.framing == "auto"

        # the avatar
        with ExitStack() as photo_stack:
            find = photo_stack.enter_context(open_mesh(tracking=False)).find if needs_mesh else None
            puppeteer.set_source(frame_photo(photo, find, size_px, config.framing))

        # the driver
        find = stack.enter_context(open_mesh(tracking=True)).find if needs_mesh else None
        framing = DriverFraming(find, size_px, config.framing, follows=is_live)
        sinks = _open_sinks(config, reader, size_px, is_live, stop)
        outputs = stack.enter_context(Outputs(sinks))
        camera = stack.enter_context(LiveCamera(reader)) if is_live else None
        frames = _newest_frames(camera, stop) if camera else _all_frames(reader, stop)

        # one turn a frame
        timing, faceless_count = Timing(), 0
        for frame in frames:
            begun_s = frame.captured_at if is_live else time.perf_counter()
            view = framing.view(_mirrored(frame) if config.mirror else frame)
            picture = puppeteer.animate(view, frame.captured_at)
            outputs.send(picture, frame.captured_at)
            faceless_count += not view.has_face
            timing.tick(begun_s, time.perf_counter())

    return Summary(...)
