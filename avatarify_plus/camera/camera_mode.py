"""What a webcam offers, and what it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from avatarify_plus.config import CameraFormat
from avatarify_plus.types import Size

FOURCC: dict[CameraFormat, str] = {"mjpg": "MJPG", "yuyv": "YUYV"}
COMPRESSED = "MJPG"
UNCOMPRESSED = ("YUYV", "UYVY", "NV12", "NV21", "YU12", "YV12", "RGB3", "BGR3")
"""Uncompressed pixel formats that OpenCV reads from webcams."""

SLOW_CABLE_PX = 640 * 480
"""Larger pictures at full rate exceed USB 2 unless they are compressed."""

RATE_TOLERANCE = 0.05
"""How far a rate may be off, as a share: 29.97 frames a second will do for 30."""


class CameraMode(NamedTuple):
    """What a webcam can be set to.

    rates: frames a second, the highest first, empty if unknown. format: four letters as in Video4Linux, empty if
    unknown.
    """

    size: Size
    rates: tuple[float, ...]
    format: str

    def __str__(self) -> str:
        rates = f" at {', '.join(f'{rate:g}' for rate in self.rates)} fps" if self.rates else ""
        return f"{self.size}{rates}" + (f", {self.format}" if self.format else "")


class CaptureRequest(NamedTuple):
    """What a webcam is asked for.

    size, fps: None leaves them to the webcam. format: "auto" takes what suits the rest.
    """

    size: Size | None = None
    fps: float | None = None
    format: CameraFormat = "auto"

    def fourcc(self, modes: Sequence[CameraMode]) -> str | None:
        """Return the four letters of the pixel format to ask for, None for any: MJPG where nothing else is fast enough.

        modes: what the webcam offers, empty if unknown.
        """
        if self.format != "auto":
            return FOURCC[self.format]
        if self.size is None:
            return None
        if not modes:
            return COMPRESSED if self.size.width * self.size.height > SLOW_CABLE_PX else None
        compressed = _fastest(modes, self.size, (COMPRESSED,))
        wanted = compressed if self.fps is None else min(self.fps, compressed)
        return COMPRESSED if _fastest(modes, self.size, UNCOMPRESSED) < (1 - RATE_TOLERANCE) * wanted else None

    def is_met(self, mode: CameraMode) -> bool:
        """Return whether a mode is what was asked for, as far as it is known."""
        return (
            self.size in (None, mode.size)
            and (self.fps is None or not mode.rates or abs(mode.rates[0] - self.fps) <= RATE_TOLERANCE * self.fps)
            and (self.format == "auto" or mode.format in ("", FOURCC[self.format]))
        )

    def __str__(self) -> str:
        words = [str(self.size or ""), f"{self.fps:g} fps" if self.fps else "", FOURCC.get(self.format, "")]
        return ", ".join(word for word in words if word)


def _fastest(modes: Sequence[CameraMode], size: Size, formats: Sequence[str]) -> float:
    """Return the highest rate, in frames a second, at a size in one of the formats; 0 if there is none."""
    return max(
        (max(mode.rates, default=0) for mode in modes if mode.size == size and mode.format in formats), default=0
    )
