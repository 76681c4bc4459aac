"""Whether Shift is held, asked of the X server, because OpenCV's windows on Linux do not report it."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

SHIFT_MASK = 1
LIBRARY = "libX11.so.6"
"""Xlib, which OpenCV's windows need, too."""


@contextlib.contextmanager
def shift_key(display: str) -> Iterator[ShiftKey | None]:
    """Connect to the X server at a DISPLAY such as ":0" to ask it about Shift; give None where that is impossible."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        yield None
        return
    library.XOpenDisplay.restype = ctypes.c_void_p
    connection = library.XOpenDisplay(display.encode())
    if not connection:
        yield None
        return
    try:
        yield ShiftKey(library, ctypes.c_void_p(connection))
    finally:
        library.XCloseDisplay(ctypes.c_void_p(connection))


class ShiftKey:
    """The Shift key, by a separate connection to the X server. Made by `shift_key`."""

    def __init__(self, library: ctypes.CDLL, connection: ctypes.c_void_p) -> None:
        library.XDefaultRootWindow.restype = ctypes.c_ulong
        self._root = ctypes.c_ulong(library.XDefaultRootWindow(connection))
        self._library = library
        self._connection = connection

    def is_held(self) -> bool:
        """Return whether either Shift is down now."""
        window, number, mask = ctypes.c_ulong(), ctypes.c_int(), ctypes.c_uint()
        places = [ctypes.byref(number) for _ in range(4)]
        windows = [ctypes.byref(window) for _ in range(2)]
        self._library.XQueryPointer(self._connection, self._root, *windows, *places, ctypes.byref(mask))
        return bool(mask.value & SHIFT_MASK)
