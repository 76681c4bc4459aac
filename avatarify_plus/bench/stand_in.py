"""Stand-ins for devices that come and go: a webcam, and a virtual camera.

What the app says of them names them, so that it can be told from other complaints.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from fractions import Fraction

from avatarify_plus.errors import CameraError, SinkError
from avatarify_plus.sinks.virtual_camera import VirtualCamera
from avatarify_plus.types import Image

STAND_IN = "stand-in"
"""What every complaint about one holds."""


class StandInCamera:
    """A webcam that shows given pictures, and can be unplugged or hang for a while. See `Reopenable`."""

    name = f"{STAND_IN} camera"
    patience_s = 1.0

    def __init__(self, pictures: Sequence[Image], rate: Fraction) -> None:
        """Show (H, W, 3) uint8 RGB pictures over and over, at a rate in frames a second."""
        self.rate = rate
        self._pictures = pictures
        self._absent_until_s = self._hangs_until_s = 0.0

    def unplug(self, seconds: float) -> None:
        """Be gone for this time."""
        self._absent_until_s = time.monotonic() + seconds

    def hang(self, seconds: float) -> None:
        """Give no picture for this time, and do not fail either."""
        self._hangs_until_s = time.monotonic() + seconds

    def open(self) -> StandInReader:
        """Open it. Raises CameraError while it is gone."""
        self.require_presence()
        return StandInReader(self)

    def describe_outage(self) -> str:
        """Say what has happened to it."""
        return "was unplugged"

    def picture(self, number: int) -> Image:
        """Return a picture, late if it hangs. Raises CameraError if it is gone."""
        time.sleep(max(self._hangs_until_s - time.monotonic(), 0))
        self.require_presence()
        return self._pictures[number % len(self._pictures)]

    def require_presence(self) -> None:
        """Raise CameraError if it is gone."""
        if time.monotonic() < self._absent_until_s:
            raise CameraError(f"{self.name} is gone")


class StandInReader:
    """An opened stand-in. See `PictureReader`."""

    name = StandInCamera.name
    is_live = True

    def __init__(self, camera: StandInCamera) -> None:
        self.rate = camera.rate
        self.count: int | None = None
        self._camera = camera
        self._number = 0
        self._begun_s = time.monotonic()

    def read(self) -> Image:
        """Return the next picture when it is due. Raises CameraError if the camera is gone."""
        due_s = self._begun_s + float(self._number / self.rate)
        time.sleep(max(due_s - time.monotonic(), 0))
        self._number += 1
        return self._camera.picture(self._number)

    def close(self) -> None:
        """Do nothing."""


class StandInSink:
    """Takes a virtual camera's pictures, and drops them, until it is unplugged. See `Sink`."""

    name = VirtualCamera.name

    def __init__(self) -> None:
        self._is_gone = False

    def unplug(self) -> None:
        """Take no more pictures."""
        self._is_gone = True

    def send(self, image: Image, time_s: float) -> None:
        """Drop a picture. Raises SinkError once it is unplugged."""
        if self._is_gone:
            raise SinkError(f"{STAND_IN} virtual camera is gone")

    def close(self) -> None:
        """Do nothing."""
