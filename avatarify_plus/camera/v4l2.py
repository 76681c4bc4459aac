"""Webcams as Linux lists them: their names from sysfs, what they offer from their kernel driver."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from avatarify_plus.camera.camera_device import CameraDevice
from avatarify_plus.camera.camera_mode import CameraMode
from avatarify_plus.program.system_file import read_system_file
from avatarify_plus.types import Size

Ioctl = Callable[[int, bytearray], object]
"""Ask a kernel driver: (request, structure that it fills in). Raises OSError."""

# requests and structures of linux/videodev2.h
QUERYCAP, CAPABILITY = 0x80685600, struct.Struct("<16s32s32s3I12x")  # driver, card, bus, version, all caps, node's caps
ENUM_FMT, FORMAT = 0xC0405602, struct.Struct("<3I32s4s16x")  # index, type, flags, description, four letters
ENUM_FRAMESIZES, FRAME_SIZE = 0xC02C564A, struct.Struct("<I4sI6I8x")  # index, format, type, sizes
ENUM_FRAMEINTERVALS, INTERVAL = 0xC034564B, struct.Struct("<I4s3I6I8x")  # index, format, width, height, type, seconds

CAPTURE, CAPTURE_IN_PLANES, HAS_NODE_FLAGS = 0x1, 0x1000, 0x80000000
BUFFERS, BUFFERS_IN_PLANES = 1, 9
DISCRETE = 1

MAX_ENTRIES = 64
"""Maximum number of entries that a kernel driver is asked for, in case its list never ends."""

USUAL_SIZES = tuple(
    Size(*size) for size in ((320, 240), (640, 360), (640, 480), (800, 600), (1280, 720), (1920, 1080), (3840, 2160))
)
"""Sizes that are listed if any in between will do."""

USUAL_RATES = (60.0, 50.0, 30.0, 25.0, 20.0, 15.0, 10.0, 5.0)
"""Frames a second that are listed if any in between will do."""


class Node(NamedTuple):
    """What a kernel driver says of a device file.

    captures: whether pictures can be read from it; webcams have other files, too.
    """

    location: str
    captures: bool
    modes: tuple[CameraMode, ...]


def list_webcams(root: Path = Path("/")) -> list[CameraDevice]:
    """Return the webcams whose device files give pictures, by number. root: where the system's files are."""
    folders = [path for path in (root / "sys/class/video4linux").glob("video*") if path.name[5:].isdigit()]
    found = (_webcam(root, folder) for folder in sorted(folders, key=lambda folder: int(folder.name[5:])))
    return [device for device in found if device is not None]


def _webcam(root: Path, folder: Path) -> CameraDevice | None:
    """Return the webcam of a folder of sysfs, None if its device file does not give pictures."""
    try:
        with _opened(root / "dev" / folder.name) as ioctl:
            node = query(ioctl)
    except OSError:  # no permission, or just unplugged: a webcam's first file is for pictures
        node = Node(str((folder / "device").resolve()), read_system_file(folder / "index") in ("", "0"), ())
    if not node.captures:
        return None
    return CameraDevice(
        index=int(folder.name[5:]),
        name=read_system_file(folder / "name") or folder.name,
        path=f"/dev/{folder.name}",
        location=node.location,
        is_virtual=(folder / "max_openers").exists(),  # only v4l2loopback has this file
        modes=node.modes,
    )


@contextlib.contextmanager
def _opened(device: Path) -> Iterator[Ioctl]:
    """Open a device file and give what asks its kernel driver. Raises OSError."""
    descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    try:
        yield lambda request, data: fcntl.ioctl(descriptor, request, data)
    finally:
        os.close(descriptor)


def query(ioctl: Ioctl) -> Node:
    """Ask a device file what it is. Raises OSError if it does not belong to Video4Linux."""
    data = bytearray(CAPABILITY.size)
    ioctl(QUERYCAP, data)
    _, _, location, _, driver_flags, node_flags = CAPABILITY.unpack(data)
    flags = node_flags if driver_flags & HAS_NODE_FLAGS else driver_flags
    captures = bool(flags & (CAPTURE | CAPTURE_IN_PLANES))
    kind = BUFFERS if flags & CAPTURE else BUFFERS_IN_PLANES
    modes = tuple(_modes(ioctl, kind)) if captures else ()
    return Node(location.rstrip(b"\0").decode(errors="replace"), captures, modes)


def _modes(ioctl: Ioctl, kind: int) -> Iterator[CameraMode]:
    """Yield what a device file offers. kind: BUFFERS or BUFFERS_IN_PLANES."""
    for entry in _entries(ioctl, ENUM_FMT, FORMAT, lambda index: (index, kind, 0, b"", b"")):
        code = entry[4]
        for size in _sizes(ioctl, code):
            yield CameraMode(size, _rates(ioctl, code, size), code.decode("latin-1").strip())


def _sizes(ioctl: Ioctl, code: bytes) -> Iterator[Size]:
    """Yield the sizes of a pixel format; the usual ones if any in between will do."""
    unasked = (0,) * 7
    for entry in _entries(ioctl, ENUM_FRAMESIZES, FRAME_SIZE, lambda index: (index, code, *unasked)):
        if entry[2] == DISCRETE:
            yield Size(*entry[3:5])
            continue
        min_width, max_width, _, min_height, max_height, _ = entry[3:]
        for size in USUAL_SIZES:
            if min_width <= size.width <= max_width and min_height <= size.height <= max_height:
                yield size
        return


def _rates(ioctl: Ioctl, code: bytes, size: Size) -> tuple[float, ...]:
    """Return the frames a second of a pixel format and size, the highest first."""
    unasked = (0,) * 7
    rates: set[float] = set()
    for entry in _entries(ioctl, ENUM_FRAMEINTERVALS, INTERVAL, lambda index: (index, code, *size, *unasked)):
        numerator, denominator, slow_numerator, slow_denominator = entry[5:9]
        if not numerator:
            continue
        rate = round(denominator / numerator, 3)
        if entry[4] == DISCRETE:
            rates.add(rate)
            continue
        slowest = slow_denominator / slow_numerator if slow_numerator else 0
        rates.update(usual for usual in USUAL_RATES if slowest <= usual <= rate)
        break
    return tuple(sorted(rates, reverse=True))


def _entries(
    ioctl: Ioctl, request: int, form: struct.Struct, question: Callable[[int], tuple[object, ...]]
) -> Iterator[tuple[Any, ...]]:
    """Yield the entries of a kernel driver's list, which is asked for one after the other until it refuses.

    question: returns what the structure holds when an entry, by its index, is asked for.
    """
    for index in range(MAX_ENTRIES):
        data = bytearray(form.pack(*question(index)))
        try:
            ioctl(request, data)
        except OSError:
            return
        yield form.unpack(data)
