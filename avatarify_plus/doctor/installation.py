"""Python and the packages. Standard library only, so that it can report that all else is missing."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from typing import TYPE_CHECKING

from avatarify_plus.doctor.finding import FAILED, OK, PIP, WARNING, Finding, Wanted, install_fix
from avatarify_plus.program.checkout import checkout
from avatarify_plus.program.command_line import NEWEST_PYTHON, python_problem

if TYPE_CHECKING:
    from packaging.requirements import Requirement

NOTHING_INSTALLED = "nothing that the app needs is installed"
"""The message where not even the packages are there that the other checks need."""

OPENCV = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless", "opencv-python-headless")
"""Packages that share the module cv2."""

ONNX_RUNTIME = ("onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime")
"""Packages that share the module onnxruntime, the one in requirements.txt last."""

STAND_INS = {"onnxruntime": ONNX_RUNTIME}
EXTRAS = {"onnxruntime-gpu": "[cuda,cudnn]"}


def python(wanted: Wanted) -> Finding:
    """See whether this Python can load the packages."""
    return judge_python(sys.version_info[:3], platform.machine(), sys.maxsize > 2**32)


def judge_python(version: tuple[int, int, int], machine: str, is_64_bit: bool) -> Finding:
    """Say whether the packages are built for a Python of this version, on this processor."""
    found, newest = (".".join(map(str, numbers)) for numbers in (version, NEWEST_PYTHON))
    problem = python_problem(version)
    if problem is not None:
        folder = "" if checkout() is None else ", in this program's folder"
        return Finding(
            "python",
            FAILED,
            problem,
            f"install Python {newest} from https://www.python.org, then{folder}: python{newest} -m venv .venv, "
            f"activate it, {install_fix()}",
        )
    message = f"Python {found}, {machine}"
    if not is_64_bit:
        return Finding(
            "python", FAILED, f"{message}, 32 bits: MediaPipe needs 64", f"install the 64-bit Python {newest} instead"
        )
    return Finding("python", OK, f"{message}, {sys.prefix}")


def packages(wanted: Wanted) -> Finding:
    """See whether what the app needs is installed."""
    return judge_packages(required(), installed())


def required() -> list[str]:
    """Return the lines of requirements.txt, or what an installed package's metadata asks for, extras included."""
    root = checkout()
    if root is None:
        return metadata.requires("avatarify_plus") or []
    text = (root / "requirements.txt").read_text(encoding="utf-8")
    lines = (line.partition(" #")[0].strip() for line in text.splitlines())
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
        return Finding("packages", FAILED, NOTHING_INSTALLED, install_fix())
    if complaints:
        wanted = " ".join(f'"{requirement}"' for requirement in complaints)
        return Finding("packages", FAILED, "; ".join(complaints.values()), f"{PIP} install {wanted}")
    return Finding("packages", OK, "all that the app needs is installed")


def _unmet(lines: Iterable[str], found: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each requirement that is not met, and the complaint about it."""
    for requirement in _needed(lines):
        complaint = _complaint(requirement, found)
        if complaint:
            requirement.marker = None
            yield str(requirement), complaint


def _needed(lines: Iterable[str]) -> Iterator[Requirement]:
    """Yield the requirements that hold here: not those of another system, nor those of an optional extra."""
    from packaging.requirements import Requirement

    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def _complaint(requirement: Requirement, found: Mapping[str, str]) -> str:
    """Return what is wrong, or nothing."""
    name = _canonical(requirement.name)
    version = next((found[other] for other in STAND_INS.get(name, (name,)) if other in found), None)
    if version is None:
        return f"{requirement.name} is missing"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} is {version}, needed is {requirement.specifier}"
    return ""


def dependencies(wanted: Wanted) -> Finding | None:
    """See whether the packages' own requirements are met."""
    found = installed()
    if judge_packages(required(), found).state == FAILED:
        return None
    return judge_dependencies(required(), found, lambda name: metadata.requires(name) or [])


def judge_dependencies(
    lines: Iterable[str], found: Mapping[str, str], needs_of: Callable[[str], Iterable[str]]
) -> Finding:
    """Say what the required packages, and those that they need, lack themselves."""
    waiting = [_canonical(requirement.name) for requirement in _needed(lines)]
    seen = set(waiting)
    complaints: dict[str, str] = {}
    for name in waiting:  # grows while it is walked
        if name not in found:
            continue
        for need in _needed(needs_of(name)):
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
    return Finding("dependencies", OK, f"{len(seen)} packages fit together")


def opencv(wanted: Wanted) -> Finding | None:
    """See whether the module cv2 is the wanted package's, and no other has overwritten its files."""
    return judge_opencv(required(), installed())


def judge_opencv(lines: Iterable[str], found: Mapping[str, str]) -> Finding | None:
    """Say whether the one OpenCV package here is the one that is required on this machine; None without any."""
    here = [name for name in OPENCV if name in found]
    if not here:
        return None
    try:
        kept = next(name for name in map(_canonical, (line.name for line in _needed(lines))) if name in OPENCV)
    except ImportError:  # packaging comes with ONNX Runtime; `packages` says so
        return None
    return _judge_overlap("opencv", here, kept, found)


def onnx_runtime(wanted: Wanted) -> Finding | None:
    """See whether several packages have written over each other's onnxruntime."""
    return judge_onnx_runtime(installed())


def judge_onnx_runtime(found: Mapping[str, str]) -> Finding | None:
    """Say whether more than one of the packages that bring onnxruntime is installed; None without any."""
    here = [name for name in ONNX_RUNTIME if name in found]
    return _judge_overlap("onnx runtime", here, here[0], found) if here else None


def _judge_overlap(name: str, here: list[str], kept: str, found: Mapping[str, str]) -> Finding:
    """Say whether one of several packages that share their files is installed, and no other."""
    message = " and ".join(f"{package} {found[package]}" for package in here)
    if here == [kept]:
        return Finding(name, OK, message)
    fix = f'{PIP} uninstall -y {" ".join(here)}, then {PIP} install "{kept}{EXTRAS.get(kept, "")}"'
    trouble = f"{message} overwrite each other's files" if len(here) > 1 else f"{message} instead of {kept}"
    return Finding(name, FAILED, trouble, fix)


CHECKS = (python, packages, dependencies, opencv, onnx_runtime)
