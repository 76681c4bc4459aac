"""Decode clips and photos once: pictures and face landmarks in files of rows that training reads at random."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from avatarify_plus.errors import DataError
from avatarify_plus.face.landmarks import LANDMARK_COUNT
from avatarify_plus.face.mesh import FaceMesh
from avatarify_plus.pictures.images import resize
from avatarify_plus.program.file_lock import locked
from avatarify_plus.program.whole_file import write_whole
from avatarify_plus.types import Image
from training.data.datasets import (
    MIN_PICTURES,
    ClipError,
    Folder,
    FoundClip,
    Split,
    Subject,
    count_pictures,
    find_clips,
    frames_in,
    is_still,
    look_through,
    named,
    split_folder,
    stream_pictures,
    tells_person,
)
from training.data.parallel import each_result
from training.data.row_file import RowFile, Rows

logger = logging.getLogger(__name__)

FRAMES, LANDMARKS = ROW_FILES = ("frames.u8", "landmarks.f32")
"""The files that hold a row for each picture: its pixels, and its face's landmarks."""

LOCK = ".lock"
"""The file that is locked while a program writes the cache."""

INDEX = "index.json"
"""The file that lists the clips and their rows; it is written last, so a cache with it is finished."""

PLAN, DONE = "plan.json", "done.jsonl"
"""The files of an unfinished cache, see below."""

MAX_SIDE = 8192
"""The longest side of a cache's pictures, in pixels."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip in the cache: rows [start, start + count) and whose face it shows."""

    name: str
    identity: str
    start: int
    count: int


@dataclass(frozen=True, slots=True)
class Cache:
    """Decoded clips.

    frames: (N, S, S, 3) uint8 RGB. landmarks: (N, 478, 3) float32, x and y in [0, 1] of the frame, NaN where no face
    was found. Both are read when they are asked for. Where the subject is not a face, no face is looked for.
    """

    clips: list[Clip]
    frames: Rows[np.uint8]
    landmarks: Rows[np.float32]


