"""Several sinks that take the same pictures."""

from __future__ import annotations

import contextlib
import logging
from types import TracebackType

from avatarify_plus.errors import SinkError
from avatarify_plus.sinks.sink import Sink
from avatarify_plus.types import Image

logger = logging.getLogger(__name__)


class Outputs:
    """Send to every sink; one that fails is closed and left out with a warning, as long as another remains."""

    def __init__(self) -> None:
        self._sinks: list[Sink] = []

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._sinks)

    def add(self, sink: Sink) -> None:
        """Take over a sink: it gets every picture from now on and is closed with the rest."""
        self._sinks.append(sink)

    def send(self, image: Image, time_s: float) -> None:
        """Send a picture to all. Raises SinkError when the last sink fails."""
        for sink in tuple(self._sinks):
            try:
                sink.send(image, time_s)
            except SinkError as error:
                self._drop(sink, error)

    def _drop(self, sink: Sink, error: SinkError) -> None:
        self._sinks.remove(sink)
        with contextlib.suppress(SinkError):  # what made it fail is told; that it cannot close either adds nothing
            sink.close()
        if not self._sinks:
            raise error
        logger.warning("%s; going on without the %s", error, sink.name)

    def close(self) -> None:
        """Close all. Raises the first SinkError after every sink was closed."""
        failures: list[SinkError] = []
        while self._sinks:
            try:
                self._sinks.pop().close()
            except SinkError as error:
                failures.append(error)
        if failures:
            raise failures[0]
