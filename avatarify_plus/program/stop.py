"""Ending in order when the system or Ctrl-C asks for it. Standard library only."""

from __future__ import annotations

import atexit
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def stop_on_signal(repeats_s: float = 0.0) -> Iterator[threading.Event]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into an event; a later one acts as it would without this.

    A SIGHUP that is ignored, as under nohup, stays ignored. repeats_s: for so long others count as the first one: a
    launcher passes on what the terminal has sent to its processes already.
    """
    stop = threading.Event()
    with _at_first_signal(stop.set, repeats_s):
        yield stop


@contextlib.contextmanager
def interrupt_on_signal() -> Iterator[Callable[[], None]]:
    """Let the first SIGINT, SIGTERM or SIGHUP raise KeyboardInterrupt, once what is yielded here was called.

    A signal that came before raises it then: libraries report an exception amid their import in their own words, or
    take it for another one. When the interpreter ends, signals are ignored: all is done, and they would only be
    reported as exceptions that nobody catches.
    """
    is_asked, is_held = False, True

    def interrupt() -> None:
        nonlocal is_asked
        is_asked = True
        if not is_held:
            raise KeyboardInterrupt

    def let_in() -> None:
        nonlocal is_held
        is_held = False
        if is_asked:
            raise KeyboardInterrupt

    with _at_first_signal(interrupt):
        if threading.current_thread() is threading.main_thread():
            atexit.register(_ignore)
        yield let_in


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Keep signals waiting until the block ends, and for good in processes that are started in it.

    Such a process is ended by this one: a Ctrl-C, which the terminal sends to both, is not its business. In a program
    of several threads another one may take a signal all the same. Without effect on Windows.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _asking())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _at_first_signal(act: Callable[[], None], repeats_s: float = 0.0) -> Iterator[None]:
    """Do this at the first signal that asks for an end, and nothing at more of them that come within a time.

    Only the main thread gets any.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _asking()}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    asked_s: float | None = None

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal asked_s
        if asked_s is None:
            asked_s = time.monotonic()
            if not repeats_s:
                restore()
            act()
        elif time.monotonic() >= asked_s + repeats_s:
            restore()
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, request)
    try:
        yield
    finally:
        restore()


def _asking() -> list[signal.Signals]:
    """Return the signals that ask for an end here."""
    asking = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # the terminal is closed; Windows has none
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        asking.append(hangup)
    return asking


def _ignore() -> None:
    for number in _asking():
        signal.signal(number, signal.SIG_IGN)
