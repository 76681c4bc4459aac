"""Find the clips in a folder, as face-animation data sets are laid out, and read their pictures.

Layouts may be mixed; nothing has to be declared.

- A video file is a clip, a loose picture file a clip of one picture (a still). What else lies there is left out, and
  files whose names begin with a dot, or that systems leave (`Thumbs.db`), do not count.
- A folder of pictures is one clip
  - if it is named like a video, as the First Order Motion Model's project distributes VoxCeleb and TaiChiHD
    (`train/id10001#7w0IBEWc9Qw#000993#001143.mp4/0000000.png`);
  - if its pictures are called frames and numbered (`ann/frame_0001.png`);
  - if it lies directly in a `train`, `val` or `test` folder and its pictures' names are numbers in equal steps and
    nothing else (`train/017/00.png`), unless they look like pictures of different things;
  - if its pictures' names differ by numbers alone (`ann/out12.jpg`, `ann/0001_0.033.jpg`) and each looks much like the
    next.
  A few pictures of other names in it, such as a cover, are stills. A folder of portraits stays a folder of stills.
- A folder that holds `train`, `val` or `test` is split: one of them is read, everything else in the folder is not.
- The name says whose face it is: up to the first '#' (VoxCeleb, TaiChiHD), else up to the first '_' (`anna_03.mp4`),
  else the whole name. Names that cameras and programs give (`IMG_1000.jpg`, `frame_0001.png`) say nothing of people:
  each is then an identity of its own, as are equal whole names in different folders.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

import av
import numpy as np

from avatarify_plus.errors import DataError
from avatarify_plus.pictures.decoding import BEHIND_ALPHA
from avatarify_plus.pictures.images import PICTURE_SUFFIXES, read_picture, resize
from avatarify_plus.pictures.video_suffixes import VIDEO_SUFFIXES
from avatarify_plus.types import Image

Split = Literal["train", "val", "test"]
Subject = Literal["face", "body", "any"]
"""What clips show, which decides what is read off them: a face's mesh, a body's landmarks, of anything else nothing."""

SPLIT_FOLDERS: dict[Split, tuple[Split, ...]] = {"train": ("train",), "val": ("val", "test"), "test": ("test", "val")}
"""Folders that a split is read from, the first that exists; a data set often has only one of `val` and `test`."""

UNREADABLE = (av.FFmpegError, OSError, EOFError, ValueError, ArithmeticError, LookupError, MemoryError, RuntimeError)
"""What reading damaged files raises; an IndexError is PyAV's for files without a video."""

MIN_PICTURES = 2
"""A clip that breaks off is used from this number of pictures on: they make a pair."""


TEXT_SUFFIXES = (".txt", ".json", ".csv", ".md")
"""How the names of files end that belong beside clips, such as reports and lists of pairs."""

DELIMITERS = (",", ";", "\t")
"""What may stand between the columns of a pairs list."""

MAX_NAMED = 10
"""How many files a message names."""

LITTER = ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information")
"""What systems leave in folders, in lower case; it does not count, as what begins with a dot does not."""

FRAMES_SHARE = 0.8
"""Pictures whose names differ by numbers alone are the frames of a folder if they are at least this share of it."""

FRAMES_WORD = re.compile(r"(.*[^a-z])?frames?[^a-z0-9]*", re.IGNORECASE)
"""What stands before the number in the name of a picture that is called a frame."""

MIN_LOOKED_AT = 5
"""Folders of fewer pictures are judged by their names alone."""

LOOKED_AT = 5
"""The number of places in a folder where a picture is compared with the next."""

MAX_CHANGE, MAX_CHANGE_NUMBERED = 12.0, 24.0
"""Mean change of a small picture's values, out of 255, up to which pictures are frames of one clip; the second where
their names say so, too. The bundled driver changes by 4 in five frames and by 10 in fifty; portraits of different
people mostly differ by more than 30, see `face_tracks.CUT_CHANGE`."""

IMPERSONAL_WORDS = frozenset(
    (
        "avatar",
        "bild",
        "burst",
        "call",
        "cam",
        "camera",
        "capture",
        "chunk",
        "clip",
        "data",
        "dji",
        "dsc",
        "dscf",
        "dscn",
        "face",
        "facetime",
        "fb",
        "file",
        "film",
        "foto",
        "frame",
        "frames",
        "gopr",
        "gopro",
        "image",
        "images",
        "img",
        "imgp",
        "interview",
        "meeting",
        "mov",
        "movie",
        "mvi",
        "mvimg",
        "out",
        "output",
        "part",
        "person",
        "photo",
        "pic",
        "pict",
        "picture",
        "portrait",
        "pxl",
        "received",
        "record",
        "recording",
        "recordings",
        "render",
        "sample",
        "scan",
        "scene",
        "screen",
        "screenshot",
        "segment",
        "selfie",
        "seq",
        "sequence",
        "session",
        "shot",
        "signal",
        "snap",
        "snapshot",
        "speaker",
        "still",
        "subject",
        "take",
        "talk",
        "talking",
        "test",
        "thumb",
        "track",
        "untitled",
        "user",
        "vid",
        "video",
        "webcam",
        "whatsapp",
        "win",
        "zoom",
    )
)
"""First words of file names, in lower case, that cameras, programs and hasty people give: no person is called that."""

