"""Run a program of training or export at low priority, in a process that ends when the one that started it is gone."""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import sys
import threading
from pathlib import Path

NICENESS = 15
"""How much other programs, such as a call that goes on, come first."""

AUTOGROUP = Path("/proc/self/autogroup")
"""Where Linux weighs a whole session of processes against others: within these alone counts what `nice` says."""

GRACE_S = 30.0
"""A program that was asked to end has this time to save."""


def main() -> None:
    """Run `python -m avatarify_plus.adapt.child MODULE ARGUMENTS`, until the standard input is closed at the latest."""
    module = sys.argv[1]
    if hasattr(os, "nice"):  # Windows starts it at low priority
        with contextlib.suppress(OSError):
            os.nice(NICENESS)
            AUTOGROUP.write_text(str(NICENESS))
    threading.Thread(target=_end_with_owner, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_owner() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):  # sys.stdin would hold a lock that the interpreter wants when it ends
            pass
    signal.raise_signal(signal.SIGTERM)
    threading.Event().wait(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
