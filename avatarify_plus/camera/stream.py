"""A camera on the network."""

from __future__ import annotations

from avatarify_plus.camera.capture import open_url
from avatarify_plus.camera.capture_reader import CaptureReader
from avatarify_plus.errors import CameraError
from avatarify_plus.program.addresses import by_proxy, shown


class Stream:
    """The live pictures that a URL serves. See `Reopenable`."""

    patience_s = 5.0
    """Longer than for a cable, because a wireless network may pause."""

    def __init__(self, url: str) -> None:
        self.name = shown(url)
        self._url = url

    def open(self) -> CaptureReader:
        """Connect. Raises CameraError."""
        capture = open_url(self._url)
        if capture is None:
            raise CameraError(
                f"cannot open the stream {self.name}{by_proxy(self._url)}: check the address, the network and that "
                "the camera serves it"
            )
        return CaptureReader(capture, self.name, ends=True)

    def describe_outage(self) -> str:
        """Return the same words whatever has happened, because that cannot be known over a network."""
        return "gives no pictures any more"
