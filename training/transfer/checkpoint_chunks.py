"""A checkpoint as files of limited size, to fetch it from a machine that gives back only small files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from avatarify_plus.errors import ModelError, SinkError
from avatarify_plus.network.checkpoint import Checkpoint, read_checkpoint
from avatarify_plus.program.whole_file import write_whole
from training.loop.checkpoint import write_checkpoint

LIST = "chunks.json"
"""The file that lists the chunks, whose own names begin with "chunk-", and the SHA-256 of their content."""

OLD_LIST = "pieces.json"
"""The list's name in older folders, whose chunks' names begin with "piece-"; they can still be joined."""


def write_chunks(checkpoint: Path, folder: Path, chunk_bytes: int, whole: bool) -> list[Path]:
    """Write a checkpoint's averaged weights in float16, or the `whole` file to resume from, and return the files.

    Earlier chunks in the folder are removed. Raises SinkError if one cannot be written.
    """
    if whole:
        data = checkpoint.read_bytes()
    else:
        saved = read_checkpoint(checkpoint)
        halved = {name: _halved(tensor) for name, tensor in saved.ema.items()}
        data = replace(saved, ema=halved, state=None).to_bytes()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in [folder / LIST, folder / OLD_LIST, *folder.glob("chunk-*"), *folder.glob("piece-*")]:
            old.unlink(missing_ok=True)
        paths = []
        for index, start in enumerate(range(0, len(data), chunk_bytes)):
            paths.append(folder / f"chunk-{index:03}.bin")
            write_whole(paths[-1], data[start : start + chunk_bytes])
        listed = {"chunks": [path.name for path in paths], "sha256": hashlib.sha256(data).hexdigest(), "whole": whole}
        write_whole(folder / LIST, json.dumps(listed))
    except OSError as error:
        raise SinkError(f"cannot write the checkpoint chunks in {folder}: {error}; free some space") from error
    return [*paths, folder / LIST]


def join_chunks(folder: Path, out: Path) -> None:
    """Put chunks back into a checkpoint.

    Raises ModelError if one is missing or damaged, and SinkError if the checkpoint cannot be written.
    """
    try:
        is_old = not (folder / LIST).exists() and (folder / OLD_LIST).exists()
        listed = _read_list(folder / (OLD_LIST if is_old else LIST), "pieces" if is_old else "chunks")
        data = b"".join((folder / name).read_bytes() for name in listed["chunks"])
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot read the checkpoint chunks in {folder}: {error}; fetch them again") from error
    if hashlib.sha256(data).hexdigest() != listed["sha256"]:
        raise ModelError(f"the checkpoint chunks in {folder} do not fit together: fetch them again")
    if listed["whole"]:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            write_whole(out, data)
        except OSError as error:
            raise SinkError(f"cannot write {out}: {error.strerror or error}; free some space") from error
        return
    saved = Checkpoint.from_bytes(data, folder)
    write_checkpoint(out, replace(saved, ema={name: _widened(tensor) for name, tensor in saved.ema.items()}))


def _read_list(path: Path, key: str) -> dict[str, Any]:
    """Return what a list says, its chunks' names as "chunks". Raises OSError, and ValueError if it is no such list."""
    listed = json.loads(path.read_bytes())
    names = listed.get(key) if isinstance(listed, dict) else None
    if not (isinstance(names, list) and all(isinstance(name, str) and Path(name).name == name for name in names)):
        raise ValueError(f"{path.name} does not list them")
    if not isinstance(listed.get("sha256"), str) or not isinstance(listed.get("whole"), bool):
        raise ValueError(f"{path.name} does not say what they are")
    return listed | {"chunks": names}


def _halved(tensor: Tensor) -> Tensor:
    """Return a tensor in float16 on the CPU; in its own precision if it does not fit."""
    half = tensor.cpu().half()
    return half if tensor.is_floating_point() and half.isfinite().all() else tensor.cpu()


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
