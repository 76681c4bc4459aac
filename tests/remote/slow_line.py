"""Two network namespaces with a line between them that takes its time and loses packets.

The kernel's own netem is not everywhere, so the line is a program: it reads packets of one tunnel device and writes
them to the other's later, or never.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

TUN = Path("/dev/net/tun")
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
NEAR, FAR = "10.77.0.1", "10.77.0.2"
MTU = 1400


class SlowLine:
    """A line between the namespaces `near` and `far`, whose addresses are NEAR and FAR."""

    def __init__(self, delay_s: float, loss: float, seed: int = 0) -> None:
        """delay_s: of each packet. loss: the share of packets that never arrive, each way."""
        name = f"av{os.getpid() % 10000}"
        self.near, self.far = f"{name}n", f"{name}f"
        self._delay_s = delay_s
        self._loss = loss
        self._random = random.Random(seed)
        self._is_over = False
        self._files: list[int] = []
        self.lost_count = self.count = 0

    def __enter__(self) -> SlowLine:
        with contextlib.ExitStack() as stack:
            for space, own, other in ((self.near, NEAR, FAR), (self.far, FAR, NEAR)):
                _ip("netns", "add", space)
                stack.callback(_ip, "netns", "del", space)
                file = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
                stack.callback(os.close, file)
                fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH", space.encode(), IFF_TUN | IFF_NO_PI))
                self._files.append(file)
                _ip("link", "set", space, "netns", space)
                _ip("-n", space, "addr", "add", own, "peer", other, "dev", space)
                _ip("-n", space, "link", "set", space, "mtu", str(MTU), "up")
                _ip("-n", space, "link", "set", "lo", "up")
            self._thread = threading.Thread(target=self._carry, daemon=True)
            self._thread.start()
            stack.callback(self._end)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def command(self, space: str, *words: str) -> list[str]:
        """Return a command line that runs in a namespace."""
        return ["ip", "netns", "exec", space, *words]

    def _end(self) -> None:
        self._is_over = True
        self._thread.join(5)

    def _carry(self) -> None:
        waiting: list[tuple[float, int, int, bytes]] = []
        numbers = iter(range(1 << 60))
        while not self._is_over:
            due_s = waiting[0][0] - time.monotonic() if waiting else 0.1
            ready, _, _ = select.select(self._files, [], [], min(max(due_s, 0), 0.1))
            for file in ready:
                packet = os.read(file, 65536)
                self.count += 1
                if self._random.random() < self._loss:
                    self.lost_count += 1
                    continue
                other = self._files[1 - self._files.index(file)]
                heapq.heappush(waiting, (time.monotonic() + self._delay_s, next(numbers), other, packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, other, packet = heapq.heappop(waiting)
                with contextlib.suppress(OSError):
                    os.write(other, packet)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def slow_line(delay_s: float, loss: float) -> Iterator[SlowLine]:
    """Lay a line; see `SlowLine`."""
    with SlowLine(delay_s, loss) as line:
        yield line


def why_not() -> str | None:
    """Return why there can be no such line here, or None."""
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    if not TUN.exists():
        return "no /dev/net/tun"
    try:
        subprocess.run(["ip", "netns", "list"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return "no `ip netns`"
    return None
