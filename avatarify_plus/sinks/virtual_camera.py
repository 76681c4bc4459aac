"""The virtual camera that call programs see. pyvirtualcam is used only here."""

from __future__ import annotations

import contextlib
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from avatarify_plus.errors import VirtualCameraError
from avatarify_plus.sinks.backend import ROOT, Backend, probe
from avatarify_plus.sinks.loopback import find_loopbacks, format_of, label_of, why_not_free
from avatarify_plus.sinks.loopback_reset import reset_loopback
from avatarify_plus.types import Image, Size

__all__ = ["Backend", "VirtualCamera", "probe"]

NO_BACKEND = "this system has no virtual camera that pyvirtualcam supports; use --output or the preview"


class DeviceRequest(NamedTuple):
    """What pyvirtualcam is asked to open; it chooses itself where None stands."""

    backend: str | None
    device: str | None


class VirtualCamera:
    """Send pictures to a virtual camera of the system. device: name of the opened one."""

    name = "virtual camera"

    def __init__(self, size: Size, rate: Fraction, device: str | None = None) -> None:
        """Open it for pictures of an even size at about this rate, in frames a second.

        device: its path or name, a unique part of its name, or a backend's name; None takes the first that is free.
        Raises VirtualCameraError with a message that names the fix.
        """
        module, backends = _load_pyvirtualcam(), probe(sys.platform, ROOT)
        self._size = size
        self._camera: Any = _open(module, size, rate, _device_requests(device, backends), backends)
        self.device = str(self._camera.device)
        self._node = _node(self.device)
        self._has_sent = False
        try:
            self._require_size()
        except VirtualCameraError:
            self.close()
            raise

    def send(self, image: Image, time_s: float) -> None:
        """Show a picture now, whatever its time; see `Sink.send`. Raises VirtualCameraError if the device is gone."""
        if _node(self.device) != self._node:  # pyvirtualcam would only complain on stderr
            raise VirtualCameraError(f"the virtual camera {self.device} was removed; add it again")
        try:
            self._camera.send(image)
        except (RuntimeError, OSError) as error:
            raise VirtualCameraError(f"the virtual camera {self.device} takes no pictures: {error}") from error
        if not self._has_sent:
            self._require_size()  # older versions of v4l2loopback show it only now
            self._has_sent = True

    @property
    def label(self) -> str:
        """What call programs list it as."""
        return label_of(ROOT, self.device)

    def _require_size(self) -> None:
        """Raise VirtualCameraError if the device keeps another size: pyvirtualcam does not check, and pictures tear."""
        kept = format_of(ROOT, self.device) if sys.platform.startswith("linux") else None
        if kept is not None and kept != self._size:
            raise VirtualCameraError(
                f"the virtual camera {self.device} is held at {kept} while {self._size} is wanted: a program watches "
                f"it at that size, or its format is locked; stop the camera in that program, or use --size {kept}"
            )

    def close(self) -> None:
        """Release the device."""
        with contextlib.suppress(RuntimeError, OSError):  # nothing is lost with a device that is gone
            self._camera.close()


def _load_pyvirtualcam() -> ModuleType:
    try:
        import pyvirtualcam
    except ImportError as error:
        raise VirtualCameraError(
            f"the virtual camera needs pyvirtualcam, which cannot be loaded ({error}): pip install pyvirtualcam"
        ) from error
    return pyvirtualcam


def _device_requests(wanted: str | None, backends: list[Backend]) -> list[DeviceRequest]:
    """Return what to try, in turn. Raises VirtualCameraError if nothing has the wanted name."""
    if wanted is None:
        # pyvirtualcam's own search on Linux stops at the first device it may not open
        free = [DeviceRequest(each.name, device) for each in backends if each.is_available for device in each.devices]
        return free or [DeviceRequest(None, None)]
    if wanted.startswith("/") and Path(wanted).exists():
        return [DeviceRequest(None, str(Path(wanted).resolve()))]
    known = _known_names(backends)
    folded = wanted.casefold()
    exact = [request for name, request in known.items() if name.casefold() == folded]
    if exact:
        return exact[:1]
    partial = {request for name, request in known.items() if folded in name.casefold()}
    if len(partial) == 1:
        return [*partial]
    names = ", ".join(known) or "none"
    advice = "choose one of them" if any(each.is_available for each in backends) else _advice(backends)
    count = "several virtual cameras are" if partial else "no virtual camera is"
    raise VirtualCameraError(f"{count} called {wanted!r}, there are: {names}; {advice}")


def _known_names(backends: list[Backend]) -> dict[str, DeviceRequest]:
    """Return every name that a user may give: of devices, their labels on Linux, and backends that have devices."""
    known = {device: DeviceRequest(each.name, device) for each in backends for device in each.devices}
    for each in backends:
        if each.name == "v4l2loopback":
            known |= {one.label: DeviceRequest(each.name, one.path) for one in find_loopbacks(ROOT) if one.label}
        if each.devices:
            known[each.name] = DeviceRequest(each.name, None)
    return known


def _open(
    module: ModuleType, size: Size, rate: Fraction, requests: list[DeviceRequest], backends: list[Backend]
) -> Any:
    """Open the first device that can be opened. Raises VirtualCameraError with the first failure."""
    failures: list[RuntimeError] = []
    for request in requests:
        for is_second_try in (False, True):
            if is_second_try and not (request.device in _loopback_paths() and reset_loopback(str(request.device))):
                break
            try:
                return module.Camera(
                    width=size.width,
                    height=size.height,
                    fps=float(rate),
                    device=request.device,
                    backend=request.backend,
                )
            except RuntimeError as error:
                failures.append(error)
    wanted = requests[0].device
    if wanted is None and not any(each.is_available for each in backends):
        raise VirtualCameraError(f"cannot open a virtual camera: {_advice(backends)}") from failures[0]
    found = " ".join(str(failures[0]).split()).rstrip(".")
    which = f"the virtual camera {wanted}" if wanted else "the virtual camera"
    raise VirtualCameraError(f"cannot open {which} ({found}): {_advice_for(wanted)}") from failures[0]


def _loopback_paths() -> set[str]:
    return {loopback.path for loopback in find_loopbacks(ROOT)}


def _advice(backends: list[Backend]) -> str:
    """Return why the system does not have a virtual camera, and what to do."""
    return f"{backends[0].reason}; {backends[0].fix}" if backends else NO_BACKEND


def _advice_for(device: str | None) -> str:
    """Return why an existing device does not open, and what to do."""
    if device is None or not device.startswith("/"):
        return "stop the program that is sending to it, such as OBS Studio, then try again"
    loopbacks = find_loopbacks(ROOT)
    its = [each for each in loopbacks if each.path == device]
    if its:
        return "; ".join(why_not_free(its))
    return f"it is not a virtual camera, these are: {', '.join(map(str, loopbacks)) or 'none'}"


def _node(device: str) -> tuple[int, int] | None:
    """Return what distinguishes a device file from a later one of the same name; None if a device is not a file."""
    if not device.startswith("/"):
        return None
    try:
        status = Path(device).stat()
    except OSError:
        return None
    return status.st_rdev, status.st_ino
