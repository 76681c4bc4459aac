"""A driver's file, of which every frame counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import TracebackType

from avatarify_plus.camera.film_reader import FilmReader
from avatarify_plus.camera.film_sound import FilmSound
from avatarify_plus.camera.reader import ClipReader
from avatarify_plus.types import Frame


class FileSource:
    """Every frame of a file, in order, at its own time. Takes over the reader. See `FrameSource`.

    time_base: length of the tick, in seconds, of which all times are multiples.
    """

    is_live = False
    skipped_count = 0

    def __init__(self, reader: ClipReader) -> None:
        self.name = reader.name
        self.rate = reader.rate
        self.count = reader.count
        self.time_base = reader.time_base
        self._reader = reader

    def __enter__(self) -> FileSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield frames until there are no more or `stop` is set. Raises CameraError."""
        index = 0
        while not stop.is_set() and (image := self._reader.read()) is not None:
            yield Frame(image, index, self._reader.time_s)
            index += 1

    @property
    def end_s(self) -> float:
        """When the newest frame ends, in seconds from the beginning of the video."""
        return self._reader.end_s

    @property
    def trouble(self) -> str | None:
        """What could not be decoded so far, in one line for people; None if all is well."""
        return self._reader.damage if isinstance(self._reader, FilmReader) else None

    def open_sound(self) -> FilmSound | None:
        """Open the file's sound; None if it has none."""
        return self._reader.open_sound() if isinstance(self._reader, FilmReader) else None