@dataclass(frozen=True, slots=True)
class CacheRows:
    """The rows of a cache in the folder `out`, to be written; size: side of its pictures in px."""

    out: Path
    size: int

    @property
    def row_bytes(self) -> tuple[int, int]:
        """The bytes of a row of each of ROW_FILES."""
        return self.size * self.size * 3, LANDMARK_COUNT * 12

    def lengths(self) -> list[int]:
        """Return how many bytes each of ROW_FILES has, 0 where there is none."""
        return [(self.out / name).stat().st_size if (self.out / name).is_file() else 0 for name in ROW_FILES]

    def reserve(self, count: int) -> None:
        """Give both files room for a number of rows; what they hold stays, and disk space is used only as they fill."""
        for name, row_bytes in zip(ROW_FILES, self.row_bytes, strict=True):
            with open(self.out / name, "ab") as file:
                file.truncate(count * row_bytes)

    @contextlib.contextmanager
    def open_frames(self, start: int) -> Iterator[BinaryIO]:
        """Yield the file of the frames at row `start`; (size, size, 3) uint8 pictures are to be written there."""
        with open(self.out / FRAMES, "r+b") as file:
            file.seek(start * self.row_bytes[0])
            yield file

    def write_landmarks(self, start: int, landmarks: NDArray[np.float32]) -> None:
        """Write landmarks (n, 478, 3) from row `start` on."""
        with open(self.out / LANDMARKS, "r+b") as file:
            file.seek(start * self.row_bytes[1])
            file.write(landmarks.data)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of the clip at `index` of the list: its number of pictures, and what ended it early, if anything."""

    index: int
    count: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class DecodeJob:
    """Decode the clip at `index` of the list into rows [start, start + count) of the files in `out`.

    has_faces: whether to look for meshes.
    """

    index: int
    path: Path
    out: Path
    size: int
    start: int
    count: int
    has_faces: bool


def read_frames(path: Path) -> list[Image]:
    """Decode a clip or photo into (H, W, 3) pictures, up to the first damaged one.

    Raises DataError if it cannot be read or breaks off before its second picture.
    """
    return _intact_pictures(path, size=None)


def read_clip(path: Path, size: int) -> list[Image]:
    """Decode a clip or photo into (size, size, 3) pictures; see `read_frames`."""
    return _intact_pictures(path, size)


def _intact_pictures(path: Path, size: int | None) -> list[Image]:
    frames: list[Image] = []
    try:
        for picture in stream_pictures(path):
            frames.append(picture if size is None else resize(picture, size))
    except ClipError as error:
        if len(frames) < MIN_PICTURES:
            raise
        logger.warning("%s; it is used up to there, %d pictures", error, len(frames))
    return frames


def list_clips(folder: Path, split: Split = "train") -> list[Path]:
    """Return the clips and photos below a folder (see `find_clips`). Raises DataError if there are none."""
    return [clip.path for clip in find_clips(folder, split)]


def build_cache(
    folder: Path, root: Path, size: int, processes: int, split: Split = "train", subject: Subject = "face"
) -> Cache:
    """Decode a folder's clips and find their faces' meshes, below `root`; an existing cache of the same is reused.

    A cache is decoded again if a clip's size or time has changed; whose faces the clips show is read off their names
    each time. A build that was interrupted goes on where it stopped. Clips that cannot be read are skipped and named.
    Raises DataError if the disk is too small or no clip can be read.
    """
    found = look_through(folder, split)
    clips = found.clips
    out = cache_folder(folder, root, split)
    if found.left_out:
        logger.warning("%s: %s", folder, _left_out(found.left_out))
    logger.info("%s: %s", split_folder(folder, split), _described(clips))  # before hours are spent on it
    wanted: dict[str, Any] = {"size": size, "paths": [str(clip.path) for clip in clips]}
    if subject != "face":
        wanted["has_faces"] = False
    stamped = wanted | {"stamps": [_stamp(clip.path) for clip in clips]}
    older = wanted | {"stamps": [_stamp(clip.path)[:2] for clip in clips]}  # did not look at the frames in folders
    fitting = (stamped, older, wanted)  # the last of a version that did not look at times
    index = sound_index(out, fitting)
    if index is None:
        with sole_builder(out):
            index = sound_index(out, fitting)  # another program may have made it meanwhile
            if index is None:
                _write_cache(found, split_folder(folder, split), out, size, processes, stamped)
    if index is not None:
        current = index | {"wanted": stamped, "clips": _renamed(index["clips"], clips)}
        if current != index:
            _write_json(out / INDEX, current)
    return open_cache(out)


def sound_index(out: Path, fitting: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return a cache's index if it is of what is wanted and its files are whole."""
    index = _read_json(out / INDEX)
    if index.get("wanted") not in fitting:
        return None
    problem = _damage(out, index)
    if problem is not None:
        logger.warning("the cache in %s is damaged, it is made again: %s", out, problem)
        return None
    return index


@contextlib.contextmanager
def sole_builder(out: Path) -> Iterator[None]:
    """Keep other programs from writing a cache meanwhile; one that is there already is waited for."""
    with contextlib.ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            if not stack.enter_context(locked(out / LOCK)):
                logger.info("another program is decoding into %s: waiting for its end", out)
                stack.enter_context(locked(out / LOCK, waits=True))
        except OSError as error:
            raise DataError(f"cannot write the cache in {out}: {error}; choose another --cache") from error
        yield


def _renamed(cached: list[dict[str, Any]], clips: list[FoundClip]) -> list[dict[str, Any]]:
    """Return the index's clips, which are some of `clips` in their order, with the identities that these have."""
    found = iter(clips)
    identities = [next((clip.identity for clip in found if clip.name == values["name"]), None) for values in cached]
    return [
        values if identity is None else values | {"identity": identity}
        for values, identity in zip(cached, identities, strict=True)
    ]


def take_stock(folder: Path, split: Split = "train") -> str:
    """Return for people what a folder's clips are taken for and what is left out, or what a cache holds.

    Nothing is decoded. Raises DataError if there is nothing to train on.
    """
    if is_cache(folder):
        clips = open_cache(folder).clips
        people = len({clip.identity for clip in clips})
        pictures = _counted(sum(clip.count for clip in clips), "picture", "pictures")
        return (
            f"{folder}: a cache of {_counted(len(clips), 'clip', 'clips')}, {pictures}, of "
            f"{_counted(people, 'person', 'people')}"
        )
    found = look_through(folder, split)
    lines = [f"{split_folder(folder, split)}: {_described(found.clips)}"]
    if found.left_out:
        lines.append(f"  {_left_out(found.left_out)}")
    return "\n".join(lines)


