"""Memory that the C library keeps for itself."""

from __future__ import annotations

import contextlib
import ctypes
import sys


def give_back_memory() -> None:
    """Have the C library return to the system what was freed; takes some milliseconds, and only glibc does it.

    Pictures and tensors that many threads allocate and free leave gaps, which otherwise stay with the process.
    """
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):  # musl has none
            ctypes.CDLL(None).malloc_trim(0)
