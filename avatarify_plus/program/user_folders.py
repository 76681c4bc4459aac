"""The folders of the user who runs the program, for what is kept from call to call."""

from __future__ import annotations

import errno
from pathlib import Path

NAME = "avatarify_plus"


def config_folder() -> Path:
    """Return where settings are kept. Raises FileNotFoundError for a user without a home, as in a container."""
    return _folder("config")


def cache_folder() -> Path:
    """Return where what can be made again is kept. Raises FileNotFoundError for a user without a home."""
    return _folder("cache")


def data_folder() -> Path:
    """Return where what the user had made is kept. Raises FileNotFoundError for a user without a home."""
    return _folder("data")


def films_folder() -> Path:
    """Return where films are looked for. Raises FileNotFoundError for a user without a home."""
    return _folder("videos")


def _folder(kind: str) -> Path:
    import platformdirs  # bundles are opened on machines with nothing but torch, too

    try:
        find = getattr(platformdirs, f"user_{kind}_path")
        folder = Path(find() if kind == "videos" else find(NAME, appauthor=False))
    except RuntimeError:
        folder = Path()
    if not folder.is_absolute():  # older releases of platformdirs leave the tilde where it is
        raise FileNotFoundError(
            errno.ENOENT, f"this user has no home folder: set HOME, or XDG_{kind.upper()}_HOME, to keep things"
        )
    return folder