def _left_out(files: Sequence[str]) -> str:
    return f"left out {_counted(len(files), 'file', 'files')}, not named as videos or photos are: {named(files)}"


def _described(clips: list[FoundClip]) -> str:
    """Return for people what a folder's clips were taken for."""
    folders = [clip for clip in clips if clip.path.is_dir()]
    photos = [clip for clip in clips if not clip.path.is_dir() and is_still(clip.path)]
    kinds = (
        (len(clips) - len(folders) - len(photos), "video", "videos"),
        (len(folders), "folder of frames", "folders of frames"),
        (len(photos), "photo", "photos"),
    )
    counted = ", ".join(_counted(*kind) for kind in kinds if kind[0])
    counts = Counter(clip.identity for clip in clips)
    said = f"{counted}, by their names of {_counted(len(counts), 'person', 'people')}"
    several = [f"{identity} ({count})" for identity, count in counts.most_common() if count > 1]
    if several:
        said += f"; several of {named(several)}"
    strangers = [clip for clip in photos if not tells_person(clip.identity)]
    if strangers:
        said += (
            f"; {_counted(len(strangers), 'photo', 'photos')} such as {strangers[0].path.name} may show anybody, and "
            "each counts as another person's: name photos of one person as ann_1.jpg and ann_2.jpg"
        )
    return said


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def cache_folder(folder: Path, root: Path, split: Split = "train") -> Path:
    """Return where below `root` the clips of a folder are kept.

    It is named by the folder's last two names, and where those belong to another folder's cache, by a hash too.
    """
    place = split_folder(folder, split).resolve()
    plain = root / "-".join(place.parts[-2:])
    owner = next(filter(None, (_owner(plain / name) for name in (INDEX, PLAN))), place)
    if owner == place or owner.is_relative_to(place):
        return plain
    return plain.with_name(f"{plain.name}-{hashlib.sha256(os.fsencode(place)).hexdigest()[:8]}")


def _owner(file: Path) -> Path | None:
    """Return the folder whose cache an index or plan is of; in older ones, where its first clip is."""
    values = _read_json(file)
    wanted = values.get("wanted")
    paths = wanted.get("paths") if isinstance(wanted, dict) else None
    named = values.get("folder") or (paths[0] if isinstance(paths, list) and paths else None)
    try:
        return Path(named).resolve() if isinstance(named, str) else None
    except (OSError, ValueError):  # no name of a folder
        return None


def _stamp(path: Path) -> list[int]:
    """Return what changes when a clip is replaced by another of its name: its size in bytes and its time in ns.

    Of a folder of frames its own, then the frames' number, bytes and latest time.
    """
    try:
        state = path.stat()
        own = [state.st_size, state.st_mtime_ns]
        if not path.is_dir():
            return own
        frames = [frame.stat() for frame in frames_in(path)]
    except OSError:  # a link to what is gone: reading it says so
        return [0, 0]
    return [*own, len(frames), sum(f.st_size for f in frames), max((f.st_mtime_ns for f in frames), default=0)]


def is_cache(folder: Path) -> bool:
    """Return whether a folder holds a cache, finished or not, and no clips."""
    return (folder / FRAMES).exists()


def open_cache(out: Path) -> Cache:
    """Open what `build_cache` wrote. Raises DataError if it is missing or unfinished."""
    values = _read_json(out / INDEX)
    if not values:
        raise DataError(f"{out} holds no finished cache")
    problem = _damage(out, values)
    if problem is not None:
        raise DataError(f"the cache in {out} is damaged: {problem}; delete it to have it made again")
    size, count = values["wanted"]["size"], values["count"]
    try:
        return Cache(
            [Clip(**clip) for clip in values["clips"]],
            RowFile(out / FRAMES, np.uint8, (count, size, size, 3)),
            RowFile(out / LANDMARKS, np.float32, (count, LANDMARK_COUNT, 3)),
        )
    except OSError as error:
        raise DataError(f"the cache in {out} is damaged: {error}; delete it to have it made again") from error


