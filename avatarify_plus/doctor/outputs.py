"""Where pictures are seen: the virtual camera and the preview window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from avatarify_plus.doctor.finding import FAILED, OK, WARNING, Finding, Wanted
from avatarify_plus.errors import SinkError
from avatarify_plus.preview.window import PreviewWindow
from avatarify_plus.session.session import CALL_SIZE
from avatarify_plus.sinks.virtual_camera import Backend, VirtualCamera, probe

USUAL_RATE = Fraction(30)
OCCUPIED = "stop the program that uses it, such as OBS Studio or a call, then try again"


def virtual_camera(wanted: Wanted) -> Finding:
    """See whether there is a virtual camera to send to."""
    return judge_virtual_camera(probe(), _open_and_close)


def _open_and_close() -> str:
    camera = VirtualCamera(CALL_SIZE, USUAL_RATE)
    camera.close()
    return camera.device


def judge_virtual_camera(backends: Sequence[Backend], try_one: Callable[[], str]) -> Finding:
    """Say which virtual cameras can be sent to, or how to get one.

    try_one: open one as the app does, close it, and return its name. Raises SinkError.
    """
    available = [backend for backend in backends if backend.is_available]
    if not available:
        reasons = "; ".join(f"{backend.name}: {backend.reason}" for backend in backends)
        fixes = "; or: ".join(backend.fix for backend in backends)
        nothing = "this system has none that pyvirtualcam supports"
        return Finding("virtual camera", FAILED, reasons or nothing, fixes or "use --output or the preview")
    try:
        device = try_one()
    except SinkError as error:
        return Finding("virtual camera", FAILED, str(error), OCCUPIED)
    message = "; ".join(f"{backend.name}: {', '.join(backend.devices)}" for backend in available)
    flawed = [backend for backend in available if backend.reason]
    if flawed == available:
        return Finding("virtual camera", WARNING, f"{message}; {flawed[0].reason}", flawed[0].fix)
    return Finding("virtual camera", OK, f"{message}; {device} opens")


def screen(wanted: Wanted) -> Finding:
    """See whether the preview window opens."""
    try:
        PreviewWindow().close()
    except SinkError as error:
        return Finding("screen", WARNING, str(error), "start it on a desktop, or with --no-preview")
    return Finding("screen", OK, "the preview window opens")


CHECKS = (virtual_camera, screen)
