"""What C++ libraries write to stderr on their own, outside Python's logging."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator

logger = logging.getLogger(__name__)

_turn = threading.RLock()


@contextlib.contextmanager
def hidden_native_messages() -> Iterator[None]:
    """Drop what native libraries print while they start: MediaPipe, OpenCV and FFmpeg greet and complain there.

    Whatever matters comes back as a return value or exception. At logging level DEBUG the messages are let through.
    """
    if logger.isEnabledFor(logging.DEBUG):
        yield
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(_turn)  # a second thread would save the redirected descriptor and restore that for good
        if sys.stderr is not None:
            sys.stderr.flush()
        with contextlib.suppress(OSError):  # a program without a console has no descriptor 2
            saved = os.dup(2)
            stack.callback(os.close, saved)
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            stack.callback(os.dup2, saved, 2)
        yield
