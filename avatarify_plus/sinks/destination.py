"""Whether an output can be written, checked before anything slow starts."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from avatarify_plus.errors import SinkError
from avatarify_plus.sinks.film_format import Speed, format_of
from avatarify_plus.sinks.own_file import OwnFile
from avatarify_plus.sinks.picture_folder import require_empty


def reserve_film(path: Path, speed: Speed) -> OwnFile:
    """Open the file of a film, which stays as it is until the first picture; a new one is deleted if there is none.

    From now on nobody else is overwritten. Raises SinkError unless a film can be written there.
    """
    format_of(path, speed)
    if not path.parent.is_dir():
        raise SinkError(f"cannot write {path}: there is no folder {path.parent}; create it or choose another")
    try:
        if path.is_fifo():
            raise SinkError(f"{path} is a pipe, whose reader would hold up the recording: write to a file")
        return OwnFile(path)
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error}; choose another file for --output") from error


def require_folder(folder: Path, is_for_pictures: bool) -> None:
    """Raise SinkError unless files can be written in a folder, which is made later if there is none."""
    if is_for_pictures:
        require_empty(folder)
    place = folder if folder.exists() else folder.parent
    if not place.is_dir():
        raise SinkError(f"cannot write into {folder}: there is no folder {place}; create it or choose another")
    try:
        handle, name = tempfile.mkstemp(dir=place)
        os.close(handle)
        Path(name).unlink()
    except OSError as error:
        raise SinkError(f"cannot write into {place}: {error.strerror}; choose another folder for --output") from error
