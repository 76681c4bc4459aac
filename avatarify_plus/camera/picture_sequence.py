"""Still pictures as a video."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from avatarify_plus.camera.steady_time import SteadyTime
from avatarify_plus.errors import CameraError
from avatarify_plus.pictures.images import pictures_in, read_picture
from avatarify_plus.types import Image


class PictureSequence(SteadyTime):
    """Still pictures, one after the other, as a video. See `ClipReader`."""

    is_live = False

    def __init__(self, name: str, paths: list[Path], rate: Fraction) -> None:
        super().__init__(rate)
        self.name = name
        self.count: int | None = len(paths)
        self._paths = iter(paths)

    def read(self) -> Image | None:
        """Return the next picture, or None after the last. Raises CameraError."""
        path = next(self._paths, None)
        if path is None:
            return None
        try:
            picture = read_picture(path)
        except (OSError, ValueError) as error:
            raise CameraError(
                f"cannot read the picture {path} of {self.name}: {error}; replace or remove it"
            ) from error
        self.tick()
        return picture

    def close(self) -> None:
        """Do nothing, because no file stays open."""


def list_folder(folder: Path) -> list[Path]:
    """Return a folder's pictures by name. Raises CameraError if it has none."""
    try:
        return pictures_in(folder)
    except ValueError as error:
        raise CameraError(str(error)) from error


def list_pattern(pattern: str) -> list[Path]:
    """Return the files of a printf pattern, from number 0 or 1 to the first gap. Raises CameraError if it has none."""
    try:
        first = next((number for number in (0, 1) if Path(pattern % number).is_file()), None)
    except (TypeError, ValueError) as error:
        raise CameraError(f"{pattern} is not a pattern for one number; write it like shots/%04d.png") from error
    if first is None:
        raise CameraError(f"no pictures match {pattern}: neither {pattern % 0} nor {pattern % 1} exists")
    paths: list[Path] = []
    while (path := Path(pattern % (first + len(paths)))).is_file():
        paths.append(path)
    return paths