def _damage(out: Path, index: dict[str, Any]) -> str | None:
    """Return what is wrong with a cache's index, or with its files by their sizes; None if nothing is."""
    wanted, count, clips = (index.get(name) for name in ("wanted", "count", "clips"))
    size = wanted.get("size") if isinstance(wanted, dict) else None
    if not (_is_count(size) and size <= MAX_SIDE and _is_count(count) and isinstance(clips, list) and clips):
        return f"{INDEX} does not say what it holds"
    for clip in clips:
        if not (isinstance(clip, dict) and set(clip) == {entry.name for entry in fields(Clip)}):
            return f"{INDEX} lists a clip that is none"
        start, length = clip["start"], clip["count"]
        is_named = isinstance(clip["name"], str) and isinstance(clip["identity"], str)
        if not (is_named and type(start) is int and start >= 0 and _is_count(length) and start + length <= count):
            return f"{INDEX} lists the clip {clip['name']!a} beyond the {count} pictures"
    rows = CacheRows(out, size)
    for name, row_bytes, found in zip(ROW_FILES, rows.row_bytes, rows.lengths(), strict=True):
        if found != count * row_bytes:
            return f"{name} has {found} bytes instead of {count * row_bytes}"
    return None


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and value > 0


# A cache is finished when it has index.json, which is written last. Until then plan.json says which rows belong to
# which clip, and done.jsonl grows by a line for each clip that is decoded.


def _write_cache(found: Folder, folder: Path, out: Path, size: int, processes: int, wanted: dict[str, Any]) -> None:
    clips, plan = found.clips, _read_json(out / PLAN)
    if plan.get("wanted") != wanted or not _is_sound(plan, len(clips), CacheRows(out, size)):
        plan = {"wanted": wanted, "folder": str(folder.resolve())} | _count_all(clips, processes)
        try:
            _lay_out(out)
            _write_json(out / PLAN, plan)
        except OSError as error:
            raise DataError(f"cannot write the cache in {out}: {error}; choose another --cache") from error
    counts = plan["counts"]
    starts = np.cumsum([0, *counts])
    done = {n: clip for n, clip in _read_done(out).items() if n in range(len(counts)) and clip.count <= counts[n]}
    jobs = [
        DecodeJob(index, clip.path, out, size, int(starts[index]), counts[index], wanted.get("has_faces", True))
        for index, clip in enumerate(clips)
        if counts[index] and index not in done
    ]
    if done:
        logger.info("going on: %d of %d clips are decoded already", len(done), len(clips))
    _reserve(out, jobs, size, int(starts[-1]))
    try:
        with open(out / DONE, "a") as file:
            for decoded in tqdm(each_result(_decode, jobs, processes), total=len(jobs), desc="decode", unit="clip"):
                done[decoded.index] = decoded
                file.write(json.dumps(asdict(decoded)) + "\n")
                file.flush()
    except OSError as error:
        raise DataError(
            f"cannot write the cache in {out}: {error}; what is decoded is kept for the next run"
        ) from error
    _finish(clips, out, plan, done)


def _is_sound(plan: dict[str, Any], clip_count: int, rows: CacheRows) -> bool:
    """Return whether a plan is one of so many clips, and the files have room for all that it counts."""
    counts, problems = plan.get("counts"), plan.get("problems")
    if not (isinstance(counts, list) and len(counts) == clip_count and all(type(c) is int and c >= 0 for c in counts)):
        return False
    if not (isinstance(problems, dict) and all(isinstance(reason, str) for reason in problems.values())):
        return False
    return set(problems) <= {str(index) for index in range(clip_count)} and rows.lengths() == [
        sum(counts) * row_bytes for row_bytes in rows.row_bytes
    ]


def _count_all(clips: list[FoundClip], processes: int) -> dict[str, Any]:
    """Return how many pictures each clip announces, and why some cannot be opened."""
    jobs = [(index, clip.path) for index, clip in enumerate(clips)]
    counted = sorted(each_result(_count, jobs, processes), key=lambda decoded: decoded.index)
    return {"counts": [c.count for c in counted], "problems": {c.index: c.problem for c in counted if c.problem}}


