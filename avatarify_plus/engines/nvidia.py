"""The NVIDIA GPU, found through its driver alone, without importing a runtime."""

from __future__ import annotations

import ctypes
import sys
from typing import NamedTuple

from avatarify_plus.errors import EngineError

DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
CAPABILITY_MAJOR = 75
"""This is CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR in the CUDA driver API."""

FIRST_WITH_TF32 = 8
"""The major compute capability of Ampere, the first architecture with TF32."""


class Gpu(NamedTuple):
    """A GPU.

    capability: the major number of its compute capability.
    """

    name: str
    capability: int

    @property
    def has_tf32(self) -> bool:
        """Whether its tensor cores multiply float32 numbers rounded to TF32."""
        return self.capability >= FIRST_WITH_TF32


def find_gpu(number: int = 0) -> Gpu:
    """Return a GPU by its place in CUDA's order, from 0. Raises EngineError if there is no driver or no such GPU."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError as error:
        raise EngineError("no NVIDIA driver") from error
    count, device, capability = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    failure = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if not failure and 0 < count.value <= number:
        raise EngineError(f"there is no GPU {number}: the NVIDIA driver finds {count.value}, counted from 0")
    for status in (
        failure,
        driver.cuDeviceGet(ctypes.byref(device), number),
        driver.cuDeviceGetName(name, len(name), device),
        driver.cuDeviceGetAttribute(ctypes.byref(capability), CAPABILITY_MAJOR, device),
    ):
        if status:
            raise EngineError(f"the NVIDIA driver finds no GPU, CUDA error {status}")
    return Gpu(name.value.decode(errors="replace"), capability.value)
