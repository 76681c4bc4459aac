"""The times of pictures that come at a constant rate."""

from __future__ import annotations

from fractions import Fraction


class SteadyTime:
    """Count pictures, and say from when until when the newest one is shown. See `ClipReader`."""

    def __init__(self, rate: Fraction) -> None:
        """rate: pictures a second."""
        self.rate = rate
        self.time_base = 1 / rate
        self.time_s = self.end_s = 0.0
        self._count = 0

    def tick(self) -> None:
        """Count a picture."""
        self.time_s, self.end_s = float(self._count / self.rate), float((self._count + 1) / self.rate)
        self._count += 1
