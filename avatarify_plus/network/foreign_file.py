"""What a file is that was given as a checkpoint and is none that can be read, in a few words. No torch."""

from __future__ import annotations

import re
import tarfile
import zipfile
from pathlib import Path

HEAD_BYTES = 512
"""So much of a file is looked at."""

WEB_PAGE = re.compile(rb"\s*(<!doctype html|<html|<\?xml|<head|<body)", re.IGNORECASE)

FIRST_BYTES = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself (git lfs pull fetches it)"),
    (b"\x1f\x8b", "a gzip archive: unpack it and give what is in it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it and give what is in it"),
    (b"Rar!", "a RAR archive: unpack it and give what is in it"),
    (b"\x89HDF", "an HDF5 file of another framework"),
)
"""How files begin that people take for checkpoints, and what they are."""

PICKLED = re.compile(r"GLOBAL ([\w.]+)")
"""Where torch's message names what it does not load."""


def what_it_is(path: Path, complaint: str) -> str | None:
    """Return what a file that torch did not load is and what to do, None if it is not known.

    complaint: torch's message.
    """
    if path.is_dir():
        return "it is a folder; give the file itself (some browsers unpack a checkpoint: download it without that)"
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
        if not head:
            return "the file is empty: download it again"
        if WEB_PAGE.match(head):
            return "it is a web page, not a checkpoint: download the file itself in a browser"
        for first, kind in FIRST_BYTES:
            if head.startswith(first):
                return f"it is {kind}"
        if head.startswith(b"PK\3\4"):
            if not zipfile.is_zipfile(path):
                return "it is cut short: download it again"
            with zipfile.ZipFile(path) as archive:
                is_torch = any(name.rpartition("/")[2] == "data.pkl" for name in archive.namelist())
            if not is_torch:
                return "it is a zip archive without a checkpoint: unpack it and give what is in it"
        elif tarfile.is_tarfile(path):
            return "it is a tar archive: unpack it and give what is in it"
    except (OSError, zipfile.BadZipFile, tarfile.TarError):
        return None
    if pickled := PICKLED.search(complaint):
        return (
            f"it holds {pickled[1]}, which is neither a tensor nor a plain value and is not loaded, because that can "
            "run code; save its weights alone"
        )
    return None
