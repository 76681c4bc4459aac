"""The photos that a caller may choose from: the service's, and the caller's own, which are kept in memory alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from avatarify_plus.errors import SourceError
from avatarify_plus.pictures.images import load_photo, photo_of
from avatarify_plus.types import Image
from avatarify_plus.web.offered_photo import harmless_name, thumbnail_of

MAX_BYTES = 10_000_000
"""A larger file is refused."""

MAX_COUNT = 8
"""A caller may bring so many."""

MAX_PX = 2048
"""What a caller brings is shrunk to this longer side: it lies decoded in memory."""


class OfferedPhoto(NamedTuple):
    """A photo. path: its file, or what stands for it if it is a caller's own. thumbnail: a data URL."""

    path: Path
    name: str
    thumbnail: str
    image: Image
    is_own: bool

    @property
    def for_pages(self) -> dict[str, Any]:
        """What pages show of it."""
        return {"file": self.path.name, "name": self.name, "thumbnail": self.thumbnail}


def offered(paths: Iterable[Path]) -> list[OfferedPhoto]:
    """Return the service's own photos. Raises SourceError of the first that cannot be used."""
    return [_offered(path, path.stem, load_photo(path), False) for path in paths]


def decoded(name: str, data: bytes, number: int) -> OfferedPhoto:
    """Return a caller's photo by its file's name and content. Raises SourceError if it cannot be used."""
    plain = harmless_name(name)
    image = photo_of(data, plain, MAX_PX)
    return _offered(Path("/") / "memory" / f"{number:04d}-{plain}", Path(plain).stem, image, True)


def _offered(path: Path, name: str, image: Image, is_own: bool) -> OfferedPhoto:
    return OfferedPhoto(path, name, thumbnail_of(image), image, is_own)


class PhotoChoice:
    """What one caller may choose from, in order."""

    def __init__(self, offered: Iterable[OfferedPhoto]) -> None:
        self.photos = list(offered)
        self._own_count = 0

    @property
    def next_number(self) -> int:
        """The number of the next photo. Raises SourceError if there may be none."""
        if sum(photo.is_own for photo in self.photos) >= MAX_COUNT:
            raise SourceError(f"{MAX_COUNT} photos of yours are here already: take one away first")
        self._own_count += 1
        return self._own_count

    def find(self, file: object) -> OfferedPhoto | None:
        """Return a photo by its file's name."""
        return next((photo for photo in self.photos if photo.path.name == file), None)

    def image(self, path: Path) -> Image:
        """Return a photo's picture by its path. Raises SourceError if it was taken away."""
        photo = next((photo for photo in self.photos if photo.path == path), None)
        if photo is None:
            raise SourceError(f"the photo {path.name} was taken away")
        return photo.image
