"""The avatars to choose from: the first encoded at start, its neighbours while running, all read again on request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

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


MAX_KEPT = 9
"""So many avatars stay encoded: as many as keys choose by number, those around the current one."""

MAX_NAMED = 9
"""So many photos that cannot be used are named at start; of more it is said how many there are."""

Prepare = Callable[[Path], Avatar]
"""Read a photo and encode it. Raises SourceError."""


class Avatars:
    """Avatars in the order in which they were given, those of a folder by name; one of them is current.

    A photo is read when it is chosen, or by `work` if it is near the current one; whether it can be used is known only
    then. One that cannot is named in a warning and left out.
    """

    def __init__(self, paths: Iterable[Path], prepare: Prepare) -> None:
        """Encode the first photo that can be used. Raises SourceError if none can."""
        self._given = tuple(paths)
        self._prepare = prepare
        self._order = photos_in(self._given)
        self._ready: dict[Path, Avatar] = {}
        self._stamps: dict[Path, Stamp] = {}
        self._useless: set[Path] = set()
        self._changed: list[Path] = []
        self._is_settled = False  # whether `work` has nothing to do, which is asked in every turn
        first_failure: SourceError | None = None
        for path in self._order:
            failure = self._try(path)
            if failure is None:
                break
            first_failure = first_failure or failure
            if len(self._order) > 1 and len(self._useless) <= MAX_NAMED:
                logger.warning("%s; this avatar is left out", failure)
        if len(self._useless) > MAX_NAMED:
            logger.warning("%d more avatars are left out, too", len(self._useless) - MAX_NAMED)
        if not self._ready:
            raise first_failure or SourceError("no avatar was given: add --avatar PHOTO")
        self._path = next(iter(self._ready))
        self._avatar = self._ready[self._path]

    @property
    def avatar(self) -> Avatar:
        """The current one."""
        return self._avatar

    @property
    def path(self) -> Path:
        """The current one's file."""
        return self._path

    def choose_path(self, path: Path) -> None:
        """Make an avatar current by its file. Raises SourceError if it cannot be used."""
        if path not in self._order:
            self.reload()
        failure = self._try(path) if path not in self._ready else None
        if failure is not None:
            raise failure
        self._path, self._avatar = path, self._ready[path]
        self._is_settled = False
        self._forget_far()

    def add(self, path: Path) -> None:
        """Offer one more photo, after the others."""
        self._given = (*self._given, path)
        self._order.append(path)
        self._is_settled = False

    def remove(self, path: Path) -> None:
        """Offer a photo no more that was given by itself; the current one stays until another is chosen."""
        self._given = tuple(each for each in self._given if each != path)
        self._order = [each for each in self._order if each != path]
        self._ready.pop(path, None)
        self._changed = [each for each in self._changed if each != path]

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
        """How many can be chosen, as far as is known."""
        return len(self._paths())

    def choose(self, number: int) -> None:
        """Make an avatar current by its place, counting from 1.

        Nothing happens if there are fewer or if its photo cannot be used.
        """
        paths = self._paths()
        if 1 <= number <= len(paths):
            self._take(paths[number - 1])

    def step(self, places: int) -> None:
        """Make the avatar current that comes `places` later; after the last comes the first.

        Where a photo cannot be used, the next one in that direction is taken.
        """
        paths = self._paths()
        place = self._place_in(paths) + places
        for _ in range(len(paths)):
            if self._take(paths[place % len(paths)]):
                return
            place += 1 if places > 0 else -1

    def reload(self) -> None:
        """Look which photos there are now; changed ones are encoded again one at a time, see `work`.

        Photos that vanished are taken off the list; the current one stays until another is chosen.
        """
        try:
            self._order = photos_in(self._given)
        except SourceError as error:
            logger.warning("%s; the avatars stay as they are", error)
            return
        found = set(self._order)
        self._ready = {path: avatar for path, avatar in self._ready.items() if path in found}
        known = self._useless | set(self._ready)
        changed = {path for path in self._order if path in known and self._stamps.get(path) != _stamp(path)}
        self._useless = (self._useless & found) - changed
        self._changed = [path for path in self._order if path in changed and path in self._ready]
        self._is_settled = False
        logger.info("%d avatars can be chosen", self.count)

    def work(self) -> bool:
        """Encode one photo, if any waits, so that many cost a short delay each; return whether there was one.

        Those wait that changed, then those that are near the current one.
        """
        if self._is_settled:
            return False
        path = self._changed.pop(0) if self._changed else next(iter(self._missing()), None)
        if path is None:
            self._is_settled = True
            self._forget_far()
            return False
        failure = self._try(path)
        if failure is not None:
            logger.warning("%s; this avatar is left out", failure)
        elif path == self._path:
            self._avatar = self._ready[path]
        return True

    def _paths(self) -> list[Path]:
        """Return the photos that can be chosen, in order."""
        return [path for path in self._order if path not in self._useless]

    def _place_in(self, paths: list[Path]) -> int:
        """Return the current one's place, counting from 0; 0 too if it is gone."""
        return paths.index(self._path) if self._path in paths else 0

    def _near(self) -> list[Path]:
        """Return the photos that should be ready: the current one, then its neighbours on both sides."""
        paths = self._paths()
        place = self._place_in(paths)
        order = sorted(
            range(len(paths)), key=lambda other: min((other - place) % len(paths), (place - other) % len(paths))
        )
        return [paths[other] for other in order[:MAX_KEPT]]

    def _missing(self) -> list[Path]:
        """Return which of those are not ready, the nearest first."""
        return [path for path in self._near() if path not in self._ready]

    def _take(self, path: Path) -> bool:
        """Make a photo current, encoded now if it is not yet; return whether it could be used."""
        try:
            self.choose_path(path)
        except SourceError as failure:
            logger.warning("%s; this avatar is left out", failure)
            return False
        return True

    def _try(self, path: Path) -> SourceError | None:
        """Encode a photo; return why it cannot be used, in which case an older version of it stays."""
        self._stamps[path] = _stamp(path)
        try:
            self._ready[path] = self._prepare(path)
        except SourceError as error:
            if path not in self._ready:
                self._useless.add(path)
            return error
        return None

    def _forget_far(self) -> None:
        """Let go of encoded photos that are far from the current one."""
        if len(self._ready) > MAX_KEPT:
            near = set(self._near())
            self._ready = {path: avatar for path, avatar in self._ready.items() if path in near}


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
            load_photo(path, warns=False)  # which is said when it is encoded
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
