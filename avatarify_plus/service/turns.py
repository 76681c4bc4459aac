"""One thread in which everything is computed, one turn after the other, first come first served."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)

JOIN_S = 10.0


class TurnThread:
    """Give turns. A context manager, which begins and ends the thread.

    A turn that waits is not queued twice, so that somebody with many pictures waits as long as somebody with few.
    busy_s: how long turns have taken together. count: of turns.
    """

    def __init__(self) -> None:
        self.busy_s = 0.0
        self.count = 0
        self._changed = threading.Condition()
        self._waiting: OrderedDict[Callable[[], None], None] = OrderedDict()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="turns", daemon=True)

    def __enter__(self) -> TurnThread:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        self._thread.join(JOIN_S)

    def request(self, turn: Callable[[], None]) -> None:
        """Have a turn taken when all that wait already have had theirs; any thread may call. It may raise nothing."""
        with self._changed:
            self._waiting.setdefault(turn, None)
            self._changed.notify_all()

    def call(self, work: Callable[[], T]) -> Future[T]:
        """Have something done in the thread; return its result to come."""
        future: Future[T] = Future()

        def turn() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                future.set_exception(error)

        self.request(turn)
        return future

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_over)
                if not self._waiting:
                    return
                turn, _ = self._waiting.popitem(last=False)
            begun_s = time.perf_counter()
            try:
                turn()
            except Exception:
                logger.exception("a turn failed")
            self.busy_s += time.perf_counter() - begun_s
            self.count += 1
            del turn  # and with it all that it holds, such as a caller who has left
