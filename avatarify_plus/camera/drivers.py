"""Opening a driver."""

from __future__ import annotations

from avatarify_plus.camera.camera_mode import CaptureWish
from avatarify_plus.camera.file_source import Film
from avatarify_plus.camera.frame_source import Driver
from avatarify_plus.camera.live_camera import LiveCamera
from avatarify_plus.camera.looped_clip import LoopedClip
from avatarify_plus.camera.readers import find_origin, open_clip


def open_driver(camera: str, sequence_fps: float, plays_live: bool, wish: CaptureWish | None = None) -> Driver:
    """Open what `camera` names, see `open_reader`.

    A webcam or stream is live and comes back by itself; a file is a film, or plays over and over if `plays_live`.
    wish: what is asked of a webcam. Raises CameraError.
    """
    origin = find_origin(camera, wish or CaptureWish())
    if origin is not None:
        return LiveCamera(origin.open(), origin)
    clip = open_clip(camera, sequence_fps)
    return LiveCamera(LoopedClip(camera, clip.rate, clip)) if plays_live else Film(clip)
