"""A camera in the network."""

from __future__ import annotations

from avatarify_plus.camera.capture import open_url
from avatarify_plus.camera.capture_reader import CaptureReader
from avatarify_plus.errors import CameraError


class Stream:
    """What a URL serves, live. See `Reopenable`."""

    patience_s = 5.0
    """A wireless network may hold its breath for longer than a cable."""

    def __init__(self, url: str) -> None:
        self.name = url

    def open(self) -> CaptureReader:
        """Connect. Raises CameraError."""
        capture = open_url(self.name)
        if capture is None:
            raise CameraError(
                f"cannot open the stream {self.name}: check the address, the network and that the camera serves it"
            )
        return CaptureReader(capture, self.name, is_live=True, ends=True)

    def loss(self) -> str:
        """Return the same whatever happened: a network does not tell."""
        return "gives no pictures any more"
