"""The films and photos of a person that are given: which there are, and the photos' squares as training reads them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from avatarify_plus.errors import DataError, SourceError
from avatarify_plus.face.photo_framing import face_scorer, faces_finder, frame_photo, upright
from avatarify_plus.pictures.decoding import write_png
from avatarify_plus.pictures.images import PICTURE_SUFFIXES, load_photo
from avatarify_plus.pictures.video_suffixes import VIDEO_SUFFIXES

logger = logging.getLogger(__name__)

OWN = "own"
"""What stands for the person in the names of clips and photos: all of them show the same one."""


class Material(NamedTuple):
    """What is known of a person: files of films and of photos."""

    films: tuple[Path, ...]
    photos: tuple[Path, ...]


def find_material(given: Sequence[Path]) -> Material:
    """Return the films and photos among files, and in folders and below them.

    A file that is named itself counts as a film unless it is called like a picture. Raises DataError if something is
    not there, or if there is no film.
    """
    films: dict[Path, None] = {}
    photos: dict[Path, None] = {}
    for path in given:
        if not path.exists():
            raise DataError(f"there is no film, photo or folder {path}")
        for file in _files_of(path):
            suffix = file.suffix.lower()
            if suffix in PICTURE_SUFFIXES:
                photos[file.absolute()] = None
            elif suffix in VIDEO_SUFFIXES or file == path:
                films[file.absolute()] = None  # the programs that read it run in another folder
    if not films:
        raise DataError(f"no film in {', '.join(map(str, given))}: photos alone do not show how a face moves")
    return Material(tuple(films), tuple(photos))


def _files_of(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        return [path]
    inside = (file for file in sorted(path.rglob("*")) if file.is_file())
    return [file for file in inside if not any(part.startswith(".") for part in file.relative_to(path).parts)]


def cut_photos(photos: Sequence[Path], folder: Path, size_px: int) -> int:
    """Write the square around the face of each photo as a PNG of (size_px, size_px) into a folder; return how many.

    A photo that cannot be used is named in a warning and left out. Raises DataError if the folder cannot be written.
    """
    count = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with faces_finder(True) as find_faces, face_scorer(True) as score:
            for path in photos:
                try:
                    photo = upright(load_photo(path), find_faces, score, str(path))
                    framed = frame_photo(photo, find_faces, size_px, "auto", str(path))
                except SourceError as error:
                    logger.warning("%s", error)
                    continue
                write_png(folder / f"{OWN}_{count:03d}.png", framed.view.image)
                count += 1
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error}") from error
    return count
