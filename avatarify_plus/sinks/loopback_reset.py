"""Reset of a v4l2loopback device that its last writer left unusable.

Version 0.12.7 (Debian 12, Ubuntu 24.04) with exclusive_caps=1 accepts a writer again only after one that *streamed* has
closed the device. pyvirtualcam writes without streaming: once the first program that used it has ended, nobody can send
to the device until the kernel module is loaded again. A program that asks to stream counts as a writer that streamed,
even if it is refused; closing the device then does the rest.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import time

CAPTURE, OUTPUT = 1, 2
"""V4L2_BUF_TYPE_VIDEO_CAPTURE and V4L2_BUF_TYPE_VIDEO_OUTPUT of linux/videodev2.h."""

STREAM_ON = 0x40045612
"""VIDIOC_STREAMON of linux/videodev2.h."""

LISTEN_S = 0.6
"""How long to watch for arriving pictures."""

MAX_STALE = 3
"""Number of old pictures that the device may still hold; if more arrive in LISTEN_S, somebody is sending."""

READ_BYTES = 1 << 25
"""More than one picture has, so that a read takes it whole."""


def reset_loopback(device: str) -> bool:
    """Make a device writable again, unless somebody is sending to it. Linux only.

    Returns whether that was tried.
    """
    try:
        if _receives_pictures(device):
            return False
        _ask_to_stream(device)
    except (OSError, ImportError):
        return False
    return True


def _receives_pictures(device: str) -> bool:
    """Return whether somebody is sending to a device."""
    descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    try:
        _request_stream(descriptor, CAPTURE)
        end_s, count = time.monotonic() + LISTEN_S, 0
        while (left_s := end_s - time.monotonic()) > 0 and select.select([descriptor], [], [], left_s)[0]:
            os.read(descriptor, READ_BYTES)
            count += 1
    except OSError:
        return False  # there is nothing to read at all
    finally:
        os.close(descriptor)
    return count > MAX_STALE


def _ask_to_stream(device: str) -> None:
    """Ask a device to stream pictures out of this program, and close it again."""
    descriptor = os.open(device, os.O_RDWR)
    try:
        with contextlib.suppress(OSError):  # it refuses, but remembers that it was asked
            _request_stream(descriptor, OUTPUT)
    finally:
        os.close(descriptor)


def _request_stream(descriptor: int, direction: int) -> None:
    """Start streaming. Raises OSError if the device refuses, ImportError outside Unix."""
    import fcntl

    fcntl.ioctl(descriptor, STREAM_ON, struct.pack("=i", direction))
