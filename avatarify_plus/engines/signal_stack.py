"""The stack on which a thread hears signals."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator


class _Stack(ctypes.Structure):
    """glibc's and musl's stack_t."""

    _fields_ = (("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Let this thread hear signals after the block where it heard them before.

    OpenVINO gives the thread that loads it a stack for signals, and takes that out of memory when the last engine goes,
    in whichever thread: if that is another one, the next signal, such as Ctrl-C's, would end the program. Without
    effect but on Linux.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    try:
        swap = ctypes.CDLL(None).sigaltstack
    except (OSError, AttributeError):  # a C library without it
        yield
        return
    before = _Stack()
    swap(None, ctypes.byref(before))
    try:
        yield
    finally:
        swap(ctypes.byref(before), None)
