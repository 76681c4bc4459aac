"""The preview window: pictures in, key presses out."""

from __future__ import annotations

import contextlib
import os
import socket
import sys

import cv2
import numpy as np

from avatarify_plus.errors import SinkError
from avatarify_plus.native_log import hidden_native_messages
from avatarify_plus.preview.keys import Command, Press, press_of
from avatarify_plus.preview.shift_key import shift_key
from avatarify_plus.types import Image

TITLE = "avatarify"
X11_PORT = 6000
NO_KEY = -1
CHARACTER_BITS = 0xFFFF
"""The character in a key code; the bits above say which other keys are held."""


class PreviewWindow:
    """A window that can be resized. Once the user has closed it, it stays closed."""

    def __init__(self) -> None:
        """Open the window. Raises SinkError if there is no screen."""
        display = os.environ.get("DISPLAY", "")
        # OpenCV's Qt complains about fonts it does not need, for as long as the window is open
        os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")
        with contextlib.ExitStack() as stack:
            self._shift_key = None
            if sys.platform.startswith("linux"):
                require_x_server(display)  # without one, OpenCV's Qt ends the whole program
                self._shift_key = stack.enter_context(shift_key(display))
            try:
                with hidden_native_messages():
                    cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
            except cv2.error as error:
                raise SinkError(
                    "cannot open the preview window: this OpenCV was built without windows; "
                    "pip uninstall opencv-python-headless, pip install opencv-contrib-python, or use --no-preview"
                ) from error
            self._closing = stack.pop_all()
        self._was_shown = False
        self._is_closed = False
        self._has_quit = False

    def show(self, image: Image) -> None:
        """Show an (H, W, 3) picture, which appears at the next `presses`; the first one gives the window its size."""
        if self._was_shown and not self._is_open():
            return
        if self._was_shown:
            image = _widened(image, *cv2.getWindowImageRect(TITLE)[2:])
        cv2.imshow(TITLE, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if not self._was_shown:
            cv2.resizeWindow(TITLE, image.shape[1], image.shape[0])
        self._was_shown = True

    def presses(self) -> list[Press]:
        """Return what the keys pressed since the last call ask for.

        A window that the user has closed asks to quit, once. Of several keys pressed between two looks at the
        keyboard, OpenCV's Qt, its window system on Linux, reports the last one only.
        """
        presses: list[Press] = []
        while self._is_open() and (code := cv2.waitKeyEx(1)) != NO_KEY:
            press = press_of(self._with_case(code & CHARACTER_BITS))
            if press is not None:
                presses.append(press)
        if self._was_shown and not self._is_open() and not self._has_quit:
            self._has_quit = True
            presses.append(Press(Command.QUIT))
        return presses

    def close(self) -> None:
        """Close the window."""
        self._closing.close()
        self._has_quit = self._is_closed = True
        with contextlib.suppress(cv2.error):  # the user may have closed it
            cv2.destroyWindow(TITLE)

    def _with_case(self, code: int) -> int:
        """Return the code of the capital letter if Shift is held: on Linux, OpenCV gives that of the small one."""
        is_shifted = self._shift_key is not None and self._shift_key.is_held()
        return ord(chr(code).upper()) if is_shifted and chr(code).isascii() else code

    def _is_open(self) -> bool:
        """Return whether the window is there; each of OpenCV's window systems says no in its own way."""
        if not self._was_shown:
            return not self._is_closed
        if not self._is_closed:
            try:
                self._is_closed = cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1
            except cv2.error:
                self._is_closed = True
        return not self._is_closed


def _widened(image: Image, width: int, height: int) -> Image:
    """Return a picture of a window's aspect ratio, its own edge repeated: OpenCV would fill the rest with white."""
    if width <= 0 or height <= 0:  # a minimised window
        return image
    missing_x = max(round(image.shape[0] * width / height) - image.shape[1], 0) // 2
    missing_y = max(round(image.shape[1] * height / width) - image.shape[0], 0) // 2
    if not missing_x and not missing_y:
        return image
    edges = (missing_y, missing_y, missing_x, missing_x)
    return cv2.copyMakeBorder(image, *edges, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)


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
