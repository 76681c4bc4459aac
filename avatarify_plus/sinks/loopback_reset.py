"""A v4l2loopback device that its last writer left unusable.

Version 0.12.7 (Debian 12, Ubuntu 24.04) with exclusive_caps=1 announces output again only when a writer that *streamed*
closes. pyvirtualcam writes, so after its first program ended nobody can send to the device until the module is loaded
anew. Asking to stream marks the opener as such a writer, whatever the answer, and closing it does the rest.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import time

CAPTURE, OUTPUT = 1, 2
"""V4L2_BUF_TYPE_VIDEO_CAPTURE and _OUTPUT."""

STREAM_ON = 0x40045612
"""VIDIOC_STREAMON."""

LISTEN_S = 0.6
MAX_STALE = 3
"""So many pictures may lie in the device from before; more in LISTEN_S come from somebody who sends."""

PICTURE_BYTES = 1 << 25
"""More than a picture has."""


def reset_loopback(device: str) -> bool:
    """Let a device be written to again unless somebody sends to it. Return whether that was tried; Linux only."""
    try:
        if _is_fed(device):
            return False
        _stream(device, OUTPUT)
    except (OSError, ImportError):
        return False
    return True


def _is_fed(device: str) -> bool:
    """Return whether pictures arrive at a device."""
    descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    try:
        _stream_on(descriptor, CAPTURE)
        end_s, count = time.monotonic() + LISTEN_S, 0
        while (left_s := end_s - time.monotonic()) > 0 and select.select([descriptor], [], [], left_s)[0]:
            os.read(descriptor, PICTURE_BYTES)
            count += 1
    except OSError:
        return False  # there is nothing to read at all
    finally:
        os.close(descriptor)
    return count > MAX_STALE


def _stream(device: str, kind: int) -> None:
    descriptor = os.open(device, os.O_RDWR)
    try:
        with contextlib.suppress(OSError):  # it refuses, and yet remembers that it was asked
            _stream_on(descriptor, kind)
    finally:
        os.close(descriptor)


def _stream_on(descriptor: int, kind: int) -> None:
    import fcntl

    fcntl.ioctl(descriptor, STREAM_ON, struct.pack("=i", kind))