CAMERA_FILE = re.compile(r"(?!0)[A-Z0-9_]{4}[0-9]{4}")
"""A camera's file name: four characters and a number (JEITA CP-3461, "DCF"), such as DSC_0001 or 100_0001."""

DATE = re.compile(r"(19|20)[0-9]{6}")
"""A day, as telephones begin the names of photos with (20240131_120000)."""


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


class Folder(NamedTuple):
    """What a folder holds: its clips by path, and other files that are not texts, by their paths in it."""

    clips: list[FoundClip]
    left_out: list[str]


def find_clips(folder: Path, split: Split = "train") -> list[FoundClip]:
    """Return the clips below a folder, sorted by path; see `look_through`."""
    return look_through(folder, split).clips


def look_through(folder: Path, split: Split = "train") -> Folder:
    """Return what lies below a folder, sorted by path.

    A folder that is split gives one split only; a folder that is not split gives all it holds.
    Raises DataError if there is no such folder or split, or no clip in it.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    paths: list[Path] = []
    left_out: list[Path] = []
    try:
        for path, is_clip in _entries(folder, split, frozenset()):
            (paths if is_clip else left_out).append(path)
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error}; check its permissions") from error
    place = split_folder(folder, split)
    files = [
        path.relative_to(folder).as_posix() for path in sorted(left_out) if path.suffix.lower() not in TEXT_SUFFIXES
    ]
    if not paths:
        others = f", but files that are not named as such: {named(files)}" if files else ""
        raise DataError(f"no videos or photos found in {place}{others}")
    return Folder(_identified(sorted(paths), place), files)


def _identified(paths: list[Path], place: Path) -> list[FoundClip]:
    """Return the clips at these paths. Equal whole names are told apart by their folders."""
    names = [clip_name(path) for path in paths]
    count = Counter(names)
    clips = []
    for path, name in zip(paths, names, strict=True):
        identity = clip_identity(name)
        if identity == name and count[name] > 1 and place in path.parents:
            identity = (path.relative_to(place).parent / name).as_posix()
        clips.append(FoundClip(path, name, identity))
    return clips


def named(files: Sequence[str]) -> str:
    """Return the first MAX_NAMED of these names for a message."""
    more = f" (and {len(files) - MAX_NAMED} more)" if len(files) > MAX_NAMED else ""
    return ", ".join(files[:MAX_NAMED]) + more


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
    return path.stem if path.suffix.lower() in VIDEO_SUFFIXES + PICTURE_SUFFIXES else path.name


def clip_identity(name: str) -> str:
    """Return whose face a clip of this name shows: the whole name if it says nothing of a person."""
    if "#" in name:
        return name.partition("#")[0] or name
    person, separator, _ = name.partition("_")
    is_impersonal = person.lower() in IMPERSONAL_WORDS or DATE.fullmatch(person) or CAMERA_FILE.fullmatch(name)
    return person if person and separator and not is_impersonal else name


def tells_person(identity: str) -> bool:
    """Return whether an identity may be a person's: a number or a camera's name means another person elsewhere."""
    name = identity.rpartition("/")[2]
    word = re.split(r"[\W\d_]", name, maxsplit=1)[0].lower()
    return bool(word) and word not in IMPERSONAL_WORDS and not CAMERA_FILE.fullmatch(name)


def read_pairs(path: Path, clips: Sequence[FoundClip]) -> list[ClipPair]:
    """Read a pairs list, as the First Order Motion Model's `data/*.csv`, also as pandas and Windows write them.

    Columns `source` and `driving` name clips, with or without a suffix and the folders that they lie in, by slashes or
    backslashes; `best_frame` (or `frame`) is optional, 0 if it is missing or empty. Columns are divided by commas,
    semicolons or tabs. Raises DataError if the list cannot be read, lacks a column or names a clip that is not among
    `clips`, or several.
    """
    try:
        rows = _table_rows(path)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"cannot read the pairs list {path}: {error}") from error
    columns = rows[0][1].keys() if rows else ()
    missing = [column for column in ("source", "driving") if column not in columns]
    if missing:
        raise DataError(f"the pairs list {path} lacks {' and '.join(missing)}: its first line must name the columns")
    by_name: dict[str, dict[Path, FoundClip]] = {}
    for clip in clips:
        for name in (clip.name, clip.path.name):
            by_name.setdefault(name, {})[clip.path] = clip
    pairs = []
    for line, row in rows:
        try:
            source, driving = _clip_called(row["source"], by_name), _clip_called(row["driving"], by_name)
            pairs.append(ClipPair(source, driving, _frame_number(row.get("best_frame") or row.get("frame") or "")))
        except ValueError as error:
            raise DataError(f"the pairs list {path}, line {line}: {error}") from error
    return pairs


def _table_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a table with their line numbers, by the lower-case names of their columns.

    Raises OSError, ValueError or csv.Error if it cannot be read.
    """
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("cp1252")  # wrong guesses name no clip
    lines = text.splitlines()
    first = next((index for index, line in enumerate(lines) if line.strip() and not line.startswith("sep=")), 0)
    heading = lines[first] if lines else ""
    delimiter = max(DELIMITERS, key=heading.count)
    reader = csv.DictReader(lines[first:], delimiter=delimiter, skipinitialspace=True)
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    rows = []
    for row in reader:
        values = {name: value.strip() for name, value in row.items() if name is not None and value is not None}
        if any(values.values()):
            rows.append((first + reader.line_num, dict.fromkeys(reader.fieldnames, "") | values))
    return rows


