"""Several sinks that are sent the same pictures."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from avatarify_plus.errors import SinkError
from avatarify_plus.sinks.sink import Sink
from avatarify_plus.types import Image

logger = logging.getLogger(__name__)

RETRY_S = 2.0
"""How often a missing sink that can be reopened is tried."""

Reopen = Callable[[], Sink]
"""Open a sink again. Raises SinkError."""


@dataclass(slots=True)
class _Place:
    """The place of a sink: sink is None while it is missing, which is tried again at due_s."""

    name: str
    sink: Sink | None
    reopen: Reopen | None
    due_s: float


class Outputs:
    """Send to every sink; one that fails is closed and left out with a warning, or opened again as soon as possible.

    is_needed: whether it is an error if no sink is left; False where the pictures are seen elsewhere, too.
    """

    is_needed = True

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._places: list[_Place] = []
        self._losses: list[str] = []

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """Return the number of sinks that take pictures now."""
        return sum(place.sink is not None for place in self._places)

    @property
    def trouble(self) -> str | None:
        """What is wrong, in one line for people; None if every sink takes pictures."""
        absent = [
            f"no {place.name}, looking for it every {RETRY_S:g} seconds" for place in self._places if not place.sink
        ]
        return "; ".join([*self._losses, *absent]) or None

    def add(self, sink: Sink, reopen: Reopen | None = None) -> None:
        """Take over a sink: it gets every picture from now on and is closed with the rest.

        reopen: opens it again after it has failed; None leaves it out for good.
        """
        self._places.append(_Place(sink.name, sink, reopen, 0.0))

    def find(self, name: str) -> Sink | None:
        """Return the sink of a name that takes pictures now, or None."""
        return next((place.sink for place in self._places if place.name == name and place.sink), None)

    def has(self, sink: Sink) -> bool:
        """Return whether a sink still takes pictures."""
        return any(place.sink is sink for place in self._places)

    def take_away(self, sink: Sink) -> None:
        """Close a sink, which gets no picture any more; nothing happens if it failed before. Raises its SinkError."""
        if self.has(sink):
            self._places = [place for place in self._places if place.sink is not sink]
            sink.close()

    def add_later(self, name: str, reopen: Reopen) -> None:
        """Add a sink that could not be opened yet and is tried again. name: what people call it."""
        self._places.append(_Place(name, None, reopen, self._clock() + RETRY_S))

    def send(self, image: Image, time_s: float) -> None:
        """Send a picture to every sink.

        time_s: when it belongs, see `Sink.send`. Raises SinkError if the last one fails for good and one is needed.
        """
        for place in tuple(self._places):
            if place.sink is None:
                self._look_for(place, image, time_s)
                continue
            try:
                place.sink.send(image, time_s)
            except SinkError as error:
                self._lose(place, place.sink, error)

    def _lose(self, place: _Place, sink: Sink, error: SinkError) -> None:
        """Close a sink that has failed, and warn about it; raise its error if it was the last one that is needed."""
        _close_quietly(sink)
        if place.reopen is not None:
            place.sink, place.due_s = None, self._clock() + RETRY_S
            logger.warning("%s; going on without the %s until it is back", error, place.name)
            return
        self._places.remove(place)
        self._losses.append(str(error))
        if not self._places and self.is_needed:
            raise error
        logger.warning("%s; going on without the %s", error, place.name)

    def _look_for(self, place: _Place, image: Image, time_s: float) -> None:
        """Open a missing sink if it is due; it is back once it has taken a picture."""
        if place.reopen is None or self._clock() < place.due_s:
            return
        try:
            sink = place.reopen()
        except SinkError as error:
            logger.debug("%s", error)
        else:
            try:
                sink.send(image, time_s)
                place.sink = sink
                logger.info("the %s takes pictures", place.name)
            except SinkError as error:
                logger.debug("%s", error)
                _close_quietly(sink)
        place.due_s = self._clock() + RETRY_S

    def close(self) -> None:
        """Close every sink. Raises the first SinkError, after all were closed."""
        failures: list[SinkError] = []
        while self._places:
            sink = self._places.pop().sink
            try:
                if sink is not None:
                    sink.close()
            except SinkError as error:
                failures.append(error)
        if failures:
            raise failures[0]


def _close_quietly(sink: Sink) -> None:
    """Close a sink that has failed. Why it failed is reported; that it cannot close either would add nothing."""
    with contextlib.suppress(SinkError):
        sink.close()
