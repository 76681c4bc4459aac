"""What C++ libraries write to stderr themselves, past Python's logging."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator

logger = logging.getLogger(__name__)

_redirection_lock = threading.RLock()


@contextlib.contextmanager
def hidden_native_messages() -> Iterator[None]:
    """Drop what native libraries print, such as MediaPipe, OpenCV and FFmpeg while they start.

    Whatever matters comes back as a return value or exception. At logging level DEBUG the messages are let through.
    """
    if logger.isEnabledFor(logging.DEBUG):
        yield
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            _redirection_lock
        )  # a second thread would save the redirected descriptor and later restore that one
        if sys.stderr is not None:
            sys.stderr.flush()
        with contextlib.suppress(OSError):  # a program without a console has no descriptor 2
            saved = os.dup(2)
            stack.callback(os.close, saved)
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            stack.callback(os.dup2, saved, 2)
        yield
