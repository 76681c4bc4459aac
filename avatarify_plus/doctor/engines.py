"""What computes the pictures: the runtimes, and which of them the app takes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import get_args

from avatarify_plus.bundle import Bundle
from avatarify_plus.config import EngineName
from avatarify_plus.doctor.finding import FAILED, OK, PIP, WARNING, Finding, Wanted, install_fix
from avatarify_plus.doctor.model import open_wanted
from avatarify_plus.engines import choose_engine, open_engine, require_parts
from avatarify_plus.errors import AvatarifyError, EngineError

IN_REQUIREMENTS = ("openvino", "onnxruntime")
"""Engines whose packages everybody has."""

ONLY_ON = {"onnxruntime-directml": "win32", "onnxruntime-coreml": "darwin"}
"""The sys.platform of engines that exist on one system only."""


def onnx_providers(wanted: Wanted) -> Finding:
    """See what ONNX Runtime can compute on."""
    import onnxruntime

    providers = ", ".join(onnxruntime.get_available_providers())
    return Finding("onnx providers", OK, f"ONNX Runtime {onnxruntime.__version__}: {providers}")


def openvino_devices(wanted: Wanted) -> Finding:
    """See what OpenVINO can compute on."""
    import openvino

    core = openvino.Core()
    devices = {device: core.get_property(device, "FULL_DEVICE_NAME") for device in core.available_devices}
    return judge_openvino(openvino.__version__, devices)


def judge_openvino(version: str, devices: Mapping[str, str]) -> Finding:
    """Say whether OpenVINO sees the processor, which is what the app computes on."""
    seen = ", ".join(f"{device} ({name.strip()})" for device, name in devices.items())
    release = version.partition("-")[0]
    if "CPU" not in devices:
        return Finding(
            "openvino devices",
            WARNING,
            f"OpenVINO {release} sees {seen or 'no device'}, not the processor",
            f"{PIP} install --force-reinstall --no-deps openvino",
        )
    return Finding("openvino devices", OK, f"OpenVINO {release}: {seen}")


def engines(wanted: Wanted) -> Finding:
    """See which engines work here."""
    bundle = open_wanted(wanted)
    system = sys.platform
    names = [name for name in get_args(EngineName) if name != "auto" and ONLY_ON.get(name, system) == system]
    return judge_engines({name: refusal(bundle, name) for name in names})


def refusal(bundle: Bundle, name: EngineName) -> str:
    """Return why an engine does not work here, or nothing."""
    try:
        require_parts(name)
        open_engine(bundle, name).close()
    except AvatarifyError as error:
        return str(error)
    return ""


def judge_engines(refusals: Mapping[str, str]) -> Finding:
    """Say which engines work, and why the others do not."""
    working = [name for name, reason in refusals.items() if not reason]
    by_reason: dict[str, list[str]] = {}
    for name, reason in refusals.items():
        if reason:
            by_reason.setdefault(reason, []).append(name)
    others = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
    message = f"{', '.join(working) or 'none'} work{'s' * (len(working) < 2)} here" + (f"; {others}" if others else "")
    broken = [name for name in IN_REQUIREMENTS if refusals.get(name)]
    if broken:
        fix = f"{PIP} install --force-reinstall --no-deps {' '.join(broken)}"
        return Finding("engines", WARNING if working else FAILED, message, fix)
    return Finding("engines", OK, message)


def automatic_choice(wanted: Wanted) -> Finding:
    """See what `--engine auto` takes, and why."""
    return judge_choice(lambda: _reason(open_wanted(wanted)))


def _reason(bundle: Bundle) -> str:
    chosen = choose_engine(bundle)
    chosen.engine.close()
    return chosen.reason


def judge_choice(choose: Callable[[], str]) -> Finding:
    """Say what is chosen, or that nothing can be."""
    try:
        return Finding("automatic choice", OK, choose())
    except EngineError as error:
        return Finding("automatic choice", FAILED, str(error), install_fix())


CHECKS = (onnx_providers, openvino_devices, engines, automatic_choice)
