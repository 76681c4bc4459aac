"""The webcam: is there one, may it be used, and does it give pictures?"""

from __future__ import annotations

import getpass
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from avatarify_plus.camera import CameraDevice, CaptureRequest, FrameSource, open_frame_source
from avatarify_plus.camera.device_list import known_cameras
from avatarify_plus.config import AppConfig
from avatarify_plus.doctor.finding import FAILED, OK, WARNING, Finding, Wanted
from avatarify_plus.errors import CameraError
from avatarify_plus.types import Image

SAMPLE_S = 2.5
"""How long pictures are sampled: a webcam's exposure needs a second or two to settle."""

PATIENCE_S = 10.0
"""How long a webcam may take to its first picture."""

BLACK_LEVEL = 12
"""A picture whose brightest value of 255 is at most this shows nothing; a sensor's noise stays below."""

DARK_CAMERA_LEVEL = 40
"""A picture with a mean below this, of 255, is dark."""

FLUENT_CAMERA_HZ = 20.0
"""Below this rate, a webcam is called slow."""

CONNECT = "connect a webcam; without one, --camera takes a video file, or the URL of a phone's camera app"
PRIVACY = {
    "darwin": "allow it in System Settings > Privacy & Security > Camera for the terminal that starts this, restart it",
    "win32": "switch on Settings > Privacy & security > Camera > 'Let desktop apps access your camera'",
}
"""Where the operating system lets programs use webcams, by sys.platform."""

BUSY = "close other programs that use it, unplug it and plug it in again"
COVERED = "open the webcam's lens cover or privacy switch"


def camera_access(wanted: Wanted) -> Finding | None:
    """See whether Linux lets this user read its webcams."""
    nodes = sorted(Path("/dev").glob("video*")) if sys.platform.startswith("linux") else []
    return judge_access([str(node) for node in nodes], lambda node: os.access(node, os.R_OK | os.W_OK))


def judge_access(nodes: Sequence[str], may_use: Callable[[str], bool]) -> Finding | None:
    """Say which device nodes this user may not use; None without any."""
    closed = [node for node in nodes if not may_use(node)]
    if not nodes:
        return None
    if not closed:
        return Finding("camera access", OK, f"{', '.join(nodes)} may be used")
    return Finding(
        "camera access",
        FAILED if len(closed) == len(nodes) else WARNING,
        f"no permission on {', '.join(closed)}",
        f"sudo usermod -aG video {getpass.getuser()}, then log out and in again",
    )


def cameras(wanted: Wanted) -> Finding | None:
    """See which webcams there are; not checked where another driver is wanted."""
    if wanted.camera is not None:
        return None
    return judge_cameras(known_cameras(), sys.platform, _defaults().camera)


def judge_cameras(devices: Sequence[CameraDevice], platform: str, default: str) -> Finding:
    """Say which webcams were found on a `sys.platform`, and whether the default is one of them."""
    listed = ", ".join(map(str, devices))
    first = first_webcam(devices)
    if first is None or first.is_virtual:
        privacy = f"; if there is one, {PRIVACY[platform]}" if platform in PRIVACY else ""
        state = WARNING if devices else FAILED
        return Finding("cameras", state, f"no webcam is found{f', only {listed}' if listed else ''}", CONNECT + privacy)
    if default not in {str(device.index) for device in devices if not device.is_virtual}:
        trouble = f"{listed}; {default}, which the app takes by default, is not one of the webcams"
        return Finding("cameras", WARNING, trouble, f"start with --camera {first.index}")
    return Finding("cameras", OK, listed)


def first_webcam(devices: Sequence[CameraDevice]) -> CameraDevice | None:
    """Return the first real webcam, else the first virtual one, else None."""
    return min(devices, key=lambda device: device.is_virtual, default=None)


def _defaults() -> AppConfig:
    return AppConfig(avatar=(Path(),))


def camera_picture(wanted: Wanted) -> Finding | None:
    """See whether the webcam gives pictures, and what they are like; None without a webcam."""
    camera, defaults = wanted.camera, _defaults()
    if camera is None:
        first = first_webcam(known_cameras())
        if first is None:
            return None
        camera = str(first.index)
    request = CaptureRequest(defaults.camera_size, defaults.camera_fps, defaults.camera_format)
    try:
        with open_frame_source(camera, defaults.sequence_fps, True, request) as frame_source:
            return judge_pictures(frame_source.name, sample_pictures(frame_source), sys.platform)
    except CameraError as error:
        return Finding("camera picture", FAILED, str(error), _steps(BUSY, sys.platform))


class CameraSample(NamedTuple):
    """The newest (H, W, 3) uint8 RGB picture, and how many a second were captured."""

    image: Image
    rate_hz: float


def sample_pictures(
    frame_source: FrameSource, sample_s: float = SAMPLE_S, patience_s: float = PATIENCE_S
) -> CameraSample | None:
    """Watch a driver's pictures for `sample_s`; None if the first does not come in time. Raises CameraError."""
    stop, start_s = threading.Event(), time.monotonic()
    first = newest = None
    for frame in frame_source.frames(stop):
        if frame is not None:
            first, newest = first or frame, frame
        if first is not None and newest is not None:
            if newest.captured_at - first.captured_at >= sample_s:
                break
        elif time.monotonic() - start_s > patience_s:
            break
        if time.monotonic() - start_s > patience_s + sample_s:
            break
    if first is None or newest is None:
        return None
    elapsed_s = newest.captured_at - first.captured_at
    return CameraSample(newest.image, (newest.index - first.index) / elapsed_s if elapsed_s > 0 else 0.0)


def judge_pictures(name: str, seen: CameraSample | None, platform: str) -> Finding:
    """Say whether a webcam's pictures show anything, and come often enough."""
    if seen is None:
        return Finding("camera picture", FAILED, f"{name} gives no picture", _steps(BUSY, platform))
    height, width = seen.image.shape[:2]
    mean = float(seen.image.mean())
    message = f"{name}: {width}x{height}, {seen.rate_hz:.0f} frames a second, mean brightness {mean:.0f} of 255"
    if int(seen.image.max()) <= BLACK_LEVEL:
        return Finding("camera picture", FAILED, f"{message}: it is black", _steps(COVERED, platform))
    if mean < DARK_CAMERA_LEVEL:
        return Finding("camera picture", WARNING, f"{message}: it is dark", "turn on a lamp in front of you")
    if seen.rate_hz < FLUENT_CAMERA_HZ:
        steps = "more light lets a webcam be faster; otherwise --camera-format mjpg, or a smaller --camera-size"
        return Finding("camera picture", WARNING, f"{message}: that is slow", steps)
    return Finding("camera picture", OK, message)


def _steps(first: str, platform: str) -> str:
    return f"{first}; {PRIVACY[platform]}" if platform in PRIVACY else first


CHECKS = (camera_access, cameras, camera_picture)
