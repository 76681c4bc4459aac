"""What a check finds, and what it is given. Standard library only: it must load where nothing is installed."""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

from avatarify_plus.errors import AvatarifyError
from avatarify_plus.program.checkout import checkout

OK, WARNING, FAILED = "ok", "warning", "failed"
"""States: failed means that nobody in a call sees an avatar, warning that the app runs but slower or less reliably."""

PIP = "python -m pip"
LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libEGL.so.1": "libegl1",
    "libgomp.so.1": "libgomp1",
    "libxcb.so.1": "libxcb1",
}
"""Debian's packages of the shared libraries that wheels expect the system to have."""

REPORT = "report it with the output of: python -m avatarify_plus doctor --json -"


def install_fix() -> str:
    """Return how to install what the app needs."""
    return f"{PIP} install " + ("--upgrade avatarify_plus" if checkout() is None else "-r requirements.txt")


def reinstall_fix() -> str:
    """Return how to get this program's own files back."""
    if checkout() is None:
        return f"{PIP} install --force-reinstall --no-deps avatarify_plus"
    return "download this program again"


class Finding(NamedTuple):
    """What a check found.

    state: OK, WARNING or FAILED. message: what was found. fix: what to do, empty if all is well.
    """

    name: str
    state: str
    message: str
    fix: str = ""


class Wanted(NamedTuple):
    """What to check, as the app's options name it; None is the app's default model, the first webcam."""

    model: str | None = None
    camera: str | None = None


class Check(Protocol):
    """Examine one thing; None if it does not exist on this machine."""

    __name__: str

    def __call__(self, wanted: Wanted) -> Finding | None:
        """Return what was found. Whatever it raises is a failure."""
        ...


def name_of(check: Check) -> str:
    """Return the name of what a check finds."""
    return check.__name__.replace("_", " ")


def of_error(name: str, error: BaseException) -> Finding:
    """Return the finding about a check that could not be done."""
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    if isinstance(error, AvatarifyError):
        return Finding(name, FAILED, f"cannot be checked: {reason}", "fix what failed above, then run this again")
    if not isinstance(error, ImportError):
        return Finding(name, FAILED, f"cannot be checked: {type(error).__name__}: {reason}", REPORT)
    return Finding(name, FAILED, f"cannot be checked: {reason}", _import_fix(error, reason))


def _import_fix(error: ImportError, reason: str) -> str:
    """Return what to do where a module cannot be imported."""
    library = re.match(r"(lib\S+?\.so[.\d]*): cannot open shared object", reason)
    if library:
        package = LIBRARIES.get(library[1], f"the package that has {library[1]}")
        return f"sudo apt install {package} (Debian, Ubuntu), or what your system calls it"
    if reason.startswith("DLL load failed"):
        return "install https://aka.ms/vs/17/release/vc_redist.x64.exe (Microsoft's C++ runtime), then restart"
    if (error.name or "").partition(".")[0] == "avatarify_plus":
        return f"{reinstall_fix()}; if that does not help, {REPORT}"
    return install_fix()
