"""Writing pictures into a folder, one file each."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import cv2

from avatarify_plus.errors import SinkError
from avatarify_plus.pictures.images import PICTURE_SUFFIXES
from avatarify_plus.sinks.own_file import OWNER_ONLY
from avatarify_plus.types import Image

COMPRESSION = 3
"""PNG's, from 0 to 9: higher ones take several times as long for a few per cent."""


class PictureFolder:
    """Write every picture as a PNG, numbered from 1: 000001.png. No file that is there already is written to."""

    name = "folder of pictures"

    def __init__(self, folder: Path) -> None:
        """Make the folder, if there is none. Raises SinkError if it cannot be written to or holds pictures."""
        require_empty(folder)
        self._folder = folder
        self._is_new = not folder.exists()
        self._count = 0
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise SinkError(f"cannot make the folder {folder}: {error.strerror}; choose another place") from error

    def send(self, image: Image, time_s: float) -> None:
        """Write a picture, see `Sink.send`. Raises SinkError if the disk is full or gone, or the file is there."""
        path = self._folder / f"{self._count + 1:06d}.png"
        encoded = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, COMPRESSION])[1]
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), OWNER_ONLY)
        except FileExistsError as error:
            raise SinkError(f"cannot write {path}: another program has put it there; it stays as it is") from error
        except OSError as error:
            raise SinkError(f"cannot write {path}: {error.strerror}; check the free space of the disk") from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(encoded.tobytes())
        except OSError as error:
            with contextlib.suppress(OSError):
                path.unlink()  # half a picture is none
            raise SinkError(f"cannot write {path}: {error.strerror}; check the free space of the disk") from error
        self._count += 1

    def close(self) -> None:
        """Leave no new folder without pictures."""
        if self._is_new and not self._count:
            self._remove_folder()

    def discard(self) -> None:
        """Delete the pictures that were written."""
        for index in range(self._count):
            (self._folder / f"{index + 1:06d}.png").unlink(missing_ok=True)
        if self._is_new:
            self._remove_folder()

    def _remove_folder(self) -> None:
        try:
            self._folder.rmdir()
        except OSError:  # somebody else keeps something in it
            return


def require_empty(folder: Path) -> None:
    """Raise SinkError if a folder holds pictures, among which new ones would be lost."""
    if not folder.is_dir():
        return
    found = [path.name for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES]
    if found:
        raise SinkError(f"the folder {folder} holds pictures already, such as {min(found)}; name an empty or new one")
