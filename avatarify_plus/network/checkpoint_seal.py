"""A checkpoint's SHA-256, in the file itself, so that a flipped bit does not become a weight.

torch.save writes a zip file, whose end has room for a comment: the seal is one. PyTorch, and earlier versions of this
program, read a sealed file as any other. Without torch.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

SEAL = b"avatarify sha256 "
SEAL_LENGTH = len(SEAL) + 32
"""The comment: SEAL and a digest of all that stands before it."""

ZIP_START, ZIP_END = b"PK\x03\x04", b"PK\x05\x06"
END_LENGTH = 22
"""The bytes of a zip file's end, of which the last two are the length of the comment."""

BLOCK = 1 << 20


class BrokenSealError(Exception):
    """A file is not what was written."""


def seal(path: Path) -> None:
    """Add its hash to a file that torch.save has just written. Raises OSError."""
    with open(path, "r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(SEAL_LENGTH.to_bytes(2, "little"))
        length = file.tell()
        digest = _digest(file, length)
        file.seek(length)
        file.write(SEAL + digest)


def require_intact(path: Path) -> None:
    """Raise BrokenSealError if a file is not what was written; OSError if it cannot be read.

    One without a seal, of an earlier version or another program, is held to the checksums of its zip file, which cover
    the tensors; one that is no zip file cannot be checked.
    """
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        if file.read(len(ZIP_START)) != ZIP_START:
            return
        tail_length = END_LENGTH + SEAL_LENGTH
        file.seek(max(0, length - tail_length))
        tail = file.read()
        if tail[END_LENGTH:].startswith(SEAL):
            if _digest(file, length - SEAL_LENGTH) != tail[END_LENGTH + len(SEAL) :]:
                raise BrokenSealError("its SHA-256 is another than when it was written")
            return
        if not (tail[-END_LENGTH:].startswith(ZIP_END) and tail.endswith(b"\0\0")):
            raise BrokenSealError("its end is not that of a checkpoint")
        try:
            with zipfile.ZipFile(file) as archive:
                broken = archive.testzip()
        except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
            raise BrokenSealError("it is no whole zip file") from error
        if broken is not None:
            raise BrokenSealError(f"the checksum of {broken!a} in it is wrong")


def _digest(file: BinaryIO, length: int) -> bytes:
    digest = hashlib.sha256()
    file.seek(0)
    while length and (block := file.read(min(BLOCK, length))):
        digest.update(block)
        length -= len(block)
    return digest.digest()
