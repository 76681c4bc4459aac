"""Decode clips and photos once: pictures and face landmarks in memory-mapped files that training reads at random."""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from avatarify_plus.errors import DataError
from avatarify_plus.images import resize
from avatarify_plus.mesh import LANDMARK_COUNT, FaceMesh
from avatarify_plus.types import Image

logger = logging.getLogger(__name__)
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".gif")
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip in the cache: rows [start, start + count) and whose face it shows."""

    name: str
    identity: str
    start: int
    count: int


@dataclass(frozen=True, slots=True)
class Cache:
    """frames: (N, S, S, 3) uint8 RGB, memory-mapped; landmarks: (N, 478, 3) float32, NaN where no face was found."""

    clips: list[Clip]
    frames: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


def read_frames(path: Path) -> list[Image]:
    """Decode a video or photo into (H, W, 3) pictures. Raises DataError if it cannot be read."""
    try:
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"cannot decode {path}: {error}") from error
    if not frames:
        raise DataError(f"cannot decode {path}: it holds no pictures")
    return frames


def read_clip(path: Path, size: int) -> list[Image]:
    """Decode a video or photo into (size, size, 3) pictures. Raises DataError if it cannot be read."""
    return [resize(frame, size) for frame in read_frames(path)]


def list_clips(folder: Path) -> list[Path]:
    """Return the videos and photos below a folder. Raises DataError if there are none."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES + PHOTO_SUFFIXES)
    if not paths:
        raise DataError(f"no videos or photos found in {folder}")
    return paths


def build_cache(folder: Path, root: Path, size: int, processes: int) -> Cache:
    """Decode a folder's clips and find their landmarks, below `root`; an existing cache of the same clips is reused.

    The identity of a clip is its file name up to the first underscore (or '#', as VoxCeleb names them).
    """
    paths = list_clips(folder)
    out = root / "-".join(folder.resolve().parts[-2:])
    wanted = {"size": size, "paths": [str(path) for path in paths]}
    index = out / "index.json"
    if not index.exists() or json.loads(index.read_text())["wanted"] != wanted:
        _write_cache(paths, out, size, processes, wanted)
    return open_cache(out)


def open_cache(out: Path) -> Cache:
    """Open what `build_cache` wrote."""
    values = json.loads((out / "index.json").read_text())
    size, count = values["wanted"]["size"], values["count"]
    return Cache(
        [Clip(**clip) for clip in values["clips"]],
        np.memmap(out / "frames.u8", np.uint8, "r", shape=(count, size, size, 3)),
        np.memmap(out / "landmarks.f32", np.float32, "r", shape=(count, LANDMARK_COUNT, 3)),
    )


def _write_cache(paths: list[Path], out: Path, size: int, processes: int, wanted: dict[str, object]) -> None:
    with _workers(processes) as run:
        counts = list(run(_count_frames, paths))
    total = sum(counts)
    needed = total * (size * size * 3 + LANDMARK_COUNT * 12)
    out.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out).free
    logger.info("decoding %d pictures of %d files into %s: %.1f GB", total, len(paths), out, needed / 1e9)
    if needed > free:
        raise DataError(f"the decoded cache needs {needed / 1e9:.1f} GB, {out} has {free / 1e9:.1f} GB free")
    np.memmap(out / "frames.u8", np.uint8, "w+", shape=(total, size, size, 3))
    np.memmap(out / "landmarks.f32", np.float32, "w+", shape=(total, LANDMARK_COUNT, 3))
    starts = np.cumsum([0, *counts])[:-1]
    jobs = [(path, out, total, size, int(s), c) for path, s, c in zip(paths, starts, counts, strict=True) if c]
    with _workers(processes) as run:
        for _ in tqdm(run(_fill, jobs), total=len(jobs), desc="decode", unit="clip"):
            pass
    clips = [
        {"name": path.stem, "identity": path.stem.replace("#", "_").split("_")[0], "start": start, "count": count}
        for path, _, _, _, start, count in jobs
    ]
    (out / "index.json").write_text(json.dumps({"wanted": wanted, "count": total, "clips": clips}))


@contextlib.contextmanager
def _workers(processes: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yield a `map` over processes; one process is this one.

    The others are spawned: MediaPipe's threads do not survive a fork.
    """
    if processes == 1:
        yield map
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield pool.map


def _count_frames(path: Path) -> int:
    try:
        with av.open(str(path)) as container:
            return sum(1 for packet in container.demux(video=0) if packet.size)
    except (OSError, ValueError, IndexError) as error:
        logger.warning("skipping %s: %s", path, error)
        return 0


def _fill(job: tuple[Path, Path, int, int, int, int]) -> None:
    path, out, total, size, start, count = job
    frames = np.memmap(out / "frames.u8", np.uint8, "r+", shape=(total, size, size, 3))
    landmarks = np.memmap(out / "landmarks.f32", np.float32, "r+", shape=(total, LANDMARK_COUNT, 3))
    landmarks[start : start + count] = np.nan
    try:
        images = read_clip(path, size)[:count]
    except DataError as error:
        logger.warning("skipping: %s", error)
        return
    with FaceMesh(tracking=len(images) > 1) as mesh:
        for offset, image in enumerate(images):
            frames[start + offset] = image
            found = mesh.find(image)
            if found is not None:
                landmarks[start + offset] = found
