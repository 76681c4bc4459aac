"""The sound of a film, beside its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from avatarify_plus.camera.film_file import FilmFile
from avatarify_plus.errors import CameraError

if TYPE_CHECKING:
    import av


class FilmSound:
    """The packets of a film's sound. name: of the film, for people. stream: what they belong to."""

    def __init__(self, film: FilmFile, stream: av.AudioStream, start_s: float) -> None:
        """Take over an opened film.

        start_s: the time in the film, in seconds, at which the pictures begin.
        """
        self.name = film.name
        self.stream = stream
        self._film = film
        self._start_s = start_s

    def packets(self) -> Iterator[av.Packet]:
        """Yield packets in order; their times count from the first picture, and are negative before it."""
        for packet in self._film.packets(self.stream):
            if packet.pts is None or not packet.size:
                continue
            shift = round(self._start_s / packet.time_base)
            packet.pts -= shift
            packet.dts = packet.pts if packet.dts is None else packet.dts - shift
            yield packet

    def close(self) -> None:
        """Release the file."""
        self._film.close()


def open_sound(place: Path | str, start_s: float) -> FilmSound | None:
    """Open the sound of a film; None if it has none. start_s: see `FilmSound`."""
    try:
        film = FilmFile(place)
    except CameraError:  # it was there a moment ago; reading its pictures says what has happened
        return None
    stream = film.container.streams.best("audio")
    if stream is None or stream.codec_context is None:
        film.close()
        return None
    return FilmSound(film, stream, start_s)
