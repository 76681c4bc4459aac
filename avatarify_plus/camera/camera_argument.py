"""Opening what --camera names."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

from avatarify_plus.camera.camera_device import find_named, found_text
from avatarify_plus.camera.camera_mode import CaptureRequest
from avatarify_plus.camera.capture import open_capture
from avatarify_plus.camera.capture_reader import CaptureReader
from avatarify_plus.camera.device_list import known_cameras
from avatarify_plus.camera.picture_sequence import PictureSequence, list_folder, list_pattern
from avatarify_plus.camera.reader import PictureReader
from avatarify_plus.camera.reopenable import Reopenable
from avatarify_plus.camera.stream import Stream
from avatarify_plus.camera.webcam import Webcam
from avatarify_plus.errors import CameraError
from avatarify_plus.pictures.images import PICTURE_SUFFIXES, is_animated


def open_reader(camera: str, sequence_fps: float) -> PictureReader:
    """Open what `camera` names: a webcam's number, path or name, a URL, a video or picture, a folder, or a pattern.

    A webcam is left as it is set. sequence_fps: frame rate that still pictures get. Raises CameraError if it is missing
    or cannot be read.
    """
    reopenable = find_reopenable(camera, CaptureRequest())
    return reopenable.open() if reopenable is not None else open_clip(camera, sequence_fps)


def find_reopenable(camera: str, request: CaptureRequest) -> Reopenable | None:
    """Return the webcam or stream that `camera` names, None if it is neither.

    request: what a webcam is asked for. Raises CameraError if a name may be several webcams.
    """
    if camera.isdigit():
        return Webcam(int(camera), request, known_cameras)
    if "://" in camera:
        return Stream(camera)
    path = Path(camera)
    if path.is_char_device():
        return Webcam(str(path.resolve()), request, known_cameras)  # such as /dev/v4l/by-id/...
    if path.exists() or "%" in camera:
        return None
    device = find_named(camera, known_cameras())
    return Webcam(device.index, request, known_cameras) if device is not None else None


def open_clip(camera: str, sequence_fps: float) -> PictureReader:
    """Open a video or picture, a folder, or a printf pattern.

    sequence_fps: frame rate that still pictures get. Raises CameraError if it is missing or cannot be read.
    """
    path = Path(camera)
    rate = Fraction(sequence_fps).limit_denominator(1001)
    if "%" in camera and not path.exists():
        return PictureSequence(camera, list_pattern(camera), rate)
    if path.is_dir():
        return PictureSequence(camera, list_folder(path), rate)
    if not path.exists():
        raise CameraError(
            f"there is no driver {camera}: give a webcam's number or name ({found_text(known_cameras())}), an existing "
            "file or folder, or a URL"
        )
    if path.suffix.lower() in PICTURE_SUFFIXES:
        if is_animated(path):
            raise CameraError(f"{path} is an animated picture; only videos and GIFs are played: convert it to mp4")
        return PictureSequence(camera, [path], rate)
    return _open_video(path)


def _open_video(path: Path) -> CaptureReader:
    if not os.access(path, os.R_OK):
        raise CameraError(f"cannot read {path}: permission denied; change its permissions or copy it")
    capture = open_capture(str(path))
    if capture is None:
        raise CameraError(f"cannot read {path} as a video: it is damaged or of an unknown format; convert it to mp4")
    return CaptureReader(capture, str(path), is_live=False, ends=True)
