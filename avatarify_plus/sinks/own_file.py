"""A file that nobody else may write meanwhile."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from pathlib import Path

from avatarify_plus.program.file_lock import lock

OWNER_ONLY = 0o600
"""A recording shows people: its owner alone may read it."""


class OwnFile(io.RawIOBase):
    """A file that is written anywhere in it, readable by its owner alone.

    Two programs of this kind never write one file. An existing file is replaced by the first byte that is written;
    until then it stays as it is. All methods raise OSError.
    """

    def __init__(self, path: Path) -> None:
        """Open it. Raises OSError, also if another of this kind is writing it."""
        super().__init__()
        self._descriptor = -1  # while there is none, closing does nothing
        self._path = path.resolve()  # a link stays a link
        self._length = 0
        self._is_fresh = True
        self._is_given_up = False
        self._is_new = not path.exists()
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        self._descriptor = os.open(path, flags, OWNER_ONLY)
        # Windows does not let others replace a file that is open.
        if os.name != "nt" and not lock(self._descriptor):
            os.close(self._descriptor)
            self._descriptor = -1
            raise OSError("another recording is being written there")
        status = os.fstat(self._descriptor)
        self._is_plain = stat.S_ISREG(status.st_mode)
        self._found = (status.st_size, status.st_mtime_ns)

    def seekable(self) -> bool:
        """Return whether any place of it can be written."""
        return self._is_plain

    def writable(self) -> bool:
        """Return True: that is what it is for."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        return os.lseek(self._descriptor, offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self.seek(0, os.SEEK_CUR)

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write all of it."""
        if self._is_given_up:
            return len(data)
        if self._is_fresh and self._is_plain:
            os.ftruncate(self._descriptor, 0)
            with contextlib.suppress(OSError, AttributeError):  # not ours, or Windows
                os.fchmod(self._descriptor, OWNER_ONLY)
        self._is_fresh = False
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]
            if self._is_plain:
                self._length = max(self._length, self.tell())
        return len(data)

    def intrusion(self) -> str | None:
        """Return what somebody else has done to the file, for people; None if nothing."""
        if not self._is_plain:
            return None
        own = os.fstat(self._descriptor)
        try:
            there = self._path.stat()
        except OSError:
            return "it was deleted, or its disk was removed"
        if not os.path.samestat(own, there):
            return "another file has taken its place, which stays as it is"
        is_as_left = (own.st_size, own.st_mtime_ns) == self._found if self._is_fresh else own.st_size == self._length
        if not is_as_left:
            return "another program has written to it"
        return None

    def give_up(self) -> None:
        """Write nothing any more, whatever is asked for: the file is somebody else's now."""
        self._is_given_up = True

    def close(self) -> None:
        """Close it; a new file that nothing was written to is deleted."""
        if self.closed:
            return
        super().close()
        if self._descriptor < 0:
            return
        is_ours = self._is_new and self._is_fresh and self.intrusion() is None
        os.close(self._descriptor)
        if is_ours:
            self._path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Close it, and delete it unless somebody else has put another in its place."""
        is_ours = self._is_plain and self.intrusion() is None
        self.close()
        if is_ours:
            self._path.unlink(missing_ok=True)
