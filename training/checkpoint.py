"""Training checkpoints: written whole or not at all, loaded without running code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from avatarify_plus.errors import ModelError


def save_checkpoint(path: Path, values: dict[str, Any]) -> None:
    """Write a checkpoint beside `path` and move it there in one step, so that a kill never leaves half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    torch.save(values, temporary)
    temporary.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint on the CPU. Raises ModelError if it is missing or not one of ours."""
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"no checkpoint at {path}") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ModelError(f"cannot read checkpoint {path}: {error}") from error
    missing = {"config", "ema", "step"} - set(values) if isinstance(values, dict) else {"config"}
    if missing:
        raise ModelError(f"{path} is not a checkpoint of training/train.py: it lacks {', '.join(sorted(missing))}")
    return values
