"""Find the clips in a folder, as face-animation data sets are laid out, and read their pictures.

Layouts may be mixed; nothing has to be declared.

- A video file is a clip, a loose picture file a clip of one picture (a still).
- A folder of pictures is one clip if it is named like a video, as the First Order Motion Model's project distributes
  VoxCeleb and TaiChiHD (`train/id10001#7w0IBEWc9Qw#000993#001143.mp4/0000000.png`), or if it lies directly in a
  `train`, `val` or `test` folder and its pictures' names are consecutive numbers and nothing else (`train/017/00.png`).
  A folder of portraits, whose pictures are named by person, stays a folder of stills.
- A folder that holds `train`, `val` or `test` is split: one of them is read, everything else in the folder is not.
- The name says whose face it is: up to the first '#' (VoxCeleb, TaiChiHD), else up to the first '_' (`anna_03.mp4`),
  else the whole name.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np

from avatarify_plus.errors import DataError
from avatarify_plus.pictures.images import BEHIND_ALPHA, read_picture
from avatarify_plus.types import Image

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".gif")
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")

Split = Literal["train", "val", "test"]
Subject = Literal["face", "body", "any"]
"""What clips show, which decides what is read off them: a face's mesh, a body's landmarks, of anything else nothing."""

SPLIT_FOLDERS: dict[Split, tuple[Split, ...]] = {"train": ("train",), "val": ("val", "test"), "test": ("test", "val")}
"""Folders that a split is read from, the first that exists; a data set often has only one of `val` and `test`."""

MIN_PICTURES = 2
"""A clip that breaks off is used from this number of pictures on: they make a pair."""


@dataclass(frozen=True, slots=True)
class FoundClip:
    """A clip on disk: a video, a folder of numbered pictures or a still, its name, and whose face it shows."""

    path: Path
    name: str
    identity: str


@dataclass(frozen=True, slots=True)
class ClipPair:
    """A line of a pairs list: animate the source's first picture by the driving clip.

    `best_frame` is the driving clip's picture that relative motion is measured from.
    """

    source: FoundClip
    driving: FoundClip
    best_frame: int


class ClipError(DataError):
    """A clip cannot be read, or not to its end; `reason` says why without the clip's name."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot decode {path}: {reason}")
        self.reason = reason


def find_clips(folder: Path, split: Split = "train") -> list[FoundClip]:
    """Return the clips below a folder, sorted by path.

    A folder that is split gives one split only; a folder that is not split gives all it holds.
    Raises DataError if there is no such folder or split, or no clip in it.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    try:
        paths = sorted(_clip_paths(folder, split, frozenset()))
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error}; check its permissions") from error
    if not paths:
        raise DataError(f"no videos or photos found in {split_folder(folder, split)}")
    return [FoundClip(path, clip_name(path), clip_identity(clip_name(path))) for path in paths]


def split_folder(folder: Path, split: Split) -> Path:
    """Return where a folder keeps a split: the folder itself if it is not split.

    Raises DataError if it is split without this one.
    """
    present = [name for name in SPLIT_FOLDERS if (folder / name).is_dir()]
    for name in SPLIT_FOLDERS[split]:
        if name in present:
            return folder / name
    if present:
        raise DataError(f"{folder} is split into {', '.join(present)}, without {split}: name the folder that you mean")
    return folder


def clip_name(path: Path) -> str:
    """Return a clip's name: its file or folder without a video's or picture's suffix."""
    return path.stem if path.suffix.lower() in VIDEO_SUFFIXES + PHOTO_SUFFIXES else path.name


def clip_identity(name: str) -> str:
    """Return whose face a clip of this name shows."""
    separator = "#" if "#" in name else "_"
    return name.partition(separator)[0] or name


def read_pairs(path: Path, clips: Sequence[FoundClip]) -> list[ClipPair]:
    """Read a pairs list, as the First Order Motion Model's `data/*.csv`.

    Columns `source` and `driving` name clips, with or without a suffix; `best_frame` (or `frame`) is optional, 0 if it
    is missing. Raises DataError if the list cannot be read, lacks a column or names a clip that is not among `clips`.
    """
    by_name = {name: clip for clip in clips for name in (clip.name, clip.path.name)}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
            columns = rows[0].keys() if rows else ()
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"cannot read the pairs list {path}: {error}") from error
    missing = [column for column in ("source", "driving") if column not in columns]
    if missing:
        raise DataError(f"the pairs list {path} lacks {' and '.join(missing)}: its first line must name the columns")
    pairs = []
    for line, row in enumerate(rows, start=2):
        for column in ("source", "driving"):
            if row[column] not in by_name:
                raise DataError(f"the pairs list {path}, line {line}: there is no clip {row[column]!r}")
        number = row.get("best_frame") or row.get("frame") or "0"
        if not number.isdecimal():
            raise DataError(f"the pairs list {path}, line {line}: {number!r} is not the number of a frame")
        pairs.append(ClipPair(by_name[row["source"]], by_name[row["driving"]], int(number)))
    return pairs


