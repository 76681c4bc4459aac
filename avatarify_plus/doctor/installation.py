"""Python and the packages. Standard library only, so that what is missing can be told."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from avatarify_plus.doctor.finding import FAILED, INSTALL, OK, PIP, WARNING, Finding, Wanted

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OLDEST, NEWEST = (3, 10), (3, 12)
"""Those that MediaPipe is built for."""

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"
NOTHING_INSTALLED = Finding("packages", FAILED, "nothing that requirements.txt asks for is installed", INSTALL)

OPENCV = ("opencv-contrib-python", "opencv-python", "opencv-contrib-python-headless", "opencv-python-headless")
"""Packages that share the module cv2, the one that MediaPipe asks for first."""

ONNX_RUNTIME = ("onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime")
"""Packages that share the module onnxruntime, the one that everybody has last."""

STAND_INS = {"onnxruntime": ONNX_RUNTIME}
EXTRAS = {"onnxruntime-gpu": "[cuda,cudnn]"}


def python(wanted: Wanted) -> Finding:
    """See whether this Python can load the packages."""
    return judge_python(sys.version_info[:3], platform.machine(), sys.maxsize > 2**32)


def judge_python(version: tuple[int, int, int], machine: str, is_64_bit: bool) -> Finding:
    """Say whether MediaPipe is built for a Python of this version, on this processor."""
    told = f"Python {'.'.join(map(str, version))}, {machine}"
    oldest, newest = (".".join(map(str, limit)) for limit in (OLDEST, NEWEST))
    if not OLDEST <= version[:2] <= NEWEST:
        fix = f"install Python {newest} from https://www.python.org, then, in this program's folder: "
        return Finding(
            "python",
            FAILED,
            f"{told}: MediaPipe is built for {oldest} to {newest} only",
            f"{fix}python{newest} -m venv .venv, activate it, python -m pip install -r requirements.txt",
        )
    if not is_64_bit:
        return Finding(
            "python", FAILED, f"{told}, 32 bits: MediaPipe needs 64", f"install the 64-bit Python {newest} instead"
        )
    return Finding("python", OK, f"{told}, {sys.prefix}")


def packages(wanted: Wanted) -> Finding:
    """See whether what the app needs is installed."""
    return judge_packages(required(), installed())


def required() -> list[str]:
    """Return the lines of requirements.txt, or what the installed package has kept of them."""
    if not REQUIREMENTS.is_file():
        return metadata.requires("avatarify_plus") or []
    lines = (line.partition(" #")[0].strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def installed() -> dict[str, str]:
    """Return the packages' names, in lower case with dashes, and their versions."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(_canonical(name), distribution.version)
    return found


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def judge_packages(lines: Iterable[str], found: Mapping[str, str]) -> Finding:
    """Say which requirements are not met by the packages found."""
    try:
        complaints = dict(_unmet(lines, found))
    except ImportError:  # packaging comes with ONNX Runtime
        return NOTHING_INSTALLED
    if complaints:
        wanted = " ".join(f'"{requirement}"' for requirement in complaints)
        return Finding("packages", FAILED, "; ".join(complaints.values()), f"{PIP} install {wanted}")
    return Finding("packages", OK, "all that requirements.txt asks for")


def _unmet(lines: Iterable[str], found: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each requirement that is not met, and the complaint about it."""
    from packaging.requirements import Requirement

    for line in lines:
        complaint = _complaint(Requirement(line), found)
        if complaint:
            yield str(Requirement(line)), complaint


def _complaint(requirement: Requirement, found: Mapping[str, str]) -> str:
    """Return what is wrong, or nothing."""
    if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
        return ""
    name = _canonical(requirement.name)
    version = next((found[other] for other in STAND_INS.get(name, (name,)) if other in found), None)
    if version is None:
        return f"{requirement.name} is missing"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} is {version}, needed is {requirement.specifier}"
    return ""


def dependencies(wanted: Wanted) -> Finding | None:
    """See whether the packages get along with each other."""
    found = installed()
    if judge_packages(required(), found).state == FAILED:
        return None
    return judge_dependencies(required(), found, lambda name: metadata.requires(name) or [])


def judge_dependencies(
    lines: Iterable[str], found: Mapping[str, str], needs_of: Callable[[str], Iterable[str]]
) -> Finding:
    """Say what the required packages, and those that they need, lack themselves."""
    from packaging.requirements import Requirement

    waiting = [_canonical(Requirement(line).name) for line in lines]
    seen = set(waiting)
    complaints: dict[str, str] = {}
    for name in waiting:  # grows while it is walked
        if name not in found:
            continue
        for need in map(Requirement, needs_of(name)):
            if need.marker and not need.marker.evaluate({"extra": ""}):
                continue
            complaint = _complaint(need, found)
            if complaint:
                need.marker = None
                complaints[str(need)] = f"{name} {found[name]}: {complaint}"
            if _canonical(need.name) not in seen:
                seen.add(_canonical(need.name))
                waiting.append(_canonical(need.name))
    if complaints:
        wanted = " ".join(f'"{requirement}"' for requirement in complaints)
        return Finding("dependencies", WARNING, "; ".join(complaints.values()), f"{PIP} install {wanted}")
    return Finding("dependencies", OK, f"{len(seen)} packages get along")


def opencv(wanted: Wanted) -> Finding | None:
    """See whether the cv2 that is there is the one that MediaPipe asks for, and whole."""
    return judge_opencv(installed())


def judge_opencv(found: Mapping[str, str]) -> Finding | None:
    """Say whether other packages than the one wanted have written their cv2 here; None without any."""
    here = [name for name in OPENCV if name in found]
    return _judge_twins("opencv", here, OPENCV[0], found) if here else None


def onnx_runtime(wanted: Wanted) -> Finding | None:
    """See whether several packages have written over each other's onnxruntime."""
    return judge_onnx_runtime(installed())


def judge_onnx_runtime(found: Mapping[str, str]) -> Finding | None:
    """Say whether more than one of the packages that bring onnxruntime is installed; None without any."""
    here = [name for name in ONNX_RUNTIME if name in found]
    return _judge_twins("onnx runtime", here, here[0], found) if here else None


def _judge_twins(name: str, here: list[str], kept: str, found: Mapping[str, str]) -> Finding:
    """Say whether one of several packages that share their files is installed, and no other."""
    told = " and ".join(f"{twin} {found[twin]}" for twin in here)
    if here == [kept]:
        return Finding(name, OK, told)
    fix = f'{PIP} uninstall -y {" ".join(here)}, then {PIP} install "{kept}{EXTRAS.get(kept, "")}"'
    trouble = f"{told} overwrite each other's files" if len(here) > 1 else f"{told} instead of {kept}"
    return Finding(name, FAILED, trouble, fix)


CHECKS = (python, packages, dependencies, opencv, onnx_runtime)
