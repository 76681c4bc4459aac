"""How much physical memory a process holds. Standard library only."""

from __future__ import annotations

import re
import sys
from pathlib import Path

MEGABYTE = 1e6


def memory_mb(process_id: int) -> float:
    """Return the physical memory of a process in 10^6 bytes; not a number where the system does not say."""
    return _status_mb(str(process_id), "VmRSS")


def peak_memory_mb() -> float:
    """Return the maximum of physical memory that this process has held, in 10^6 bytes."""
    if sys.platform == "linux":  # getrusage's peak includes that of the process that started this one
        return _status_mb("self", "VmHWM")
    if sys.platform == "win32":
        return _windows_peak() / MEGABYTE
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGABYTE  # macOS counts bytes


def _windows_peak() -> int:
    """Return PROCESS_MEMORY_COUNTERS.PeakWorkingSetSize."""
    import ctypes
    from ctypes import wintypes

    class Counters(ctypes.Structure):
        _fields_ = (
            ("size", wintypes.DWORD),
            ("faults", wintypes.DWORD),
            ("peak", ctypes.c_size_t),
            ("rest", ctypes.c_size_t * 7),
        )

    counters = Counters(size=ctypes.sizeof(Counters))
    kernel = ctypes.CDLL("kernel32")
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    kernel.K32GetProcessMemoryInfo.argtypes = (wintypes.HANDLE, ctypes.POINTER(Counters), wintypes.DWORD)
    kernel.K32GetProcessMemoryInfo(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.size)
    return int(counters.peak)


def _status_mb(process: str, name: str) -> float:
    """Return a figure of Linux's /proc/PROCESS/status in 10^6 bytes; not a number where it is missing."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return float("nan")
    found = re.search(rf"{name}:\s+(\d+)", status)
    return int(found[1]) * 1024 / MEGABYTE if found else float("nan")
