"""Pictures that OpenCV decodes."""

from __future__ import annotations

from fractions import Fraction

import cv2

from avatarify_plus.errors import CameraError
from avatarify_plus.pictures.images import from_bgr
from avatarify_plus.types import Image

USUAL_RATE = Fraction(30)
"""Frames a second, assumed if a device does not report its rate."""

MAX_FAILURES = 3
"""Number of damaged pictures in a row, or of late ones from a webcam that was just opened, that end the reading."""


class CaptureReader:
    """Pictures that OpenCV decodes, of a webcam or a stream. See `PictureReader`."""

    is_live = True
    count: int | None = None

    def __init__(self, capture: cv2.VideoCapture, name: str, ends: bool) -> None:
        """Take over an opened capture.

        name: for people. ends: False if running out of pictures is a failure, as with a webcam.
        """
        self.name = name
        self._capture = capture
        self._ends = ends
        self._read_count = 0
        rate = capture.get(cv2.CAP_PROP_FPS)
        self.rate = Fraction(rate).limit_denominator(1001) if 1 <= rate <= 1000 else USUAL_RATE

    def read(self) -> Image | None:
        """Return the next picture, or None after the last. Raises CameraError."""
        try:
            picture = self._next()
        except cv2.error as error:
            raise CameraError(f"cannot read {self.name}: OpenCV says {error.err}") from error
        if picture is not None:
            self._read_count += 1
            return picture
        if not self._ends:
            raise CameraError(
                f"{self.name} gives no pictures any more; check its cable and that no other program uses it"
            )
        if not self._read_count:
            raise CameraError(
                f"{self.name} holds no pictures that can be decoded; try another file or convert it to mp4"
            )
        return None

    def _next(self) -> Image | None:
        """Return the next picture that can be decoded, or None if there is none."""
        may_be_late = not self._ends and not self._read_count
        for _ in range(MAX_FAILURES):
            if self._capture.grab():
                found, picture = self._capture.retrieve()
                if found:
                    return from_bgr(picture)
            elif not may_be_late:
                return None
        return None

    def close(self) -> None:
        """Release the device or file."""
        self._capture.release()
