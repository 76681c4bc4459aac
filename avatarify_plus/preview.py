"""The preview window."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable

import cv2

from avatarify_plus.errors import SinkError
from avatarify_plus.native_log import hidden_native_messages
from avatarify_plus.types import Image

TITLE = "avatarify"
LEAST_WINDOW_PX = 512
ESCAPE = 27
X11_PORT = 6000


class Preview:
    """Show pictures in a window; Esc, q or closing the window calls `on_exit`."""

    name = "preview"

    def __init__(self, size_px: int, on_exit: Callable[[], None]) -> None:
        """Open the window for square pictures. Raises SinkError if there is no screen."""
        if sys.platform.startswith("linux"):
            require_x_server(os.environ.get("DISPLAY", ""))  # without one, OpenCV's Qt ends the whole program
        # OpenCV's Qt complains about fonts it does not need, for as long as the window is open
        os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")
        self._on_exit = on_exit
        self._was_shown = False
        side_px = max(size_px, LEAST_WINDOW_PX)
        try:
            with hidden_native_messages():
                cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
                cv2.resizeWindow(TITLE, side_px, side_px)
        except cv2.error as error:
            raise SinkError(
                "cannot open the preview window: this OpenCV was built without windows; "
                "pip uninstall opencv-python-headless, pip install opencv-contrib-python, or use --no-preview"
            ) from error

    def send(self, image: Image, time_s: float) -> None:
        """Show a picture and heed the keyboard; a window that the user closed stays closed."""
        if self._was_shown and not _is_open():
            self._on_exit()
            return
        cv2.imshow(TITLE, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(1) & 0xFF
        self._was_shown = True
        if key in (ESCAPE, ord("q")) or not _is_open():
            self._on_exit()

    def close(self) -> None:
        """Close the window."""
        with contextlib.suppress(cv2.error):  # the user may have closed it
            cv2.destroyWindow(TITLE)


def _is_open() -> bool:
    """Return whether the window is there; each of OpenCV's window systems has its own way to say no."""
    try:
        return bool(cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1)
    except cv2.error:
        return False


def require_x_server(display: str) -> None:
    """Raise SinkError unless an X server answers at a DISPLAY such as ":0" or "host:10.0"."""
    host, _, number = display.rpartition(":")
    number = number.partition(".")[0]
    if not number.isdigit():
        raise SinkError(
            "cannot open the preview window: there is no screen (DISPLAY is not set); run it on a desktop or use "
            "--no-preview"
        )
    if not any(_answers(family, address) for family, address in _x_addresses(host, int(number))):
        raise SinkError(
            f"cannot open the preview window: no X server answers at DISPLAY={display}; run it on a desktop or use "
            "--no-preview"
        )


def _x_addresses(host: str, number: int) -> list[tuple[int, str | tuple[str, int]]]:
    """Return the socket addresses of an X display: TCP if a host is named, else Unix sockets by file and abstract."""
    if host and host != "unix":
        return [(socket.AF_INET, (host, X11_PORT + number)), (socket.AF_INET6, (host, X11_PORT + number))]
    path = f"/tmp/.X11-unix/X{number}"
    return [(socket.AF_UNIX, path), (socket.AF_UNIX, f"\0{path}")]


def _answers(family: int, address: str | tuple[str, int]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(2)
            connection.connect(address)
    except OSError:
        return False
    return True
