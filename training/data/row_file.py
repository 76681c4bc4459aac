"""A file of rows of numbers that is read row by row."""

from __future__ import annotations

import math
import operator
import threading
import weakref
from pathlib import Path
from typing import Any, Generic, Protocol, SupportsIndex, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from avatarify_plus.errors import DataError

Number = TypeVar("Number", bound=np.generic, covariant=True)


class Rows(Protocol[Number]):
    """Rows of one shape, by their numbers: an array, or a `RowFile`. shape: (N, ...)."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any:
        """Return the row of a number, (...), or the rows of a slice, (n, ...)."""
        ...


class RowFile(Generic[Number]):
    """Rows of a file, (N, ...), that are read when they are asked for.

    A file that is mapped into memory would do the same, but whoever cuts it kills every process that reads it. Who
    reads a file that was deleted meanwhile goes on with what it was. Threads may share one.
    """

    def __init__(self, path: Path, kind: DTypeLike, shape: tuple[int, ...]) -> None:
        """kind: of the numbers. shape: (N, ...). Raises OSError if there is no such file."""
        self.shape = shape
        self._path, self._kind = path, np.dtype(kind)
        self._row_bytes = math.prod(shape[1:]) * self._kind.itemsize
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115  # as long as this lives
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: SupportsIndex | slice) -> NDArray[Number]:
        """Return a copy of the row of a number, (...), or of the rows of a slice without steps, (n, ...).

        Raises DataError if the file was cut, or its disk fails; IndexError if there is no such row.
        """
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return self._read(start, max(stop - start, 0))
        row = operator.index(rows)
        if not 0 <= row < len(self):
            raise IndexError(f"there is no row {row} of {len(self)} in {self._path}")
        return self._read(row, 1)[0]

    def _read(self, start: int, count: int) -> NDArray[Number]:
        found = np.empty((count, *self.shape[1:]), self._kind)
        left = found.data.cast("B") if found.size else memoryview(b"")
        try:
            with self._lock:
                self._file.seek(start * self._row_bytes)
                while left:
                    length = self._file.readinto(left)
                    if not length:
                        raise DataError(f"{self._path} was cut by another program while it was read: begin again")
                    left = left[length:]
        except OSError as error:
            raise DataError(f"cannot read {self._path}: {error.strerror or error}") from error
        return found
