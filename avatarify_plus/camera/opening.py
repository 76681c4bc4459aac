"""Opening the source of the driver's frames."""

from __future__ import annotations

from avatarify_plus.camera.camera_argument import find_reopenable, open_clip
from avatarify_plus.camera.camera_mode import CaptureRequest
from avatarify_plus.camera.file_source import FileSource
from avatarify_plus.camera.frame_source import FrameSource
from avatarify_plus.camera.live_camera import LiveCamera
from avatarify_plus.camera.looped_clip import LoopedClip


def open_frame_source(
    camera: str, sequence_fps: float, plays_live: bool, request: CaptureRequest | None = None
) -> FrameSource:
    """Open what `camera` names, see `open_reader`.

    A webcam or stream is live and is opened again when it fails. A file gives every frame, or is played over
    and over in real time if `plays_live`. request: what a webcam is asked for. Raises CameraError.
    """
    reopenable = find_reopenable(camera, request or CaptureRequest())
    if reopenable is not None:
        return LiveCamera(reopenable.open(), reopenable)
    clip = open_clip(camera, sequence_fps)
    return LiveCamera(LoopedClip(camera, clip.rate, clip)) if plays_live else FileSource(clip)
