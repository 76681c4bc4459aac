"""The driver's frames: of a webcam or stream only the newest, of files every one."""

from avatarify_plus.camera.camera_argument import open_clip, open_reader
from avatarify_plus.camera.camera_device import CameraDevice, describe
from avatarify_plus.camera.camera_mode import CameraMode, CaptureRequest
from avatarify_plus.camera.capture_reader import CaptureReader
from avatarify_plus.camera.device_list import list_cameras
from avatarify_plus.camera.file_source import FileSource
from avatarify_plus.camera.frame_source import FrameSource
from avatarify_plus.camera.live_camera import LiveCamera
from avatarify_plus.camera.looped_clip import LoopedClip
from avatarify_plus.camera.opening import open_frame_source
from avatarify_plus.camera.reader import ClipReader, PictureReader

__all__ = [
    "CameraDevice",
    "CameraMode",
    "CaptureReader",
    "CaptureRequest",
    "ClipReader",
    "FileSource",
    "FrameSource",
    "LiveCamera",
    "LoopedClip",
    "PictureReader",
    "describe",
    "list_cameras",
    "open_clip",
    "open_frame_source",
    "open_reader",
]
