"""The webcams of this computer."""

from __future__ import annotations

import sys
from dataclasses import replace

from avatarify_plus.camera.camera_device import CameraDevice
from avatarify_plus.camera.capture import BACKENDS, ask_modes

VIRTUAL = ("virtual", "unity video capture", "droidcam", "snap camera")
"""Parts of names that mark a camera as a program, where the system does not say so."""


def list_cameras() -> list[CameraDevice]:
    """Return the webcams and what they offer. Outside Linux each one is opened and asked, which takes seconds."""
    devices = known_cameras()
    if sys.platform == "linux":
        return devices
    return [replace(device, modes=ask_modes(device.index)) for device in devices]


def known_cameras() -> list[CameraDevice]:
    """Return the webcams without opening them, which is quick; their modes are known on Linux only."""
    if sys.platform == "linux":
        from avatarify_plus.camera.v4l2 import list_webcams

        return list_webcams()
    return _enumerated(BACKENDS.get(sys.platform, 0))


def _enumerated(backend: int) -> list[CameraDevice]:
    """Return the webcams that Windows or macOS list, in the order of OpenCV's numbers."""
    from cv2_enumerate_cameras import enumerate_cameras

    return [
        CameraDevice(
            index=camera.index,
            name=camera.name,
            path=camera.path or "",
            location=camera.path or str(camera.index),
            is_virtual=any(word in camera.name.casefold() for word in VIRTUAL),
        )
        for camera in enumerate_cameras(backend)
    ]
