"""v4l2loopback, Linux's virtual camera, as far as its files show it: no device is opened."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import NamedTuple

from avatarify_plus.program.system_file import read_system_file
from avatarify_plus.types import Size

MODPROBE = 'sudo modprobe v4l2loopback devices=1 exclusive_caps=1 card_label="avatarify"'
RELOAD = f"sudo modprobe -r v4l2loopback && {MODPROBE}"
RELOAD_TWO = (
    "sudo modprobe -r v4l2loopback && "
    'sudo modprobe v4l2loopback devices=2 exclusive_caps=1,1 card_label="avatarify,second"'
)

INSTALL = {
    "debian": "sudo apt install v4l2loopback-dkms",
    "ubuntu": "sudo apt install v4l2loopback-dkms",
    "fedora": "add RPM Fusion, then sudo dnf install akmod-v4l2loopback",
    "rhel": "add RPM Fusion, then sudo dnf install akmod-v4l2loopback",
    "arch": "sudo pacman -S v4l2loopback-dkms",
    "suse": "sudo zypper install v4l2loopback-kmp-default",
}
"""How to install v4l2loopback, by the ID or ID_LIKE of os-release."""

INSTALL_ANYWHERE = "install v4l2loopback (Debian, Ubuntu: sudo apt install v4l2loopback-dkms)"

REBUILD = {
    "debian": "sudo apt install linux-headers-$(uname -r) && sudo dkms autoinstall",
    "ubuntu": "sudo apt install linux-headers-$(uname -r) && sudo dkms autoinstall",
}
"""How to build v4l2loopback for the running kernel, by the ID or ID_LIKE of os-release."""

REBUILD_ANYWHERE = "install the headers of this kernel, then sudo dkms autoinstall"

DEVICES = "sys/class/video4linux"
MODULE = "sys/module/v4l2loopback"


class Loopback(NamedTuple):
    """A virtual camera of v4l2loopback.

    path: /dev/videoN. label: its name in call programs. is_there: whether it has a device file. is_writable: whether
    this user may write to it. is_busy: whether another program sends to it.
    """

    path: str
    label: str
    is_there: bool
    is_writable: bool
    is_busy: bool

    @property
    def is_free(self) -> bool:
        """Whether it can be opened, as far as its files show."""
        return self.is_there and self.is_writable and not self.is_busy

    def __str__(self) -> str:
        return f"{self.path} ({self.label})" if self.label else self.path


def find_loopbacks(root: Path) -> list[Loopback]:
    """Return the system's virtual cameras by number. root: where the system's files are."""
    found = (root / DEVICES).glob("video*/max_openers")  # no other kernel driver has this file
    folders = sorted((file.parent for file in found), key=_number)
    return [_loopback(root, folder) for folder in folders]


def _number(folder: Path) -> int:
    digits = folder.name.removeprefix("video")
    return int(digits) if digits.isdigit() else 0


def _loopback(root: Path, folder: Path) -> Loopback:
    device = root / "dev" / folder.name
    return Loopback(
        path=f"/dev/{folder.name}",
        label=read_system_file(folder / "name"),
        is_there=device.exists(),
        is_writable=os.access(device, os.W_OK),
        # "output" if nobody sends; old versions do not have this file
        is_busy=read_system_file(folder / "state") == "capture",
    )


def format_of(root: Path, path: str) -> Size | None:
    """Return the picture size that a virtual camera is set to; None if it is not set or not known."""
    # such as YU12:1280x720@30 or YU12:1280x720@30000/1001
    match = re.match(r"\w+\s*:(\d+)x(\d+)@", read_system_file(root / DEVICES / Path(path).name / "format"))
    return Size(int(match[1]), int(match[2])) if match else None


def label_of(root: Path, path: str) -> str:
    """Return the name in call programs of the loopback at a path; elsewhere than on Linux, paths are names already."""
    return read_system_file(root / DEVICES / Path(path).name / "name") or path


def why_none(root: Path) -> tuple[str, str]:
    """Return why the system has no virtual camera, and what to do."""
    if (root / MODULE).exists():
        return "v4l2loopback is loaded but has no device", RELOAD
    return _why_not_loaded(root)


def why_not_free(loopbacks: list[Loopback]) -> tuple[str, str]:
    """Return why none of these can be opened, and what to do."""
    names = ", ".join(map(str, loopbacks))
    there = [loopback for loopback in loopbacks if loopback.is_there]
    forbidden = ", ".join(loopback.path for loopback in there if not loopback.is_writable)
    if not there:
        return (
            f"the kernel has {names}, but its device file is missing here",
            f"inside a container, start it with --device {loopbacks[0].path}; elsewhere, {RELOAD}",
        )
    if forbidden:
        return f"this user may not write to {forbidden}", "sudo usermod -aG video $USER, then log out and in again"
    return f"another program is sending to {names}, or holds it", f"stop it there, or add another camera: {RELOAD_TWO}"


def why_hidden(root: Path) -> tuple[str, str]:
    """Return why browsers do not show the virtual cameras, and what to do; empty texts if they do."""
    flags = read_system_file(root / MODULE / "parameters/exclusive_caps")
    if flags and "Y" not in flags:
        return "v4l2loopback was loaded without exclusive_caps=1: browsers do not show such a camera", RELOAD
    return "", ""


def _why_not_loaded(root: Path) -> tuple[str, str]:
    release = platform.release()
    modules = root / "lib/modules"
    if "v4l2loopback.ko" in read_system_file(modules / release / "modules.dep"):
        return "the kernel module v4l2loopback is not loaded", MODPROBE
    built_before = any("v4l2loopback.ko" in read_system_file(file) for file in modules.glob("*/modules.dep"))
    family = _family(root)
    if built_before or any((root / "usr/src").glob("v4l2loopback-*")):
        build = next((REBUILD[name] for name in family if name in REBUILD), REBUILD_ANYWHERE)
        return f"v4l2loopback is not built for this kernel, {release}", f"{build}, then {MODPROBE}"
    install = next((INSTALL[name] for name in family if name in INSTALL), INSTALL_ANYWHERE)
    return "v4l2loopback is not installed", f"{install}, then {MODPROBE}"


def _family(root: Path) -> list[str]:
    """Return the names of this distribution and of those it descends from, the closest first."""
    values = dict(line.partition("=")[::2] for line in read_system_file(root / "etc/os-release").splitlines())
    return f"{values.get('ID', '')} {values.get('ID_LIKE', '')}".replace('"', "").split()
