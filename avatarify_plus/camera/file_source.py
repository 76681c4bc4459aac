"""A driver's file, of which every frame counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import TracebackType

from avatarify_plus.camera.reader import PictureReader
from avatarify_plus.types import Frame


class FileSource:
    """Every frame of a file, in order. Takes over the reader. See `FrameSource`."""

    is_live = False
    skipped_count = 0
    trouble: str | None = None

    def __init__(self, reader: PictureReader) -> None:
        self.name = reader.name
        self.rate = reader.rate
        self.count = reader.count
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
            yield Frame(image, index, float(index / self.rate))
            index += 1
