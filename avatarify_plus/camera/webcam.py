"""A webcam that is found again after it was unplugged."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from avatarify_plus.camera.camera_device import CameraDevice, find_again, found_text
from avatarify_plus.camera.camera_mode import CameraMode, CaptureRequest
from avatarify_plus.camera.capture import ask, open_device
from avatarify_plus.camera.capture_reader import CaptureReader
from avatarify_plus.errors import CameraError

logger = logging.getLogger(__name__)


class Webcam:
    """A webcam, opened by its number or path and afterwards found by its name. See `Reopenable`.

    A webcam that the system does not list does not have a name; it is looked for only where it was.
    """

    patience_s = 2.0
    """See `Reopenable`."""

    def __init__(
        self, target: int | str, request: CaptureRequest, list_devices: Callable[[], list[CameraDevice]]
    ) -> None:
        """Look which webcam it is, without opening it.

        target: its number, or the path of its device file as the system lists it. request: what it is asked for.
        list_devices: returns the webcams that are there now.
        """
        self._target = target
        self._request = request
        self._list = list_devices
        devices = list_devices()
        self._device = next((device for device in devices if target in (device.index, device.path)), None)
        own = None if self._device is None else self._device.location
        self._others = {device.location for device in devices} - {own}
        self._mode: CameraMode | None = None

    @property
    def name(self) -> str:
        """Its number, or its path if it was given by that, and its name."""
        return f"webcam {self._target}" + (f" ({self._device.name})" if self._device is not None else "")

    def open(self) -> CaptureReader:
        """Open it, wherever it is now, and log what it is set to if that is new. Raises CameraError."""
        devices = self._list()
        if self._device is not None:
            found = find_again(self._device, self._others, devices)
            if found is None:
                raise CameraError(
                    f"{self.name} is not there: plug it in, or give another with --camera, {found_text(devices)}"
                )
            self._device = found
            self._target = found.path if isinstance(self._target, str) else found.index
        capture = open_device(self._target)
        if capture is None:
            permission = " and that you may read it (Linux: group video)" if sys.platform == "linux" else ""
            raise CameraError(
                f"cannot open {self.name}: check that it is plugged in, that no other program uses it{permission}; or "
                f"give another number or name or a video file with --camera, {found_text(devices)}"
            )
        mode = ask(capture, self._request, self._device.modes if self._device is not None else ())
        if mode != self._mode:
            asked = "" if self._request.is_met(mode) else f" (asked for {self._request})"
            logger.info("%s gives %s%s", self.name, mode, asked)
        self._mode = mode
        return CaptureReader(capture, self.name, ends=False)

    def describe_outage(self) -> str:
        """Return whether it was unplugged or has only fallen silent."""
        if self._device is not None and find_again(self._device, self._others, self._list()) is None:
            return "was unplugged"
        return "gives no pictures any more"
