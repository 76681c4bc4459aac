"""Clips with their face meshes as a few files of limited size, for a machine without MediaPipe.

Each part is a zip file. Per clip it holds the clip's own files, `clip.json`, and `mesh.xz`: x and y of the landmarks as
differences from frame to frame, in steps of 1 / 4096 of the picture.
"""

from __future__ import annotations

import contextlib
import json
import logging
import lzma
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from avatarify_plus.errors import DataError, SinkError
from avatarify_plus.face.landmarks import LANDMARK_COUNT
from avatarify_plus.program.whole_file import replaced, write_whole
from avatarify_plus.types import FloatArray
from training.data.cache import INDEX, ROW_FILES, CacheRows, build_cache, read_clip, sole_builder, sound_index
from training.data.datasets import FoundClip, find_clips, frames_in
from training.data.parallel import each_result

logger = logging.getLogger("training")

STEPS = 4096
"""Landmarks are kept in steps of the picture's side over this number."""

MAX_CLIP_BYTES = 1 << 28
"""The most that is read of a clip's description or meshes, in bytes."""

MAX_PICTURES = 10_000_000
"""The most pictures of a clip."""

DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, struct.error)
"""What reading a damaged archive raises besides OSError and ValueError; RuntimeError stands for one with a password."""

UNSEEN = -1.0
"""The coordinate that stands for a landmark that was not found."""


@dataclass(frozen=True, slots=True)
class _ArchivedClip:
    """A clip on its way into an archive; mesh: its landmarks, compressed."""

    clip: FoundClip
    files: list[Path]
    count: int
    mesh: bytes

    @property
    def size(self) -> int:
        return len(self.mesh) + sum(file.stat().st_size for file in self.files)


@dataclass(frozen=True, slots=True)
class _UnpackJob:
    """Decode the clip in folder `entry` of a part into rows [start, start + count) of the files in `out`."""

    part: Path
    entry: str
    out: Path
    size: int
    start: int
    count: int


def write_archive(folder: Path, cache_root: Path, out: Path, part_bytes: int, size: int, processes: int) -> list[Path]:
    """Pack a folder's clips with the meshes of its cache, which is built if need be; return the parts.

    Parts that an interrupted call has left are replaced. Raises DataError if a clip is larger than a part or `out`
    holds a whole archive already, SinkError if writing fails.
    """
    if (found_parts := _parts(out)) and len(found_parts) == _announced(found_parts[0]):
        raise DataError(f"{out} holds a data set archive already: choose another folder")
    cache = build_cache(folder, cache_root, size, processes)
    found = iter(find_clips(folder))  # the cache has some of them, in their order; a name may occur twice
    parts: list[list[_ArchivedClip]] = [[]]
    room = part_bytes
    for kept in tqdm(cache.clips, desc="pack", unit="clip"):
        clip = next(clip for clip in found if clip.name == kept.name)
        files = frames_in(clip.path) if clip.path.is_dir() else [clip.path]
        landmarks = cache.landmarks[kept.start : kept.start + kept.count]
        archived = _ArchivedClip(clip, files, kept.count, _squeezed(landmarks))
        if archived.size > part_bytes:
            raise DataError(f"{clip.path} takes {archived.size / 1e6:.0f} MB, a part at most {part_bytes / 1e6:.0f} MB")
        if archived.size > room:
            parts.append([])
            room = part_bytes
        parts[-1].append(archived)
        room -= archived.size
    paths = [out / f"part-{index:03}-of-{len(parts):03}.zip" for index in range(len(parts))]
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path in found_parts:
            path.unlink()
        for path, part in zip(paths, parts, strict=True):
            _write_part(path, part)
    except OSError as error:
        raise SinkError(f"cannot write the archive in {out}: {error}; choose another --out") from error
    return paths


def is_archive(folder: Path) -> bool:
    """Return whether a folder holds parts of an archive."""
    return bool(_parts(folder))


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*-of-*.zip"))


def _announced(part: Path) -> int:
    """Return of how many parts its name says that it is one."""
    number = part.stem.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def unpack(folder: Path, out: Path, size: int, processes: int) -> Path:
    """Decode an archive into a cache at `out` and return that path; a cache that is there already is kept.

    Raises DataError if a part is missing or damaged, or no clip can be decoded.
    """
    parts = _parts(folder)
    expected = _announced(parts[0]) if parts else 0
    if len(parts) != expected or not parts:
        raise DataError(f"{folder} holds {len(parts)} parts of an archive of {expected}: bring the others too")
    wanted = {"size": size, "parts": [[part.name, part.stat().st_size] for part in parts]}
    with sole_builder(out):
        if sound_index(out, [wanted]) is None:
            _unpack(parts, out, wanted, processes)
    return out


