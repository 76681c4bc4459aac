"""What a JPEG file says of itself before anybody decodes it."""

from __future__ import annotations

from typing import NamedTuple

START, END = b"\xff\xd8", b"\xff\xd9"
FRAME_MARKERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Segments that tell the picture's size; the three left out are tables."""

SCAN_MARKER = 0xDA
BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a segment."""


class Jpeg(NamedTuple):
    """Size in pixels before any turning. `is_complete` False: the file breaks off."""

    width: int
    height: int
    is_complete: bool


def read_jpeg(data: bytes) -> Jpeg | None:
    """Read a JPEG file's header; None for other files, or where the header breaks off.

    A decoder may fill what is missing with grey and say nothing: a whole file has an end marker after its first scan.
    """
    if not data.startswith(START):
        return None
    position, size = 2, None
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF or marker in BARE_MARKERS:  # filled up with 0xFF, or nothing follows
            position += 1 if marker == 0xFF else 2
            continue
        if marker == SCAN_MARKER:
            return None if size is None else Jpeg(*size, is_complete=data.find(END, position) >= 0)
        if marker in FRAME_MARKERS and position + 9 <= len(data):
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            size = int.from_bytes(data[position + 7 : position + 9], "big"), height
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None
