"""Files that are written whole or not at all, and results that are never lost. Standard library only."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from avatarify_plus.errors import SinkError


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give the path of a draft beside a file; it takes the file's place when the block ends without an error.

    Whoever reads the file meets the old one or the new one, never a part, after a power cut too; after an error the
    draft is gone and the old one stays. A link stays a link. Raises OSError.
    """
    target = path.resolve()
    handle, name = tempfile.mkstemp(prefix=f".{target.name}-", suffix=".part", dir=target.parent)
    draft = Path(name)
    try:
        os.close(handle)
        yield draft
        with open(draft, "r+b") as file:
            os.fsync(file.fileno())
        _copy_mode(target, draft)
        draft.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):  # what failed first is what is reported
            draft.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; its folder must exist. Text is UTF-8. Raises OSError.

    What is not a plain file, such as /dev/null, is written to in place.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return
    with replaced(path) as draft:
        draft.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def save_result(path: Path, content: str | bytes) -> None:
    """Write what took long to compute.

    Raises SinkError if it cannot be written; it is then kept in a temporary file that the message names.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        reason = error.strerror or error
        try:
            handle, kept = tempfile.mkstemp(prefix=f"{path.stem}-", suffix=path.suffix)
            os.close(handle)
            write_whole(Path(kept), content)
        except OSError:
            raise SinkError(f"cannot write {path}: {reason}") from error
        raise SinkError(f"cannot write {path}: {reason}; it is kept as {kept}") from error


def _copy_mode(target: Path, draft: Path) -> None:
    """Give a draft the permissions of the file it replaces, or those of any new file."""
    try:
        mode = target.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        mode = 0o666 & ~mask
    with contextlib.suppress(OSError):
        draft.chmod(mode)