def count_pictures(path: Path) -> int:
    """Return how many pictures a clip says it has, without decoding it. Raises ClipError if it cannot be opened."""
    if path.is_dir():
        return len(_pictures_in(path))
    if path.suffix.lower() in PHOTO_SUFFIXES:
        return 1
    try:
        with av.open(str(path)) as container:
            return sum(1 for packet in container.demux(video=0) if packet.size)
    except (OSError, ValueError, IndexError) as error:
        raise ClipError(path, _reason(error)) from error


def stream_pictures(path: Path) -> Iterator[Image]:
    """Yield a clip's pictures (H, W, 3), upright; transparent parts are white.

    Raises ClipError where it breaks off, and at once if it cannot be opened or holds no picture.
    """
    is_empty = True
    pictures = _video_pictures(path) if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES else _stored(path)
    try:
        for picture in pictures:
            is_empty = False
            yield picture
    except (OSError, ValueError, IndexError) as error:  # PyAV's errors are of the first two kinds
        raise ClipError(path, _reason(error)) from error
    if is_empty:
        raise ClipError(path, "it holds no pictures")


def frame_rate(path: Path) -> Fraction:
    """Return a video's mean rate in Hz; 25 if it does not say. Raises ClipError if it cannot be opened."""
    try:
        with av.open(str(path)) as container:
            return Fraction(container.streams.video[0].average_rate or 25)
    except (OSError, ValueError, IndexError) as error:
        raise ClipError(path, _reason(error)) from error


def _clip_paths(folder: Path, split: Split, above: frozenset[Path]) -> Iterator[Path]:
    """Yield the clips below a folder. above: the folders that it lies in, against links that run in a circle."""
    place = folder.resolve()
    if place in above:
        return
    if _is_frame_folder(folder):
        yield folder
        return
    for path in split_folder(folder, split).iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _clip_paths(path, split, above | {place})
        elif path.suffix.lower() in VIDEO_SUFFIXES + PHOTO_SUFFIXES:
            yield path


def _is_frame_folder(folder: Path) -> bool:
    """Return whether a folder's pictures are the frames of one clip; the rule is in this file's first lines."""
    if folder.suffix.lower() in VIDEO_SUFFIXES:
        return any(_is_picture(path) for path in folder.iterdir())
    if folder.parent.name not in SPLIT_FOLDERS:
        return False
    names = [path.stem for path in _pictures_in(folder)]
    if len(names) < MIN_PICTURES or not all(name.isdecimal() for name in names):
        return False
    return [int(name) for name in names] == list(range(int(names[0]), int(names[0]) + len(names)))


def _pictures_in(folder: Path) -> list[Path]:
    """Return a folder's pictures in order, 9 before 10."""
    paths = [path for path in folder.iterdir() if _is_picture(path)]
    return sorted(paths, key=lambda path: (len(path.stem), path.name))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")


def _stored(path: Path) -> Iterator[Image]:
    """Yield a still, or the pictures of a folder."""
    return map(read_picture, _pictures_in(path) if path.is_dir() else [path])


def _video_pictures(path: Path) -> Iterator[Image]:
    """Decode a video up to its first damaged frame; a stream cut out of a longer one may begin with some."""
    has_begun = False
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if not frame.is_corrupt:
                has_begun = True
                yield _to_picture(frame)
            elif has_begun:
                raise ValueError("a frame is damaged")


def _to_picture(frame: av.VideoFrame) -> Image:
    has_alpha = any(component.is_alpha for component in frame.format.components)
    picture = _over_white(frame.to_ndarray(format="rgba")) if has_alpha else frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90)  # phones store the sensor's picture and how to turn it, counterclockwise
    return np.ascontiguousarray(np.rot90(picture, turns))


def _over_white(picture: Image) -> Image:
    """Lay (H, W, 4) RGBA over the background; (H, W, 3)."""
    alpha = picture[..., 3:].astype(np.uint16)
    return ((picture[..., :3] * alpha + BEHIND_ALPHA * (255 - alpha) + 127) // 255).astype(np.uint8)


def _reason(error: Exception) -> str:
    """Return what went wrong, without the path that some errors repeat."""
    if isinstance(error, IndexError):
        return "it has no video stream"
    return getattr(error, "strerror", None) or str(error)
