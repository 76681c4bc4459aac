"""A checkpoint as files of limited size, to bring it home from a machine that gives back small files only."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from avatarify_plus.errors import ModelError
from training.loop.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

LIST = "pieces.json"


def write_pieces(checkpoint: Path, folder: Path, piece_bytes: int, whole: bool) -> list[Path]:
    """Write a checkpoint's averaged weights in float16, or the `whole` file to resume from; return the pieces.

    Pieces of before are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in [folder / LIST, *folder.glob("piece-*")]:
        old.unlink(missing_ok=True)
    if whole:
        data = checkpoint.read_bytes()
    else:
        saved = read_checkpoint(checkpoint)
        halved = {name: _halved(tensor) for name, tensor in saved.ema.items()}
        data = replace(saved, ema=halved, state=None).to_bytes()
    paths = []
    for index, start in enumerate(range(0, len(data), piece_bytes)):
        paths.append(folder / f"piece-{index:03}.bin")
        paths[-1].write_bytes(data[start : start + piece_bytes])
    listed = {"pieces": [path.name for path in paths], "sha256": hashlib.sha256(data).hexdigest(), "whole": whole}
    (folder / LIST).write_text(json.dumps(listed))
    return [*paths, folder / LIST]


def join_pieces(folder: Path, out: Path) -> None:
    """Put pieces back into a checkpoint. Raises ModelError if one is missing or damaged."""
    try:
        listed: dict[str, Any] = json.loads((folder / LIST).read_text())
        data = b"".join((folder / name).read_bytes() for name in listed["pieces"])
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"cannot read the pieces in {folder}: {error}") from error
    if hashlib.sha256(data).hexdigest() != listed["sha256"]:
        raise ModelError(f"the pieces in {folder} do not fit together: fetch them again")
    if listed["whole"]:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(data)
        return
    saved = Checkpoint.from_bytes(data, folder)
    write_checkpoint(out, replace(saved, ema={name: _widened(tensor) for name, tensor in saved.ema.items()}))


def _halved(tensor: Tensor) -> Tensor:
    """Return a tensor in float16 on the CPU; in its own precision if it does not fit."""
    half = tensor.cpu().half()
    return half if tensor.is_floating_point() and half.isfinite().all() else tensor.cpu()


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