def _lay_out(out: Path) -> None:
    """Remove what an earlier list of clips left; a process that still reads it keeps it until it closes it."""
    out.mkdir(parents=True, exist_ok=True)
    for name in (INDEX, PLAN, DONE, *ROW_FILES):
        (out / name).unlink(missing_ok=True)


def _reserve(out: Path, jobs: list[DecodeJob], size: int, total: int) -> None:
    """Log the size of what is to come and make room for it. Raises DataError if the disk is too small."""
    rows, count = CacheRows(out, size), sum(job.count for job in jobs)
    needed, free = count * sum(rows.row_bytes), shutil.disk_usage(out).free
    logger.info("decoding %d pictures of %d clips into %s: %.1f GB", count, len(jobs), out, needed / 1e9)
    if needed > free:
        raise DataError(f"the decoded cache needs {needed / 1e9:.1f} GB, {out} has {free / 1e9:.1f} GB free")
    rows.reserve(total)


def _finish(clips: list[FoundClip], out: Path, plan: dict[str, Any], done: dict[int, Decoded]) -> None:
    """Log what is missing, write the index and clear away what only an interrupted build needs."""
    problems = {int(index): problem for index, problem in plan["problems"].items()}
    problems |= {index: decoded.problem for index, decoded in done.items() if decoded.problem}
    kept, skipped, start = [], [], 0
    for index, (clip, reserved) in enumerate(zip(clips, plan["counts"], strict=True)):
        if index in done and done[index].count:
            kept.append(Clip(clip.name, clip.identity, start, done[index].count))
        else:
            skipped.append({"name": clip.name, "reason": problems.get(index) or "it holds no pictures"})
        start += reserved
    short = [
        f"{clip.name} ({done[index].count} pictures: {problems[index]})"
        for index, clip in enumerate(clips)
        if index in done and done[index].count and index in problems
    ]
    missing = [f"{clip['name']} ({clip['reason']})" for clip in skipped]
    if short:
        logger.warning("%d of %d clips break off: %s", len(short), len(clips), named(short))
    if missing:
        logger.warning("skipped %d of %d clips: %s", len(missing), len(clips), named(missing))
    if kept:
        values = {
            "wanted": plan["wanted"],
            "folder": plan.get("folder"),
            "count": start,
            "clips": [asdict(clip) for clip in kept],
        }
        _write_json(out / INDEX, values | {"skipped": skipped})
    for name in (PLAN, DONE):
        (out / name).unlink()
    if not kept:
        raise DataError(f"none of the {len(clips)} clips can be read: {named(missing)}")


def _count(job: tuple[int, Path]) -> Decoded:
    index, path = job
    try:
        return Decoded(index, count_pictures(path), None)
    except ClipError as error:
        return Decoded(index, 0, error.reason)


def _decode(job: DecodeJob) -> Decoded:
    """Fill the rows of a clip. A clip that breaks off keeps what it has, if that is two pictures or more."""
    rows, count, problem = CacheRows(job.out, job.size), 0, None
    landmarks = np.full((job.count, LANDMARK_COUNT, 3), np.nan, np.float32)
    with contextlib.ExitStack() as stack:
        mesh = stack.enter_context(FaceMesh(tracking=job.count > 1)) if job.has_faces else None
        file = stack.enter_context(rows.open_frames(job.start))
        try:
            for picture in stream_pictures(job.path):
                if count == job.count:
                    break
                image = resize(picture, job.size)
                file.write(image.data)
                found = mesh.find(image) if mesh is not None else None
                if found is not None:
                    landmarks[count] = found
                count += 1
        except ClipError as error:
            problem = error.reason
    if problem and count < MIN_PICTURES:
        count = 0
        landmarks[:] = np.nan
    rows.write_landmarks(job.start, landmarks)
    return Decoded(job.index, count, problem)


def _read_done(out: Path) -> dict[int, Decoded]:
    """Return the clips that an interrupted build decoded; a half-written line does not count."""
    done = {}
    if (out / DONE).exists():
        for line in (out / DONE).read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                decoded = Decoded(**json.loads(line))
                if type(decoded.index) is int and type(decoded.count) is int:
                    done[decoded.index] = decoded
    return done


def _read_json(path: Path) -> dict[str, Any]:
    """Return a file's values; none if it is missing or was not finished."""
    try:
        values = json.loads(path.read_text())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_whole(path, json.dumps(values))
