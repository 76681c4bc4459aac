"""A USB webcam that is one to the kernel: its wire is USB/IP, its other end this program. For the emulated machine.

The kernel's `vhci-hcd` takes a socket for a USB port. What a webcam would answer over the wire is answered here: its
descriptors (USB Video Class 1.0, one uncompressed format, bulk transfer), the negotiation of the stream, the pictures.
"""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from avatarify_plus.types import Image

NAME = "Emulated USB webcam"
RATE = 10
ATTACH = Path("/sys/devices/platform/vhci_hcd.0/attach")
PORT, DEVICE, HIGH_SPEED = 0, 0x10001, 3

HEADER = struct.Struct(">5I28s")
"""Of USB/IP: command, sequence number, device, direction, endpoint, and what the command brings."""

SUBMIT, UNLINK, SUBMITTED, UNLINKED = 1, 2, 3, 4
STALLED, RESET = -32, -104
GET_DESCRIPTOR, GET_LENGTH = 6, 0x85
YUY2 = b"YUY2\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"


class UsbWebcam:
    """Plug in and unplug a webcam that shows pictures over and over."""

    def __init__(self, pictures: Sequence[Image]) -> None:
        """pictures: (H, W, 3) uint8 RGB, all of one size with an even width."""
        self._frames = [_yuyv(picture) for picture in pictures]
        self._height, self._width = pictures[0].shape[:2]
        self._payload = len(self._frames[0]) + 2
        self._wire: socket.socket | None = None

    def plug(self) -> None:
        """Plug it in: the kernel asks what it is, and makes a video device of it."""
        self._wire, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        plug = _Plug(self._wire, self._descriptors(), self._probe(), self._frames)
        threading.Thread(target=plug.serve, daemon=True).start()
        ATTACH.write_text(f"{PORT} {kernels.fileno()} {DEVICE} {HIGH_SPEED}")
        kernels.close()

    def unplug(self) -> None:
        """Pull it out."""
        if self._wire is not None:
            self._wire.shutdown(socket.SHUT_RDWR)
            self._wire.close()
            self._wire = None

    def _probe(self) -> bytes:
        """Return what is streamed: the only format and size, and how many bytes a picture has."""
        interval = 10_000_000 // RATE
        return struct.pack("<HBBI5H2I", 0, 1, 1, interval, 0, 0, 0, 0, 0, self._payload - 2, self._payload)

    def _descriptors(self) -> dict[int, bytes]:
        """Return the descriptors by type and index, as GET_DESCRIPTOR asks for them."""
        device = struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x200, 0xEF, 2, 1, 64, 0x1209, 1, 0x100, 1, 2, 0, 1)
        terminals = struct.pack("<BBBBHBBHHHB3s", 18, 0x24, 2, 1, 0x201, 0, 0, 0, 0, 0, 3, bytes(3))
        terminals += struct.pack("<BBBBHBBB", 9, 0x24, 3, 2, 0x101, 0, 1, 0)
        control = struct.pack("<BBBHHIBB", 13, 0x24, 1, 0x100, 13 + len(terminals), 6_000_000, 1, 1) + terminals
        size, interval = self._payload - 2, 10_000_000 // RATE
        formats = struct.pack("<BBBBB16sBBBBBB", 27, 0x24, 4, 1, 1, YUY2, 16, 1, 0, 0, 0, 0)
        bits = 8 * size * RATE
        shape = (self._width, self._height, bits, bits, size, interval, 1, interval)
        formats += struct.pack("<BBBBBHHIIIIBI", 30, 0x24, 5, 1, 0, *shape)
        formats += bytes((6, 0x24, 0x0D, 1, 1, 4))
        streaming = (
            struct.pack("<BBBBHBBBBBBBB", 14, 0x24, 1, 1, 14 + len(formats), 0x81, 0, 2, 0, 0, 0, 1, 0) + formats
        )
        parts = bytes((8, 0x0B, 0, 2, 0x0E, 3, 0, 2)) + bytes((9, 4, 0, 0, 0, 0x0E, 1, 0, 2)) + control
        parts += bytes((9, 4, 1, 0, 1, 0x0E, 2, 0, 0)) + streaming + struct.pack("<BBBBHB", 7, 5, 0x81, 2, 512, 0)
        configuration = struct.pack("<BBHBBBBB", 9, 2, 9 + len(parts), 2, 1, 0, 0x80, 250) + parts
        return {
            0x100: device,
            0x200: configuration,
            0x300: bytes((4, 3, 9, 4)),
            0x301: _text("avatarify tests"),
            0x302: _text(NAME),
        }


