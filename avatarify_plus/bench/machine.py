"""What a measurement was made on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "numpy",
    "opencv-contrib-python",
    "mediapipe",
    "openvino",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "torch",
    "av",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """The computer and its software.

    cores: those that this process may use. load: the load average over the last minute, None where the system does
    not say; more than a fraction of the cores makes every figure worse. packages: name to version.
    """

    cpu: str
    cores: int
    load: float | None
    system: str
    python: str
    packages: dict[str, str]

    def __str__(self) -> str:
        load = "" if self.load is None else f", load {self.load:.1f}"
        packages = ", ".join(f"{name} {version}" for name, version in self.packages.items())
        return f"{self.cpu}, {self.cores} cores{load}; {self.system}; Python {self.python}; {packages}"


def this_machine() -> Machine:
    """Return what this process runs on."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        packages=_versions(),
    )


def _cpu() -> str:
    """Return the processor's name for people."""
    if sys.platform == "linux":
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        if found:
            return found[1]
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
