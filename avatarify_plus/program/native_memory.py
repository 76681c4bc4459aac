"""Memory that the C library keeps for itself."""

from __future__ import annotations

import contextlib
import ctypes
import sys

MAX_ARENAS = 2
"""So many places the C library takes small and middle-sized memory from."""

M_ARENA_MAX = -8
"""The number of that limit in glibc's malloc.h."""


def keep_few_arenas() -> None:
    """Have all threads of this program allocate from few places; only glibc does otherwise.

    It would open eight for each core, and keep in each what the threads of engines, films and cameras that come and go
    have left there. To be called before threads start.
    """
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):  # musl has none
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, MAX_ARENAS)


def give_back_memory() -> None:
    """Have the C library return to the system what was freed; takes some milliseconds, and only glibc does it.

    Pictures and tensors that many threads allocate and free leave gaps, which otherwise stay with the process.
    """
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):  # musl has none
            ctypes.CDLL(None).malloc_trim(0)