def _clip_called(text: str, by_name: Mapping[str, Mapping[Path, FoundClip]]) -> FoundClip:
    """Return the clip of a name that may have folders before it. Raises ValueError if there is none, or several."""
    found = by_name.get(text, {})
    if not found:
        parts = [part for part in re.split(r"[/\\]", text) if part not in ("", ".")]
        found = by_name.get(parts[-1], {}) if parts else {}
        for count in range(2, len(parts) + 1):
            if len(found) == 1:
                break
            folders = tuple(parts[-count:-1])
            found = {place: c for place, c in found.items() if place.parent.parts[-len(folders) :] == folders} or found
    if not found:
        raise ValueError(f"there is no clip {text!r}")
    if len(found) > 1:
        places = named(sorted(str(place) for place in found))
        raise ValueError(f"{len(found)} clips are called {text!r}: write its folder and suffix, too ({places})")
    return next(iter(found.values()))


def _frame_number(text: str) -> int:
    """Return a frame's number, 0 if it is empty. Raises ValueError if it is none."""
    if text.lower() in ("", "nan"):
        return 0
    digits = text.removesuffix(".0")  # what pandas makes of whole numbers in a column with gaps
    if not digits.isdecimal():
        raise ValueError(f"{text!r} is not the number of a frame")
    return int(digits)


def is_still(path: Path) -> bool:
    """Return whether a file is named like a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def is_litter(name: str) -> bool:
    """Return whether a file or folder of this name does not count: hidden ones, and what systems leave."""
    return name.startswith(".") or name.lower() in LITTER


def frames_in(folder: Path) -> list[Path]:
    """Return the pictures of a folder of frames in order, 9 before 10.

    A few pictures of other names, such as a cover, are none of them.
    """
    paths = [path for path in folder.iterdir() if _is_picture(path)]
    kinds = Counter(map(_text_of, paths))
    kind, count = kinds.most_common(1)[0] if kinds else ("", 0)
    if count >= FRAMES_SHARE * len(paths):
        paths = [path for path in paths if _text_of(path) == kind]
    return sorted(paths, key=lambda path: (len(path.stem), path.name))


def _text_of(path: Path) -> str:
    """Return a file's name without its suffix, its numbers as zeros."""
    return re.sub("[0-9]+", "0", path.stem)


def count_pictures(path: Path) -> int:
    """Return how many pictures a clip says it has, without decoding it. Raises ClipError if it cannot be opened."""
    if path.is_dir():
        return len(frames_in(path))
    if is_still(path):
        return 1
    _require_file(path)
    try:
        with av.open(str(path)) as container:
            return sum(1 for packet in container.demux(video=0) if packet.size)
    except UNREADABLE as error:
        raise ClipError(path, _reason(error)) from error


def _require_file(path: Path) -> None:
    """Raise ClipError for what a reader would wait for without end."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ClipError(path, "it is a pipe or a device, not a file")


def stream_pictures(path: Path) -> Iterator[Image]:
    """Yield a clip's pictures (H, W, 3), upright; transparent parts are white.

    Raises ClipError where it breaks off, and at once if it cannot be opened or holds no picture.
    """
    is_empty = True
    _require_file(path)
    pictures = _stored(path) if path.is_dir() or is_still(path) else _video_pictures(path)
    try:
        for picture in pictures:
            is_empty = False
            yield picture
    except UNREADABLE as error:
        raise ClipError(path, _reason(error)) from error
    if is_empty:
        raise ClipError(path, "it holds no pictures")


def frame_rate(path: Path) -> Fraction:
    """Return a video's mean rate in Hz; 25 if it does not say. Raises ClipError if it cannot be opened."""
    _require_file(path)
    try:
        with av.open(str(path)) as container:
            return Fraction(container.streams.video[0].average_rate or 25)
    except UNREADABLE as error:
        raise ClipError(path, _reason(error)) from error


