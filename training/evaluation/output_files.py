"""Where results are to be written, checked before anything is computed."""

from __future__ import annotations

from pathlib import Path

from avatarify_plus.errors import SinkError
from avatarify_plus.program.command_line import require_writable


def require_place(path: Path, option: str) -> None:
    """Make the folder of a file. Raises SinkError unless the file can be written there.

    option: which option named it, for the message.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error}; choose another place for {option}") from error
    require_writable(path, option)
