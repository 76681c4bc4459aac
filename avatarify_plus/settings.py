"""What keys changed, kept for the next time in a small file that may be edited by hand."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import platformdirs

from avatarify_plus.config import RANGES, AppConfig

logger = logging.getLogger(__name__)

FILE = "settings.json"
DAMAGED = "settings.damaged.json"
TOLD = "notice-told"
"""An empty file: NOTICE was told."""

NOTICE = """\
Use photos of yourself only, or of people who agreed to it, and tell the people you call that they see an avatar.
Do not use it to pass for somebody else or to deceive: in many countries that is against the law.
The sent picture is marked as made by AI; leave the mark in. (This is told once.)"""
"""What everybody is told before the first show."""


def load() -> dict[str, Any]:
    """Return the fields of AppConfig that were kept; what is wrong with the file is told in a warning and left out.

    A file that cannot be understood at all is kept aside as DAMAGED, next to it.
    """
    try:
        stored = _read()
    except OSError as error:
        logger.warning("cannot read the settings in %s: %s; going on without them", path(), error.strerror or error)
        return {}
    known = _kinds()
    problems: list[str] = []
    values: dict[str, Any] = {}
    for name, value in stored.items():
        problem = f"{name} is not a setting" if name not in known else _problem(name, known[name], value)
        if problem is None:
            values[name] = known[name](value)
        else:
            problems.append(problem)
    if problems:
        logger.warning("the settings in %s are ignored where they make no sense: %s", path(), "; ".join(problems))
    return values


def save(values: Mapping[str, Any]) -> None:
    """Keep fields of AppConfig for the next time; all else in the file stays. A failure is told in a warning."""
    unknown = sorted(set(values) - set(_kinds()))
    if unknown:
        raise ValueError(f"only fields that persist can be kept, found {', '.join(unknown)}")
    try:
        _write(_read() | dict(values))
    except OSError as error:
        logger.warning("cannot keep the settings in %s: %s", path(), error.strerror or error)


def notice_pending() -> bool:
    """Return whether NOTICE has still to be told."""
    return not (_folder() / TOLD).exists()


def notice_told() -> None:
    """Remember that NOTICE was told."""
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        (_folder() / TOLD).touch()
    except OSError as error:
        logger.warning("cannot keep the settings in %s: %s", _folder(), error.strerror or error)


def path() -> Path:
    """Return the settings' file."""
    return _folder() / FILE


def _folder() -> Path:
    return platformdirs.user_config_path("avatarify_plus", appauthor=False)


def _kinds() -> dict[str, type]:
    """Return the fields of AppConfig that persist with their types: bool or float."""
    types = get_type_hints(AppConfig)
    return {field.name: types[field.name] for field in fields(AppConfig) if field.metadata.get("persists")}


def _problem(name: str, kind: type, value: Any) -> str | None:
    """Return what is wrong with a stored value, for people."""
    if kind is bool:
        return None if isinstance(value, bool) else f"{name} must be true or false, found {value!r}"
    least, most = RANGES[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        return f"{name} must be a number from {least:g} to {most:g}, found {value!r}"
    return None


def _read() -> dict[str, Any]:
    """Return what the file holds; empty where there is none. Raises OSError where it cannot be read."""
    file = path()
    try:
        stored = json.loads(file.read_text("utf-8-sig"))  # editors on Windows may add a byte order mark
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:  # neither JSON nor text
        return _set_aside(file, str(error))
    return stored if isinstance(stored, dict) else _set_aside(file, "it holds no names and values in braces")


def _set_aside(file: Path, reason: str) -> dict[str, Any]:
    aside = file.with_name(DAMAGED)
    kept = ""
    with contextlib.suppress(OSError):
        file.replace(aside)
        kept = f"; it is kept as {aside}"
    logger.warning("the settings in %s are damaged and start anew: %s%s", file, reason, kept)
    return {}


def _write(stored: Mapping[str, Any]) -> None:
    """Replace the file as a whole or not at all; a link stays a link. Raises OSError."""
    file = path().resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=FILE, dir=file.parent)
    draft = Path(name)
    try:
        with open(handle, "w", encoding="utf-8") as text:
            json.dump(stored, text, indent=2, sort_keys=True, ensure_ascii=False)
            text.write("\n")
            text.flush()
            os.fsync(text.fileno())
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
