"""Opening the source of the driver's frames."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial

from avatarify_plus.camera.camera_argument import find_reopenable, open_clip
from avatarify_plus.camera.camera_mode import CaptureRequest
from avatarify_plus.camera.file_source import FileSource
from avatarify_plus.camera.frame_source import FrameSource
from avatarify_plus.camera.live_camera import LiveCamera
from avatarify_plus.camera.looped_clip import LoopedClip
from avatarify_plus.errors import CameraError
from avatarify_plus.program.addresses import shown

POLL_S = 0.05
"""How soon it is noticed that a camera on the network is not to be waited for any more."""


def open_frame_source(
    camera: str,
    sequence_fps: float,
    plays_live: bool,
    request: CaptureRequest | None = None,
    stop: threading.Event | None = None,
) -> FrameSource:
    """Open what `camera` names, see `open_reader`.

    A webcam or stream is live and is opened again when it fails. A file gives every frame, or is played over
    and over in real time if `plays_live`. request: what a webcam is asked for. stop: when it is set, a camera on the
    network is not waited for. Raises CameraError.
    """
    opening = partial(_open, camera, sequence_fps, plays_live, request or CaptureRequest())
    return opening() if stop is None or "://" not in camera else _open_until(stop, opening, camera)


def _open(camera: str, sequence_fps: float, plays_live: bool, request: CaptureRequest) -> FrameSource:
    reopenable = find_reopenable(camera, request)
    if reopenable is not None:
        return LiveCamera(reopenable.open(), reopenable)
    clip = open_clip(camera, sequence_fps)
    return LiveCamera(LoopedClip(camera, clip.rate, clip)) if plays_live else FileSource(clip)


def _open_until(stop: threading.Event, opening: Callable[[], FrameSource], camera: str) -> FrameSource:
    """Open a camera on the network in a thread, which is left behind when `stop` is set. Raises CameraError."""
    opened: Future[FrameSource] = Future()

    def work() -> None:
        try:
            opened.set_result(opening())
        except BaseException as error:  # noqa: BLE001 - it is for who waits
            opened.set_exception(error)

    threading.Thread(target=work, name="opening", daemon=True).start()
    while not wait([opened], POLL_S).done:
        if stop.is_set():
            raise CameraError(f"{shown(camera)} has not answered yet")
    return opened.result()
