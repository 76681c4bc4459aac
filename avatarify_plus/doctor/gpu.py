"""The NVIDIA GPU: does its driver fit the installed packages, and does an engine use it?"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from avatarify_plus.doctor.engines import refusal
from avatarify_plus.doctor.finding import OK, PIP, WARNING, Finding, Wanted
from avatarify_plus.doctor.installation import installed
from avatarify_plus.doctor.model import open_wanted
from avatarify_plus.engines import AUTO_ORDER, ON_NVIDIA
from avatarify_plus.engines.nvidia import DRIVER, Gpu, find_gpu
from avatarify_plus.errors import EngineError
from avatarify_plus.program.checkout import checkout

PCI = Path("/sys/bus/pci/devices")
NVIDIA_VENDOR, DISPLAY_CLASS = "0x10de", "0x03"
DRIVERS = {11: 450, 12: 525, 13: 580}
"""The oldest driver for each CUDA, by CUDA's major number: it runs any minor version."""

GPU_CUDA = 13
"""The CUDA that requirements-gpu.txt installs."""

OLDEST_CAPABILITY = 7
"""CUDA 13 does not compute on GPUs before Turing, which is 7.5."""

CUDA_FILES = (
    ("torch", "torch", "version.py", r"^cuda\b.*= *'(\d+)"),
    ("onnxruntime-gpu", "onnxruntime", "capi/build_and_package_info.py", r"^cuda_version *= *'(\d+)"),
)
"""Package, module, the file in it that names the CUDA it was built for, and a pattern that finds it there."""


def nvidia_gpu(wanted: Wanted) -> Finding:
    """See whether there is an NVIDIA GPU with its driver."""
    try:
        gpu, refused = find_gpu(), ""
    except EngineError as error:
        gpu, refused = None, str(error)
    return judge_gpu(gpu, refused, has_card(PCI))


def judge_gpu(gpu: Gpu | None, refused: str, has_card: bool) -> Finding:
    """Say which GPU there is. has_card: whether one is built in, with or without a driver."""
    if gpu is not None:
        return Finding("nvidia gpu", OK, f"{gpu.name}, compute capability {gpu.capability}.x")
    if not has_card:
        return Finding("nvidia gpu", OK, f"none ({refused}): the processor computes")
    return Finding(
        "nvidia gpu",
        WARNING,
        f"one is built in, but there is {refused}: the processor computes",
        "install its driver (Ubuntu: sudo ubuntu-drivers install; else https://www.nvidia.com/drivers), then restart",
    )


def has_card(devices: Path) -> bool:
    """Return whether Linux lists a display device of NVIDIA's; elsewhere False."""
    for device in devices.glob("*"):
        with contextlib.suppress(OSError):
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
            if vendor == NVIDIA_VENDOR and kind.startswith(DISPLAY_CLASS):
                return True
    return False


def cuda_fit(wanted: Wanted) -> Finding | None:
    """See whether the driver is new enough for the packages that compute on the GPU."""
    try:
        find_gpu()
    except EngineError:
        return None
    return judge_fit(driver_cuda(), dict(cuda_builds()))


def driver_cuda() -> tuple[int, int]:
    """Return the newest CUDA that the driver knows, such as (12, 4); there must be a driver."""
    version = ctypes.c_int()
    ctypes.CDLL(DRIVER).cuDriverGetVersion(ctypes.byref(version))
    return version.value // 1000, version.value % 1000 // 10


def cuda_builds() -> Iterator[tuple[str, int]]:
    """Yield the packages that are built for a CUDA, and its major number."""
    found = installed()
    for package, module, file, pattern in CUDA_FILES:
        spec = importlib.util.find_spec(module) if package in found else None
        if spec is not None and spec.origin is not None:
            with contextlib.suppress(OSError):
                named = re.search(pattern, (Path(spec.origin).parent / file).read_text(), re.MULTILINE)
                if named:
                    yield f"{package} {found[package]}", int(named[1])
    for package, version in found.items():
        named = re.fullmatch(r"tensorrt.*-cu(\d+)", package)
        if named:
            yield f"{package} {version}", int(named[1])
    if "cuda-bindings" in found:
        yield f"cuda-bindings {found['cuda-bindings']}", int(found["cuda-bindings"].partition(".")[0])


def judge_fit(driver: tuple[int, int], builds: Mapping[str, int]) -> Finding:
    """Say which packages need a newer CUDA than the driver's."""
    message = f"the driver is made for CUDA {driver[0]}.{driver[1]}"
    ahead = {package: cuda for package, cuda in builds.items() if cuda > driver[0]}
    if ahead:
        needs = ", ".join(f"{package} needs CUDA {cuda}" for package, cuda in ahead.items())
        return Finding("cuda fit", WARNING, f"{message}; {needs}", newer_driver(max(ahead.values())))
    fitting = ", ".join(f"{package} (CUDA {cuda})" for package, cuda in builds.items())
    return Finding("cuda fit", OK, f"{message}; {fitting or 'nothing is installed that needs it'}")


def newer_driver(cuda: int) -> str:
    """Return how to get a driver for a CUDA of this major number."""
    version = f"version {DRIVERS[cuda]} or later" if cuda in DRIVERS else f"the newest, for CUDA {cuda}"
    return f"update the NVIDIA driver to {version} (https://www.nvidia.com/drivers), then restart"


def gpu_engine(wanted: Wanted) -> Finding | None:
    """See whether an engine uses the GPU."""
    try:
        gpu = find_gpu()
    except EngineError:
        return None
    bundle = open_wanted(wanted)
    return judge_gpu_engine(
        gpu, driver_cuda(), {name: refusal(bundle, name) for name in AUTO_ORDER if name in ON_NVIDIA}
    )


def judge_gpu_engine(gpu: Gpu, driver: tuple[int, int], refusals: Mapping[str, str]) -> Finding:
    """Say which engines compute on the GPU, or how to get one that does."""
    working = [name for name, reason in refusals.items() if not reason]
    if working:
        return Finding("gpu engine", OK, f"{gpu.name} is used by {', '.join(working)}")
    if gpu.capability < OLDEST_CAPABILITY:
        return Finding("gpu engine", OK, f"{gpu.name} is too old for CUDA {GPU_CUDA}: the processor computes")
    reasons = "; ".join(f"{name}: {reason}" for name, reason in refusals.items())
    steps = [newer_driver(GPU_CUDA)] * (driver[0] < GPU_CUDA)
    steps += [f"{PIP} uninstall -y onnxruntime", *_gpu_steps()]
    return Finding("gpu engine", WARNING, f"no engine uses the {gpu.name}: {reasons}", "; then ".join(steps))


def _gpu_steps() -> list[str]:
    """Return how to install the GPU's packages and build TensorRT's engines."""
    if checkout() is None:
        return [f'{PIP} install --upgrade "avatarify_plus[gpu]"', "python export/trt.py in the project's source"]
    return [f"{PIP} install -r requirements-gpu.txt", "python export/trt.py"]


CHECKS = (nvidia_gpu, cuda_fit, gpu_engine)
