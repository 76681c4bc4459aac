"""Who may speak to the service, how often, and for how long: the limits that keep others' pictures flowing."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_ADDRESSES = 4096
"""So many addresses are remembered at most, the newest."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What callers may do. The times are in seconds.

    token_s: within which a connection says the token. wrong_tokens: in a minute and from one address. offers: of a
    connection, in a minute. unknown: connections that have not said the token yet, in all and from one address.
    silent_s: without a picture, after which a caller must come again. session_s: the longest call. photo_s: between two
    photos of one caller. message: bytes of a text or of a piece of a photo.
    """

    token_s: float = 5.0
    wrong_tokens: int = 10
    offers: int = 10
    unknown: int = 32
    unknown_each: int = 8
    silent_s: float = 120.0
    session_s: float = 4 * 3600.0
    photo_s: float = 2.0
    message: int = 65_536


class Rate:
    """At most so many events in a minute."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._times_s: list[float] = []

    def may(self) -> bool:
        """Return whether there may be one more now, and count it if so."""
        if self.is_spent:
            return False
        self._times_s.append(self._clock())
        return True

    @property
    def is_spent(self) -> bool:
        """Whether there may be none now."""
        now_s = self._clock()
        self._times_s = [time_s for time_s in self._times_s if now_s - time_s < 60]
        return len(self._times_s) >= self._most


class Doorkeeper:
    """Remember which addresses gave wrong tokens, and how many connections have given none yet."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._wrong: OrderedDict[str, Rate] = OrderedDict()
        self._unknown: dict[str, int] = {}

    def may_knock(self, address: str) -> bool:
        """Return whether a connection from an address may say a token; if so, `leave_door` must follow."""
        wrong = self._wrong.get(address)
        if wrong is not None and wrong.is_spent:
            return False
        if sum(self._unknown.values()) >= self._limits.unknown:
            return False
        if self._unknown.get(address, 0) >= self._limits.unknown_each:
            return False
        self._unknown[address] = self._unknown.get(address, 0) + 1
        return True

    def leave_door(self, address: str, was_wrong: bool) -> None:
        """Note that a connection has said its token, or has gone."""
        self._unknown[address] -= 1
        if not self._unknown[address]:
            del self._unknown[address]
        if was_wrong:
            self._wrong.setdefault(address, Rate(self._limits.wrong_tokens, self._clock)).may()
            self._wrong.move_to_end(address)
            while len(self._wrong) > MAX_ADDRESSES:
                self._wrong.popitem(last=False)
