"""Opening what --camera names."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from avatarify_plus.camera.camera_device import find_named, found_text
from avatarify_plus.camera.camera_mode import CaptureRequest
from avatarify_plus.camera.device_list import known_cameras
from avatarify_plus.camera.film_reader import FilmReader
from avatarify_plus.camera.moving_picture_reader import MovingPictureReader
from avatarify_plus.camera.picture_sequence import PictureSequence, list_folder, list_pattern
from avatarify_plus.camera.reader import ClipReader, PictureReader
from avatarify_plus.camera.reopenable import Reopenable
from avatarify_plus.camera.stream import Stream
from avatarify_plus.camera.webcam import Webcam
from avatarify_plus.errors import CameraError
from avatarify_plus.pictures.images import PICTURE_SUFFIXES
from avatarify_plus.pictures.moving_picture import MOVING_SUFFIXES, MovingPicture
from avatarify_plus.program.addresses import parts_of

ADDRESSED_FILMS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif")
"""How the addresses of films on web servers end, in lower case; what else is at an address is a stream."""


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
        return None if _is_film(camera) else Stream(camera)
    path = Path(camera)
    if path.is_char_device():
        return Webcam(str(path.resolve()), request, known_cameras)  # such as /dev/v4l/by-id/...
    if path.exists() or "%" in camera:
        return None
    device = find_named(camera, known_cameras())
    return Webcam(device.index, request, known_cameras) if device is not None else None


def open_clip(camera: str, sequence_fps: float) -> ClipReader:
    """Open a video or picture, a folder, or a printf pattern.

    sequence_fps: frame rate that still pictures get. Raises CameraError if it is missing or cannot be read.
    """
    if _is_film(camera):
        return FilmReader(camera)
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
    if path.is_fifo() or path.is_socket():
        raise CameraError(f"{path} is a pipe, which can be read only once: write the video to a file first")
    suffix = path.suffix.lower()
    moving = _open_moving_picture(path) if suffix in MOVING_SUFFIXES else None
    if moving is not None:
        return moving
    return PictureSequence(camera, [path], rate) if suffix in PICTURE_SUFFIXES else FilmReader(path)


def _is_film(camera: str) -> bool:
    """Return whether an address is that of a film on a web server, which ends, rather than of a stream."""
    parts = parts_of(camera) if "://" in camera else None  # "http:x.mp4" may be a file's name
    if parts is None or parts.scheme not in ("http", "https"):
        return False
    return Path(parts.path).suffix.lower() in ADDRESSED_FILMS


def _open_moving_picture(path: Path) -> MovingPictureReader | None:
    """Open a picture that moves, None if it does not, or is not a picture."""
    try:
        pictures = MovingPicture(path)
    except (OSError, ValueError):
        return None
    if pictures.count > 1 or path.suffix.lower() not in PICTURE_SUFFIXES:
        return MovingPictureReader(path, pictures)
    pictures.close()
    return None
