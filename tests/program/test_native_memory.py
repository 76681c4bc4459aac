"""What the C library keeps for itself is little."""

import subprocess
import sys

import pytest

ARENAS = """
import ctypes, sys, threading
from avatarify_plus.program.native_memory import MAX_ARENAS, keep_few_arenas
if sys.argv[1] == "few":
    keep_few_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
gate = threading.Barrier(6)
def allocate():
    gate.wait()
    libc.malloc(50_000)
    gate.wait()
threads = [threading.Thread(target=allocate) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has arenas")
def test_threads_share_few_arenas() -> None:
    def count(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", ARENAS, how], capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.count("<heap nr=")

    assert count("few") == 2 < count("usual")
