"""An end for what must not take longer, where only the whole program can be ended: inside a native library."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator

from avatarify_plus.program.ending import FAILED, print_error


@contextlib.contextmanager
def deadline(seconds: float, complaint: str, end: Callable[[int], object] = os._exit) -> Iterator[None]:
    """End the program with FAILED and a line that says why, if the block takes longer than this.

    A thread can neither be stopped in a native library nor left behind there: the library would be unloaded under it.
    end: what ends the program, at once and with an exit code.
    """

    def give_up() -> None:
        print_error(complaint)
        sys.stderr.flush()
        end(FAILED)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
