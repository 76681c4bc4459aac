"""The virtual camera that call programs see. pyvirtualcam lives only here."""

from __future__ import annotations

import sys
from fractions import Fraction

from avatarify_plus.errors import VirtualCameraError
from avatarify_plus.types import Image

FIXES = {
    "linux": "install v4l2loopback (Debian, Ubuntu: sudo apt install v4l2loopback-dkms), then "
    'sudo modprobe v4l2loopback devices=1 exclusive_caps=1 card_label="avatarify"',
    "win32": "install OBS Studio from https://obsproject.com, which brings one, start it once, then try again",
    "darwin": "install OBS Studio from https://obsproject.com, press its 'Start Virtual Camera' once, then try again",
}
"""What to do where no virtual camera is found, by sys.platform."""


class VirtualCamera:
    """Send pictures to the first virtual camera of the system."""

    name = "virtual camera"

    def __init__(self, size_px: int, rate: Fraction) -> None:
        """Open it for square pictures at about this rate. Raises VirtualCameraError naming the fix."""
        try:
            import pyvirtualcam
        except ImportError as error:
            raise VirtualCameraError(
                f"the virtual camera needs pyvirtualcam, which cannot be loaded ({error}): pip install pyvirtualcam"
            ) from error
        try:
            self._camera = pyvirtualcam.Camera(width=size_px, height=size_px, fps=float(rate))
        except RuntimeError as error:
            raise VirtualCameraError(f"no virtual camera found: {fix(sys.platform)}") from error
        self.device = str(self._camera.device)

    def send(self, image: Image, time_s: float) -> None:
        """Show a picture now. Raises VirtualCameraError if the device is gone."""
        try:
            self._camera.send(image)
        except RuntimeError as error:
            raise VirtualCameraError(f"the virtual camera {self.device} takes no pictures: {error}") from error

    def close(self) -> None:
        """Release the device."""
        self._camera.close()


def fix(platform: str) -> str:
    """Return what to do where no virtual camera is found; platform as in `sys.platform`."""
    return FIXES.get(platform, "this system has none that pyvirtualcam supports; use --output or the preview")