class _Plug:
    """One end of the wire: answers what the kernel asks until it is pulled out."""

    def __init__(
        self, wire: socket.socket, descriptors: dict[int, bytes], probe: bytes, frames: Sequence[bytes]
    ) -> None:
        self._wire = wire
        self._descriptors = descriptors
        self._probe = probe
        self._frames = frames
        self._waiting: deque[tuple[int, int]] = (
            deque()
        )  # sequence numbers and lengths of the transfers that want pictures
        self._has_waiting = threading.Condition()
        self._sends = threading.Lock()
        self._is_over = False

    def serve(self) -> None:
        """Answer until the wire is pulled out."""
        threading.Thread(target=self._stream, daemon=True).start()
        try:
            while True:
                command, number, _, direction, endpoint, more = HEADER.unpack(self._read(HEADER.size))
                if command == UNLINK:
                    self._unlink(number, struct.unpack(">I24x", more)[0])
                    continue
                length, setup = struct.unpack(">4xi12x8s", more)
                if direction == 0 and length:
                    self._read(length)
                if endpoint == 0:
                    self._control(number, setup)
                else:
                    with self._has_waiting:
                        self._waiting.append((number, length))
                        self._has_waiting.notify()
        except (OSError, EOFError):
            with self._has_waiting:
                self._is_over = True
                self._has_waiting.notify()

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = self._wire.recv(length - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def _answer(self, number: int, data: bytes = b"", status: int = 0, length: int | None = None) -> None:
        more = struct.pack(">ii20x", status, len(data) if length is None else length)
        with self._sends:
            self._wire.sendall(HEADER.pack(SUBMITTED, number, 0, 0, 0, more) + data)

    def _unlink(self, number: int, unlinked: int) -> None:
        with self._has_waiting:
            before = len(self._waiting)
            self._waiting = deque(each for each in self._waiting if each[0] != unlinked)
            status = RESET if len(self._waiting) < before else 0
        with self._sends:
            self._wire.sendall(HEADER.pack(UNLINKED, number, 0, 0, 0, struct.pack(">i24x", status)))

    def _control(self, number: int, setup: bytes) -> None:
        kind, request, value, _, wanted = struct.unpack("<BBHHH", setup)
        if not kind & 0x80:  # towards the webcam: settings, which there is only one of
            self._answer(number, length=wanted)
        elif kind == 0x80 and request == GET_DESCRIPTOR:
            found = self._descriptors.get(value)
            self._answer(number, status=STALLED) if found is None else self._answer(number, found[:wanted])
        elif kind == 0xA1:
            length = struct.pack("<H", len(self._probe))
            self._answer(number, (length if request == GET_LENGTH else self._probe)[:wanted])
        else:
            self._answer(number, bytes(wanted))

    def _stream(self) -> None:
        """Give a picture after the other to the transfers that wait: a header of two bytes, then its bytes."""
        for toggle, frame in zip(itertools.cycle((0, 1)), itertools.cycle(self._frames)):
            time.sleep(1 / RATE)
            left = bytes((2, 0x82 | toggle)) + frame
            while left:
                with self._has_waiting:
                    self._has_waiting.wait_for(lambda: self._waiting or self._is_over)
                    if self._is_over:
                        return
                    number, length = self._waiting.popleft()
                try:
                    self._answer(number, left[:length])
                except OSError:
                    return
                left = left[length:]


def _text(text: str) -> bytes:
    data = text.encode("utf-16-le")
    return bytes((2 + len(data), 3)) + data


def _yuyv(picture: Image) -> bytes:
    """Return a picture as YUYV bytes."""
    red, green, blue = np.moveaxis(picture.astype(np.float32), -1, 0)
    luma = 16 + 0.257 * red + 0.504 * green + 0.098 * blue
    packed = np.empty((*picture.shape[:2], 2), np.float32)
    packed[..., 0] = luma
    packed[:, 0::2, 1] = (128 - 0.148 * red - 0.291 * green + 0.439 * blue)[:, 0::2]
    packed[:, 1::2, 1] = (128 + 0.439 * red - 0.368 * green - 0.071 * blue)[:, 0::2]
    return np.clip(packed, 0, 255).astype(np.uint8).tobytes()


def found_device(wait: Callable[[Callable[[], object], str], object]) -> str:
    """Wait until the kernel has made a video device of it, and return its path."""

    def search() -> str | None:
        for folder in sorted(Path("/sys/class/video4linux").glob("video*")):
            if (folder / "name").read_text().startswith(NAME) and (folder / "index").read_text().strip() == "0":
                return f"/dev/{folder.name}"
        return None

    return str(wait(search, "the kernel to know the webcam"))
