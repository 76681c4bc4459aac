"""The avatars to choose from: all encoded at start, switched within a frame, read again on request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from avatarify_plus.errors import SourceError
from avatarify_plus.pictures.composition import Composition
from avatarify_plus.pictures.images import load_photo, pictures_in
from avatarify_plus.puppeteer import EncodedAvatar

logger = logging.getLogger(__name__)

Stamp = tuple[int, int]
"""When a file was last changed, in nanoseconds, and its length in bytes."""


class Avatar(NamedTuple):
    """A photo, encoded, and its place in the picture that is sent."""

    encoded: EncodedAvatar
    composition: Composition


Prepare = Callable[[Path], Avatar]
"""Read a photo and encode it. Raises SourceError."""


class Avatars:
    """Avatars in the order in which they were given, those of a folder by name; one of them is current."""

    def __init__(self, paths: Iterable[Path], prepare: Prepare) -> None:
        """Encode all with a progress bar. What cannot be used is named in a warning and left out.

        Raises SourceError if none can be used.
        """
        self._given = tuple(paths)
        self._prepare = prepare
        self._order = photos_in(self._given)
        self._ready: dict[Path, Avatar] = {}
        self._stamps: dict[Path, Stamp] = {}
        self._waiting: list[Path] = []
        first_failure: SourceError | None = None
        for path in tqdm(self._order, desc="avatars", unit="photo", disable=len(self._order) == 1):
            failure = self._try(path)
            first_failure = first_failure or failure
            if failure is not None and len(self._order) > 1:
                logger.warning("%s; this avatar is left out", failure)
        if not self._ready:
            raise first_failure or SourceError("no avatar was given: add --avatar PHOTO")
        self._path = next(iter(self._ready))
        self._avatar = self._ready[self._path]

    @property
    def avatar(self) -> Avatar:
        """The current one."""
        return self._avatar

    @property
    def name(self) -> str:
        """The name of the current one's file, without the suffix."""
        return self._path.stem

    @property
    def number(self) -> int:
        """The place of the current one, counting from 1; 0 if its file is gone."""
        paths = self._paths()
        return paths.index(self._path) + 1 if self._path in paths else 0

    @property
    def count(self) -> int:
        """How many can be chosen."""
        return len(self._paths())

    def choose(self, number: int) -> None:
        """Make an avatar current by its place, counting from 1; nothing happens if there are fewer."""
        paths = self._paths()
        if 1 <= number <= len(paths):
            self._path = paths[number - 1]
            self._avatar = self._ready[self._path]

    def step(self, places: int) -> None:
        """Make the avatar current that comes `places` later; after the last comes the first."""
        if self.count:
            self.choose((max(self.number, 1) - 1 + places) % self.count + 1)

    def reload(self) -> None:
        """Look which photos there are now; new and changed ones are encoded one at a time, see `work`.

        Photos that vanished are taken off the list; the current one stays until another is chosen.
        """
        try:
            self._order = photos_in(self._given)
        except SourceError as error:
            logger.warning("%s; the avatars stay as they are", error)
            return
        found = set(self._order)
        self._ready = {path: avatar for path, avatar in self._ready.items() if path in found}
        self._waiting = [path for path in self._order if self._stamps.get(path) != _stamp(path)]

    def work(self) -> bool:
        """Encode one waiting photo, if any, so that many cost a short delay each; return whether there was one."""
        if not self._waiting:
            return False
        path = self._waiting.pop(0)
        failure = self._try(path)
        if failure is not None:
            logger.warning("%s; this avatar is left out", failure)
        elif path == self._path:
            self._avatar = self._ready[path]
        if not self._waiting:
            logger.info("%d avatars are ready", self.count)
        return True

    def _paths(self) -> list[Path]:
        """Return the photos that can be chosen, in order."""
        return [path for path in self._order if path in self._ready]

    def _try(self, path: Path) -> SourceError | None:
        """Encode a photo; return why it cannot be used, in which case an older version of it stays."""
        self._stamps[path] = _stamp(path)
        try:
            self._ready[path] = self._prepare(path)
        except SourceError as error:
            return error
        return None


def photos_in(given: Iterable[Path]) -> list[Path]:
    """Return files as they are and the photos in folders by name, each once. Raises SourceError for an empty folder."""
    found: dict[Path, None] = {}
    for path in given:
        if not path.is_dir():
            found[path] = None
            continue
        try:
            found |= dict.fromkeys(pictures_in(path, "photos"))
        except ValueError as error:
            raise SourceError(str(error)) from error
    return list(found)


def require_photo(given: Iterable[Path]) -> None:
    """Raise the SourceError of the first photo unless one of them can be read: checked before anything slow starts."""
    failures: list[SourceError] = []
    for path in photos_in(given):
        try:
            load_photo(path)
        except SourceError as error:
            failures.append(error)
        else:
            return
    raise failures[0] if failures else SourceError("no avatar was given: add --avatar PHOTO")


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)
