"""A lock that others of this program see: the system's own, which ends with the process, however that ends."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

RETRY_S = 0.2


def lock(descriptor: int) -> bool:
    """Take the lock of an open file and return whether nobody else has it.

    Where the system or the disk knows no locks, nobody is kept out. Closing the file releases it.
    """
    try:
        import fcntl
    except ImportError:
        return _lock_on_windows(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _lock_on_windows(descriptor: int) -> bool:
    import msvcrt  # there alone

    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    except OSError:
        return False
    return True


@contextlib.contextmanager
def locked(path: Path, waits: bool = False) -> Iterator[bool]:
    """Hold the lock of a file, which is made and stays; yield whether it is held.

    waits: until others have given it back, instead of yielding False. Raises OSError if the file cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        is_held = lock(descriptor)
        while waits and not is_held:
            time.sleep(RETRY_S)
            is_held = lock(descriptor)
        yield is_held
    finally:
        os.close(descriptor)
