"""What can give this system a virtual camera, whether it is there, and what to do if not. No device is opened."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from avatarify_plus.sinks.loopback import find_loopbacks, why_hidden, why_none, why_not_free

ROOT = Path("/")


class Backend(NamedTuple):
    """One way to a virtual camera.

    name: as pyvirtualcam calls it. devices: what can be chosen by name, free ones first. is_available: whether one of
    them can be opened now, as far as can be known without opening it. reason, fix: what is wrong and what to do, for
    people; empty if all is well. An available backend may have them, too: for a camera that browsers hide.
    """

    name: str
    devices: tuple[str, ...]
    is_available: bool
    reason: str
    fix: str


ReadClass = Callable[[str], str | None]
"""Return the default value of a key below HKEY_CLASSES_ROOT; None if there is no such key."""

OBS_CAMERA = "OBS Virtual Camera"

OBS_CLASS = r"CLSID\{A3FCE0F5-3493-419F-958A-ABA1250EC20B}"
"""Where OBS Studio registers its camera on Windows."""

UNITY_CLASS = r"CLSID\{{5C2CD55C-92AD-4999-8666-912BD3E700{:02X}}}"
"""Where UnityCapture registers the camera of a code."""

UNITY_CODES = (0x10, *range(0x12, 0x5A))
"""Codes of UnityCapture's cameras; 0x11 is its library's own."""

WINDOWS_FIX = "install OBS Studio from https://obsproject.com, which brings one, start it once, then try again"
UNITY_FIX = "install it from https://github.com/schellingb/UnityCapture by its Install.bat"
MAC_FIX = "install OBS Studio from https://obsproject.com, press its 'Start Virtual Camera' once, then try again"
MAC_APPROVAL_FIX = (
    "start OBS Studio, press 'Start Virtual Camera', allow its extension in System Settings, then 'Stop Virtual Camera'"
)

MAC_APP = "Applications/OBS.app"

MAC_INSTALLED = (
    "Library/SystemExtensions/*/com.obsproject.obs-studio.mac-camera-extension.systemextension",  # macOS 13 and later
    "Library/CoreMediaIO/Plug-Ins/DAL/obs-mac-virtualcam.plugin",
)
"""What OBS Studio installs once its camera was started on macOS."""


def probe(platform: str = sys.platform, root: Path = ROOT, read_class: ReadClass | None = None) -> list[Backend]:
    """Return every virtual camera that pyvirtualcam can use on a system, the preferred one first.

    platform: as `sys.platform`. root: where the system's files are. read_class: None reads the registry of Windows.
    """
    if platform.startswith("linux"):
        return [_loopback_backend(root)]
    if platform == "win32":
        read_class = read_class or _read_class
        return [_windows_obs(read_class), _unity_capture(read_class)]
    if platform == "darwin":
        return [_mac_obs(root)]
    return []


def _loopback_backend(root: Path) -> Backend:
    loopbacks = find_loopbacks(root)
    free = [loopback.path for loopback in loopbacks if loopback.is_free]
    others = [loopback.path for loopback in loopbacks if not loopback.is_free]
    if free:
        reason, fix = why_hidden(root)
    else:
        reason, fix = why_not_free(loopbacks) if loopbacks else why_none(root)
    return Backend("v4l2loopback", (*free, *others), bool(free), reason, fix)


def _windows_obs(read_class: ReadClass) -> Backend:
    if read_class(OBS_CLASS) is None:
        return Backend("obs", (), False, "OBS Studio's virtual camera is not installed", WINDOWS_FIX)
    return Backend("obs", (OBS_CAMERA,), True, "", "")


def _unity_capture(read_class: ReadClass) -> Backend:
    found = (read_class(UNITY_CLASS.format(code)) for code in UNITY_CODES)
    names = tuple(name.strip() for name in found if name)
    if not names:
        return Backend("unitycapture", (), False, "UnityCapture is not installed", UNITY_FIX)
    return Backend("unitycapture", names, True, "", "")


def _mac_obs(root: Path) -> Backend:
    if any(next(root.glob(pattern), None) for pattern in MAC_INSTALLED):
        return Backend("obs", (OBS_CAMERA,), True, "", "")
    if (root / MAC_APP).exists():
        return Backend("obs", (), False, "OBS Studio's camera extension is not active", MAC_APPROVAL_FIX)
    return Backend("obs", (), False, "OBS Studio is not installed", MAC_FIX)


def _read_class(key: str) -> str | None:
    try:
        import winreg
    except ImportError:
        return None
    if sys.platform == "win32":
        try:
            return winreg.QueryValue(winreg.HKEY_CLASSES_ROOT, key)
        except OSError:
            return None
    return None
