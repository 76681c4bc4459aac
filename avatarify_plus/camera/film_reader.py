"""The pictures of a film, each with its own time."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatarify_plus.camera.film_file import FilmFile
from avatarify_plus.camera.film_sound import FilmSound, open_sound
from avatarify_plus.errors import CameraError
from avatarify_plus.types import Image

if TYPE_CHECKING:
    import av

USUAL_RATE = Fraction(30)
"""Frames a second, assumed where a film says nothing."""

MIN_RATE = Fraction(1, 1001)
"""Pictures that are farther apart count as so many a second: the rate is no more than a hint."""

MAX_RATE = 240
"""A film that claims a higher rate means its ticks, not its pictures: their number and times are counted."""

FINEST_TICK = Fraction(1, 1_000_000)
USUAL_TICK = Fraction(1, 90_000)
"""The length of a tick, in seconds, that takes the place of one below FINEST_TICK."""

MISSING_S = 0.5
"""A film that ends earlier than it says by more than this, and by MISSING_PICTURES, is cut short."""

MISSING_PICTURES = 3

MAX_PIXEL_RATIO = 8
"""Pixels that claim to be wider or higher than this are taken for square ones."""

TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
"""What turns pictures upright, by the degrees that the film names, counter-clockwise."""


class FilmReader:
    """The pictures of a video file or of one on a web server, upright and with square pixels. See `ClipReader`.

    What is damaged is passed over, as players do; a film that ends before it should is an error.
    """

    is_live = False

    def __init__(self, place: Path | str) -> None:
        """Open it and decode the first picture. Raises CameraError if it holds none."""
        self.time_s = self.end_s = 0.0
        self._next_s = self._shift_s = 0.0
        self._last_length_s = 0.0
        self._damaged_count = 0
        self._film = FilmFile(place)
        self.name = self._film.name
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        """Find out what the film says of itself, and decode the first picture. Raises CameraError."""
        stream = self._stream = self._film.pictures()
        tick: Fraction = stream.time_base or USUAL_TICK
        self.time_base = tick if tick >= FINEST_TICK else USUAL_TICK
        self.count: int | None = stream.frames or None
        rate = stream.average_rate
        if rate is None or not 0 < rate <= MAX_RATE:
            rate = self._count_pictures()
            stream = self._stream = self._film.pictures()
        self.rate = max(Fraction(rate).limit_denominator(1001), MIN_RATE)
        self._interval_s = float(1 / self.rate)
        self._frames = self._decoded()
        self._next = next(self._frames, None)
        if self._next is None:
            raise CameraError(
                f"{self.name} holds no pictures that can be decoded; try another file or convert it to mp4"
            )
        self._start_s = self._time_in_file(self._next) or 0.0
        ends_s = float(((stream.start_time or 0) + stream.duration) * tick) if stream.duration else None
        self._length_s = None if ends_s is None else ends_s - self._start_s

    def _count_pictures(self) -> Fraction:
        """Count the pictures of a film that does not say its rate, and return their mean rate."""
        times = self._film.times_s(self._stream)
        self._film.open_again()
        length_s = max(times, default=0.0) - min(times, default=0.0)
        if length_s <= 0:
            return USUAL_RATE
        self.count = self.count or len(times)
        return min(Fraction(len(times) - 1) / Fraction(length_s), Fraction(MAX_RATE))

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Yield the frames that can be decoded, up to the end of what can be read."""
        import av

        last_ticks = -1
        for packet in self._film.packets(self._stream):
            if packet.pts is not None and packet.pts > last_ticks:
                last_ticks = packet.pts
                self._last_length_s = float((packet.duration or 0) * packet.time_base)
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, ValueError):
                self._damaged_count += 1
            else:
                yield from frames

    def _time_in_file(self, frame: av.VideoFrame) -> float | None:
        """Return when a frame is shown in the file's own time, in seconds; None if it does not say."""
        ticks = frame.pts if frame.pts is not None else frame.dts
        return None if ticks is None else float(ticks * frame.time_base)

    def read(self) -> Image | None:
        """Return the next picture, or None after the last. Raises CameraError if the film ends before it should."""
        frame = self._next
        if frame is None:
            self._require_end()
            return None
        self.time_s = self._next_s
        self._next = next(self._frames, None)
        if self._next is None:
            self.end_s = self.time_s + (self._last_length_s or self._interval_s)
        else:
            self.end_s = self._next_s = self._following_s(self._next)
            self._interval_s = self.end_s - self.time_s
        return self._picture(frame)

    def _following_s(self, frame: av.VideoFrame) -> float:
        """Return when the frame after the newest one is shown; it goes on where the file's time goes back."""
        usual_s = self.time_s + self._interval_s
        in_file_s = self._time_in_file(frame)
        if in_file_s is None:
            return usual_s
        time_s = in_file_s - self._start_s + self._shift_s
        if time_s > self.time_s:
            return time_s
        self._shift_s += usual_s - time_s
        return usual_s

    def _picture(self, frame: av.VideoFrame) -> Image:
        """Return a frame upright, with square pixels, as (H, W, 3) uint8 RGB."""
        width, height = frame.width, frame.height
        ratio = self._stream.sample_aspect_ratio
        if ratio and ratio != 1 and 1 / MAX_PIXEL_RATIO <= ratio <= MAX_PIXEL_RATIO:
            width, height = round(width * max(ratio, 1)), round(height / min(ratio, 1))
        picture = frame.to_ndarray(format="rgb24", width=width, height=height)
        turn = TURNS.get(frame.rotation % 360)
        image: Image = np.ascontiguousarray(picture if turn is None else cv2.rotate(picture, turn))
        return image

    def _require_end(self) -> None:
        """Raise CameraError if the film says that it is longer."""
        missing_s = self._film.missing_s
        if self._length_s is not None:
            missing_s = max(missing_s, self._length_s - self.end_s)
        if missing_s > max(MISSING_S, MISSING_PICTURES * float(1 / self.rate)):
            raise CameraError(
                f"{self.name} breaks off after {self.end_s:.1f} s, {missing_s:.1f} s before its end: it is cut short "
                "or damaged; copy or download it again"
            )

    @property
    def damage(self) -> str | None:
        """What could not be decoded so far, in one line for people; None if all is well."""
        if not self._damaged_count:
            return None
        places = "one place" if self._damaged_count == 1 else f"{self._damaged_count} places"
        return f"{self.name} is damaged in {places}; the pictures there are left out"

    def open_sound(self) -> FilmSound | None:
        """Open the film's sound beside its pictures; None if it has none."""
        return open_sound(self._film.place, self._start_s)

    def close(self) -> None:
        """Release the file."""
        self._film.close()