def _unpack(parts: list[Path], out: Path, wanted: dict[str, Any], processes: int) -> None:
    size, index = wanted["size"], out / INDEX
    for name in (INDEX, *ROW_FILES):
        (out / name).unlink(missing_ok=True)
    clips: list[dict[str, Any]] = []
    jobs: list[_UnpackJob] = []
    total = 0
    for part in parts:
        for entry, values in _entries(part):
            clips.append(values | {"start": total})
            jobs.append(_UnpackJob(part, entry, out, size, total, values["count"]))
            total += values["count"]
    CacheRows(out, size).reserve(total)
    problems = [p for p in tqdm(each_result(_fill, jobs, processes), total=len(jobs), desc="unpack", unit="clip") if p]
    if problems:
        logger.warning("skipped %d of %d clips: %s", len(problems), len(jobs), "; ".join(problems))
    if len(problems) == len(jobs):
        raise DataError(f"none of the clips in {parts[0].parent} can be decoded")
    write_whole(index, json.dumps({"wanted": wanted, "count": total, "clips": clips}))


def _write_part(path: Path, part: list[_ArchivedClip]) -> None:
    # Stored as it is: what is inside is compressed already. Zip files know no times before 1980, file systems do.
    with replaced(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
        for number, archived in enumerate(part):
            values = {"name": archived.clip.name, "identity": archived.clip.identity, "count": archived.count}
            archive.writestr(f"{number:05}/clip.json", json.dumps(values | {"folder": archived.clip.path.is_dir()}))
            archive.writestr(f"{number:05}/mesh.xz", archived.mesh)
            for file in archived.files:
                archive.write(file, f"{number:05}/files/{file.name}")


def _entries(part: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the folder of each clip in a part, with its name, identity and count."""
    with _opened(part) as archive:
        for name in sorted(name for name in archive.namelist() if name.endswith("/clip.json")):
            values = json.loads(_content(archive, name, MAX_CLIP_BYTES))
            kinds = (("name", str), ("identity", str), ("count", int), ("folder", bool))
            if not (isinstance(values, dict) and all(type(values.get(key)) is kind for key, kind in kinds)):
                raise ValueError(f"{name} describes no clip")
            if not 0 < values["count"] <= MAX_PICTURES:
                raise ValueError(f"{name} counts {values['count']} pictures")
            yield name.partition("/")[0], {key: values[key] for key in ("name", "identity", "count")}


@contextlib.contextmanager
def _opened(part: Path) -> Iterator[zipfile.ZipFile]:
    """Open a part for reading. Raises DataError there, and for all that turns out to be damaged in the block."""
    try:
        with zipfile.ZipFile(part) as archive:
            yield archive
    except (OSError, EOFError, ValueError, KeyError, RecursionError, *DAMAGED) as error:
        raise DataError(f"{part} is not a part of an archive, or damaged ({error}): fetch it again") from error


def _content(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Return a file of an archive. Raises ValueError if it is larger than such a file may be."""
    if archive.getinfo(name).file_size > most:
        raise ValueError(f"{name} is too large")
    return archive.read(name)


def _fill(job: _UnpackJob) -> str | None:
    """Write a clip's frames and meshes into the cache; return what was wrong with it, if anything."""
    landmarks = np.full((job.count, LANDMARK_COUNT, 3), np.nan, np.float32)
    rows, problem = CacheRows(job.out, job.size), None
    with tempfile.TemporaryDirectory() as scratch, _opened(job.part) as archive:
        inside = [name for name in archive.namelist() if name.startswith(f"{job.entry}/files/")]
        if not inside or sum(archive.getinfo(name).file_size for name in inside) > job.part.stat().st_size:
            raise ValueError(f"{job.entry} holds no files as they were")  # they are stored as they are
        archive.extractall(scratch, inside)
        is_folder = json.loads(archive.read(f"{job.entry}/clip.json"))["folder"]
        path = Path(scratch) / job.entry / "files" if is_folder else Path(scratch) / inside[0]
        try:
            frames = np.stack(read_clip(path, job.size)[: job.count])
        except DataError as error:
            problem = str(error)
        else:
            with rows.open_frames(job.start) as file:
                file.write(frames.data)
            count = len(frames)
            mesh = _content(archive, f"{job.entry}/mesh.xz", MAX_CLIP_BYTES)
            landmarks[:count] = _unsqueezed(mesh, job.count)[:count]
    rows.write_landmarks(job.start, landmarks)
    return problem


def _squeezed(landmarks: FloatArray) -> bytes:
    """Compress x and y of (N, 478, 3) landmarks: 0.55 kB a frame."""
    steps = np.round((np.nan_to_num(landmarks[..., :2], nan=UNSEEN) - UNSEEN) * STEPS).astype(np.int16)
    return lzma.compress(np.diff(steps, axis=0, prepend=np.zeros_like(steps[:1])).tobytes())


def _unsqueezed(data: bytes, count: int) -> FloatArray:
    """Return (N, 478, 3) landmarks, z being 0 and NaN where no face was found. Raises ValueError if they are not N."""
    unpacked = lzma.LZMADecompressor().decompress(data, count * LANDMARK_COUNT * 4 + 1)  # no more than there should be
    steps = np.frombuffer(unpacked, np.int16).reshape(count, LANDMARK_COUNT, 2).cumsum(0, dtype=np.int16)
    landmarks = np.zeros((count, LANDMARK_COUNT, 3), np.float32)
    landmarks[..., :2] = steps.astype(np.float32) / STEPS + UNSEEN
    landmarks[(steps == 0).all((1, 2))] = np.nan
    return landmarks
