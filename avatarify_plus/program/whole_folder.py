"""Folders that take the place of others. Standard library only."""

from __future__ import annotations

import shutil
from pathlib import Path


def put_folder(made: Path, target: Path) -> None:
    """Move a folder to a place on the same disk; the one that is there is deleted, but not before the new one is there.

    A program that is killed in between leaves the old one as `.NAME.old` beside it, where the next call finds it.
    Raises OSError, and then the old one is in its place.
    """
    old = target.with_name(f".{target.name}.old")
    if old.exists():
        if target.exists():
            remove_folder(old)
        else:
            old.rename(target)
    if target.exists():
        target.rename(old)
    try:
        made.rename(target)
    except BaseException:
        if old.exists():
            old.rename(target)
        raise
    remove_folder(old)


def copy_folder(made: Path, target: Path) -> None:
    """Copy a folder to a place on any disk, see `put_folder`. Raises OSError, and then nothing of the copy is left."""
    draft = target.with_name(f".{target.name}.new")
    remove_folder(draft)  # of a program that was killed
    try:
        shutil.copytree(made, draft)
        put_folder(draft, target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def remove_folder(path: Path) -> None:
    """Delete a folder with all that is in it, or a link to one; nothing happens if it is not there. Raises OSError."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
