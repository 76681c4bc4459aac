"""Run one function over many jobs in several processes."""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from avatarify_plus.errors import DataError

Item = TypeVar("Item")
Output = TypeVar("Output")


def each_result(function: Callable[[Item], Output], items: Sequence[Item], processes: int) -> Iterator[Output]:
    """Yield the results of a function as they come, in any order. With one process, this process does the work.

    Several are spawned: MediaPipe's threads do not survive a fork. They end when this process ends, in any way.
    Raises DataError if one of them dies.
    """
    if processes == 1 or len(items) < 2:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(items)), context, initializer=_end_with_parent) as pool:
        try:
            for future in as_completed([pool.submit(function, item) for item in items]):
                yield future.result()
        except BrokenProcessPool as error:
            raise DataError(
                "a process died, for lack of memory or over a damaged file; run this again to go on with what is left, "
                "with fewer processes if it was the memory"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _end_with_parent() -> None:
    """End this process at once on Ctrl-C and when its parent ends: it would wait for work otherwise."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
