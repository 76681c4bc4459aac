"""Reading the small files in which Linux describes itself."""

from __future__ import annotations

from pathlib import Path


def read_system_file(file: Path) -> str:
    """Return what a small file holds, without space around it; nothing if it cannot be read."""
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
