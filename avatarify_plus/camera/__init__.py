"""The driver's pictures: a webcam or stream where only the newest frame counts, or files where every frame does."""

from avatarify_plus.camera.camera_device import CameraDevice, describe
from avatarify_plus.camera.camera_mode import CameraMode, CaptureWish
from avatarify_plus.camera.capture_reader import CaptureReader
from avatarify_plus.camera.device_list import list_cameras
from avatarify_plus.camera.drivers import open_driver
from avatarify_plus.camera.file_source import Film
from avatarify_plus.camera.frame_source import Driver
from avatarify_plus.camera.live_camera import LiveCamera
from avatarify_plus.camera.looped_clip import LoopedClip
from avatarify_plus.camera.reader import PictureReader
from avatarify_plus.camera.readers import open_reader

__all__ = [
    "CameraDevice",
    "CameraMode",
    "CaptureReader",
    "CaptureWish",
    "Driver",
    "Film",
    "LiveCamera",
    "LoopedClip",
    "PictureReader",
    "describe",
    "list_cameras",
    "open_driver",
    "open_reader",
]