def video_seconds(path: Path) -> float:
    """Return how long a video says it is, 0 if it does not say. Raises ClipError if it cannot be opened."""
    _require_file(path)
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if stream.duration and stream.time_base:
                return float(stream.duration * stream.time_base)
            return (container.duration or 0) / av.time_base
    except UNREADABLE as error:
        raise ClipError(path, _reason(error)) from error


def _entries(folder: Path, split: Split, above: frozenset[Path]) -> Iterator[tuple[Path, bool]]:
    """Yield what lies below a folder, and whether it is a clip.

    above: the folders that it lies in, against links that run in a circle.
    """
    place = folder.resolve()
    if place in above:
        return
    is_clip = _is_frame_folder(folder)
    frames = frozenset(frames_in(folder)) if is_clip else frozenset()
    if is_clip:
        yield folder, True
        if folder.suffix.lower() in VIDEO_SUFFIXES:
            return
    for path in split_folder(folder, split).iterdir():
        if is_litter(path.name):
            continue
        if path.is_dir():
            yield from _entries(path, split, above | {place})
        elif is_still(path):
            if path not in frames:
                yield path, True
        else:
            yield path, path.suffix.lower() in VIDEO_SUFFIXES


def _is_frame_folder(folder: Path) -> bool:
    """Return whether a folder's pictures are the frames of one clip; the rule is in this file's first lines."""
    if folder.suffix.lower() in VIDEO_SUFFIXES:
        return any(_is_picture(path) for path in folder.iterdir())
    if folder.name in SPLIT_FOLDERS:
        return False
    paths = frames_in(folder)
    series = _series([path.stem for path in paths])
    if series is None:
        return False
    if FRAMES_WORD.fullmatch(series.before):
        return True
    steps = {after - before for before, after in zip(series.numbers, series.numbers[1:], strict=False)}
    is_numbered = folder.parent.name in SPLIT_FOLDERS and not series.before and not series.after and len(steps) == 1
    if len(paths) < MIN_LOOKED_AT:
        return is_numbered
    return _change(paths) <= (MAX_CHANGE_NUMBERED if is_numbered else MAX_CHANGE)


class _Series(NamedTuple):
    """Names that differ by numbers alone: what stands before and after them, and the first of them in order."""

    before: str
    after: str
    numbers: list[int]


def _series(names: Sequence[str]) -> _Series | None:
    """Return what names have in common, None if they differ by more than numbers or are fewer than MIN_PICTURES."""
    parts = [re.split("([0-9]+)", name) for name in names]  # texts and, at odd places, numbers
    if len(names) < MIN_PICTURES or len({len(part) for part in parts}) > 1:
        return None
    varying = [place for place, column in enumerate(zip(*parts, strict=True)) if len(set(column)) > 1]
    if not varying or any(place % 2 == 0 for place in varying):
        return None
    numbers = sorted(int(part[varying[0]]) for part in parts)
    return _Series("".join(parts[0][: varying[0]]), "".join(parts[0][varying[0] + 1 :]), numbers)


def _change(paths: Sequence[Path]) -> float:
    """Return the median change from a picture to the next, see MAX_CHANGE; infinite if they cannot be read."""
    changes = []
    for place in np.unique(np.linspace(0, len(paths) - 2, LOOKED_AT).astype(int)):
        try:
            first, second = (resize(read_picture(path), 32).astype(np.int16) for path in paths[place : place + 2])
        except (OSError, ValueError):
            continue
        changes.append(float(np.abs(first - second).mean()))
    return float(np.median(changes)) if changes else float("inf")


def _is_picture(path: Path) -> bool:
    return is_still(path) and not path.name.startswith(".")


def _stored(path: Path) -> Iterator[Image]:
    """Yield a still, or the pictures of a folder."""
    return map(read_picture, frames_in(path) if path.is_dir() else [path])


def _video_pictures(path: Path) -> Iterator[Image]:
    """Decode a video up to its first damaged frame; a stream cut out of a longer one may begin with some."""
    has_begun = False
    with av.open(str(path)) as container:
        if container.streams.video[0].codec_context is None:  # older releases of PyAV crash on it
            raise ValueError("nothing here decodes it")
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
