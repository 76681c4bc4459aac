"""The photos that the studio offers: copies in a folder of their own, which goes when the studio ends."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from avatarify_plus.errors import SourceError
from avatarify_plus.pictures.images import load_photo
from avatarify_plus.web.offered_photo import harmless_name, thumbnail_of

MAX_BYTES = 50_000_000
"""A larger file is no photo."""

MAX_COUNT = 60


class Photo(NamedTuple):
    """A photo on offer. path: of the copy. name: for people. thumbnail: a data URL of its middle."""

    path: Path
    name: str
    thumbnail: str


class Gallery:
    """Photos in the order in which they were added. A context manager.

    folder: where the copies lie, readable by their owner alone; their names sort in that order.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="avatarify-studio-"))
        self.photos: list[Photo] = []
        self._count = 0

    def __enter__(self) -> Gallery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_files(self, paths: Iterable[Path]) -> None:
        """Copy photos. Raises SourceError of the first that cannot be used."""
        for path in paths:
            try:
                self.add(path.name, path.read_bytes())
            except OSError as error:
                raise SourceError(f"cannot read the photo {path}: {error.strerror or error}") from error

    def add(self, name: str, data: bytes) -> Photo:
        """Add a photo by its file's name and content. Raises SourceError if it cannot be used."""
        if len(self.photos) >= MAX_COUNT:
            raise SourceError(f"{MAX_COUNT} photos are offered already: take one away first")
        if len(data) > MAX_BYTES:
            raise SourceError(f"{name} has {len(data) / 1e6:.0f} MB: photos may have {MAX_BYTES / 1e6:.0f}")
        plain = harmless_name(name)
        self._count += 1
        path = self.folder / f"{self._count:04d}-{plain}"
        try:
            path.write_bytes(data)
            image = load_photo(path)
        except OSError as error:
            path.unlink(missing_ok=True)
            reason = error.strerror or error
            raise SourceError(f"cannot keep a copy of {name} in {self.folder}: {reason}; free some space") from error
        except SourceError as error:
            path.unlink()
            raise SourceError(str(error).replace(str(path), name)) from error
        photo = Photo(path, Path(plain).stem, thumbnail_of(image))
        self.photos.append(photo)
        return photo

    def remove(self, path: Path) -> None:
        """Take a photo away and delete its copy; nothing happens if it is not there."""
        self.photos = [photo for photo in self.photos if photo.path != path]
        if path.parent == self.folder:
            path.unlink(missing_ok=True)

    def find(self, name: str) -> Photo | None:
        """Return the photo whose copy has this file name, or None."""
        return next((photo for photo in self.photos if photo.path.name == name), None)
