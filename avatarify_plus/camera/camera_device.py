"""A webcam as the system lists it."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from avatarify_plus.camera.camera_mode import CameraMode
from avatarify_plus.errors import CameraError

MAX_FORMATS = 4
"""Maximum number of pixel formats that are named of those that offer the same."""


@dataclass(frozen=True, slots=True)
class CameraDevice:
    """A webcam.

    index: OpenCV's number. path: of its device file, or the system's own name for it. location: what it is plugged
    into, which differs for two webcams of one name. is_virtual: whether a program draws its pictures. modes: what it
    offers, empty if unknown.
    """

    index: int
    name: str
    path: str
    location: str
    is_virtual: bool = False
    modes: tuple[CameraMode, ...] = ()

    def __str__(self) -> str:
        return f"{self.index} {self.name}" + (" (virtual camera)" if self.is_virtual else "")


def found_text(devices: Sequence[CameraDevice]) -> str:
    """Return the numbers and names of webcams, for an error message."""
    return f"found: {', '.join(map(str, devices))}" if devices else "found: no webcam"


def describe(devices: Sequence[CameraDevice]) -> str:
    """Return which webcams there are and what they offer, in a paragraph for each."""
    if not devices:
        return "no webcam was found"
    return "\n".join(line for device in devices for line in _lines(device))


def _lines(device: CameraDevice) -> list[str]:
    """Return a webcam's name, and what it offers in each pixel format."""
    formats: dict[str, list[str]] = {}  # by what they offer, because many offer the same
    for name in dict.fromkeys(mode.format for mode in device.modes):
        offers = ", ".join(str(mode._replace(format="")) for mode in device.modes if mode.format == name)
        formats.setdefault(offers, []).append(name)
    lines = [f"{device}, {device.path}" if device.path else str(device)]
    for offers, names in formats.items():
        more = f" and {len(names) - MAX_FORMATS} others" if len(names) > MAX_FORMATS else ""
        lines.append("    " + ": ".join(filter(None, (", ".join(names[:MAX_FORMATS]) + more, offers))))
    return lines


def find_named(name: str, devices: Sequence[CameraDevice]) -> CameraDevice | None:
    """Return the webcam of this name, or with this in its name, in upper or lower case; None if there is none.

    Raises CameraError if it may be several.
    """
    wanted = name.casefold()
    exact = [device for device in devices if device.name.casefold() == wanted]
    found = exact or [device for device in devices if wanted in device.name.casefold()]
    if len({(device.name, device.location) for device in found}) > 1:
        raise CameraError(f"{name!r} may be several webcams: give the number, {found_text(found)}")
    # the first, because one webcam may have several device files
    return min(found, key=lambda device: device.index, default=None)


def find_again(lost: CameraDevice, others: AbstractSet[str], devices: Sequence[CameraDevice]) -> CameraDevice | None:
    """Return a webcam that was there before, whatever its number is now; None if it is missing.

    others: locations of other webcams, which are not taken for it even if they have its name.
    """
    same = [device for device in devices if device.name == lost.name and device.location not in others]
    return min(
        same,
        key=lambda device: (device.location != lost.location, device.index != lost.index, device.index),
        default=None,
    )
