"""OpenCV's captures: opening them quietly, and setting a webcam."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Sequence

import cv2

from avatarify_plus.camera.camera_mode import CameraMode, CaptureRequest
from avatarify_plus.native_log import hidden_native_messages
from avatarify_plus.types import Size

logger = logging.getLogger(__name__)

BACKENDS = {"linux": cv2.CAP_V4L2, "win32": cv2.CAP_DSHOW, "darwin": cv2.CAP_AVFOUNDATION}
"""OpenCV's backend by sys.platform; DirectShow opens a webcam at once, Media Foundation may take half a minute."""

BUFFERS = 2
"""Number of pictures that the system holds for us: each adds latency, but with one, some webcams give half their rate.

The picture that comes while the one before is being converted would be lost.
"""

OPEN_TIMEOUT_MS = 8_000
"""How long FFmpeg waits until a stream is open; its default is 30 s."""

READ_TIMEOUT_MS = 5_000
"""How long FFmpeg waits for a picture of a stream; its default is 30 s."""

ENVIRONMENT = {
    "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "3",  # s that a read waits; its default is 10
    "OPENCV_FFMPEG_LOGLEVEL": "-8",  # quiet
}
"""What OpenCV reads from the environment at its first capture; there is no other way to set it."""

LISTED_SIZES = ((640, 480), (1280, 720), (1920, 1080))
"""Sizes that a webcam is asked for to find out what it offers."""


def open_capture(what: int | str, backend: int = cv2.CAP_ANY, options: Sequence[int] = ()) -> cv2.VideoCapture | None:
    """Return an opened capture, or None.

    options: CAP_PROP_* numbers, each followed by its value, which count while it opens.
    """
    _prepare()
    # the descriptor of stderr belongs to all threads: only the main one may redirect it
    is_main = threading.current_thread() is threading.main_thread()
    with hidden_native_messages() if is_main else contextlib.nullcontext():
        try:
            capture = cv2.VideoCapture(what, backend, list(options)) if options else cv2.VideoCapture(what, backend)
        except cv2.error:
            return None
        if capture.isOpened():
            return capture
        capture.release()
        return None


def open_device(device: int | str) -> cv2.VideoCapture | None:
    """Return a webcam's opened capture by its number or path, or None."""
    return open_capture(device, BACKENDS.get(sys.platform, cv2.CAP_ANY))


def open_url(url: str) -> cv2.VideoCapture | None:
    """Return a stream's opened capture, or None."""
    timeouts = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS)
    return open_capture(url, cv2.CAP_FFMPEG, timeouts)


def _prepare() -> None:
    """Make OpenCV quiet and let it wait for less time, unless every detail is logged."""
    if logger.isEnabledFor(logging.DEBUG):
        return
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def ask(capture: cv2.VideoCapture, request: CaptureRequest, modes: Sequence[CameraMode]) -> CameraMode:
    """Set a webcam to what is requested, as far as it can, and return what it is set to.

    modes: what it offers, empty if unknown. The order matters: a size is looked up in the pixel format, a rate in the
    size, and any other change resets the rate.
    """
    capture.set(cv2.CAP_PROP_BUFFERSIZE, BUFFERS)
    fourcc = request.fourcc(modes)
    if fourcc is not None:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*fourcc))
    if request.size is not None:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, request.size.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, request.size.height)
    if request.fps is not None:
        capture.set(cv2.CAP_PROP_FPS, request.fps)
    return mode_of(capture)


def mode_of(capture: cv2.VideoCapture) -> CameraMode:
    """Return what a webcam is set to."""
    size = Size(int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    rate = capture.get(cv2.CAP_PROP_FPS)
    letters = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    name = letters.to_bytes(4, "little").decode("latin-1").strip()
    return CameraMode(
        size, (round(rate, 3),) if 1 <= rate <= 1000 else (), name if name.isascii() and name.isalnum() else ""
    )


def ask_modes(index: int) -> tuple[CameraMode, ...]:
    """Return what a webcam offers, found by setting it to usual sizes; nothing if it is busy."""
    capture = open_device(index)
    if capture is None:
        return ()
    modes = [ask(capture, CaptureRequest(Size(*size)), ()) for size in LISTED_SIZES]
    capture.release()
    return tuple(dict.fromkeys(modes))
