"""What the page and the loop have in common: requests go one way, pictures and states the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from avatarify_plus.types import Image

MAX_WAITING = 256
"""So many requests wait at most; a page that sends more while the loop is busy loses the oldest."""


class Pictures(NamedTuple):
    """The newest pictures.

    number: counts them. captured_s: when the driver's was captured, by `time.time`. driver: (S, S, 3), None before the
    first. sent: (H, W, 3).
    """

    number: int
    captured_s: float
    driver: Image | None
    sent: Image | None


class PageControl:
    """Carry requests of any thread to the loop's, and what the loop shows to the threads that serve pages.

    wakes: is set when a request waits. All methods may be called by any thread.
    """

    def __init__(self) -> None:
        self.wakes = threading.Event()
        self._lock = threading.Lock()
        self._requests: deque[dict[str, Any]] = deque(maxlen=MAX_WAITING)
        self._watchers: list[Callable[[], None]] = []
        self._state: dict[str, Any] = {}
        self._pictures = Pictures(0, 0.0, None, None)

    def ask(self, request: dict[str, Any]) -> None:
        """Leave a request for the loop."""
        with self._lock:
            self._requests.append(request)
        self.wakes.set()

    def requests(self) -> list[dict[str, Any]]:
        """Return what was asked since the last call, the oldest first."""
        with self._lock:
            self.wakes.clear()
            waiting = list(self._requests)
            self._requests.clear()
        return waiting

    @property
    def state(self) -> dict[str, Any]:
        """What pages show besides pictures, see `publish`; a copy."""
        with self._lock:
            return dict(self._state)

    @property
    def pictures(self) -> Pictures:
        """The newest pictures."""
        with self._lock:
            return self._pictures

    def publish(self, **changes: Any) -> None:
        """Change parts of the state."""
        with self._lock:
            self._state |= changes
        self._wake_watchers()

    def show(self, captured_s: float, driver: Image | None, sent: Image | None) -> None:
        """Replace the pictures, which must not be written to any more; see `Pictures`."""
        with self._lock:
            self._pictures = Pictures(self._pictures.number + 1, captured_s, driver, sent)
        self._wake_watchers()

    def watch(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back, from any thread, whenever there is news; return what ends that."""
        with self._lock:
            self._watchers.append(callback)

        def end() -> None:
            with self._lock:
                self._watchers.remove(callback)

        return end

    def _wake_watchers(self) -> None:
        with self._lock:
            watchers = tuple(self._watchers)
        for callback in watchers:
            callback()


def changes_of(state: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """Return what of a state a page that was told another one does not know."""
    return {name: value for name, value in state.items() if name not in told or told[name] != value}
