"""What keys changed, kept for the next time in a small file that may be edited by hand."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from avatarify_plus.config import RANGES, AppConfig
from avatarify_plus.program.user_folders import config_folder
from avatarify_plus.program.whole_file import write_whole

logger = logging.getLogger(__name__)

FILE = "settings.json"
DAMAGED = "settings.damaged.json"
NOTICE_SHOWN = "notice-told"
"""The name of an empty file that says that NOTICE was shown."""

RESET_HINT = "Shift+R in the window resets them, --no-config leaves them out"

NOTICE = """\
Use photos of yourself only, or of people who agreed to it, and tell the people you call that they see an avatar.
Do not use it to pass for somebody else or to deceive: in many countries that is against the law.
The sent picture is marked as made by AI; leave the mark in. (This is shown once.)"""
"""What everybody is shown before the first live run."""


class KeptSettings:
    """What keys changed in earlier calls. They apply to live runs only; a run from a file uses its options.

    A run from a file leaves nothing in the user's folders.
    """

    def __init__(self, given: Collection[str]) -> None:
        """given: the fields that the command line sets itself; they are left as they are."""
        self._given = given

    def applied(self, config: AppConfig) -> AppConfig:
        """Return the config with what was kept, and log what that is; the first time ever, log NOTICE too."""
        if notice_pending():
            logger.info("%s", NOTICE)
            mark_notice_shown()
        values = {name: value for name, value in load().items() if name not in self._given}
        if values:
            logger.info("kept from earlier calls: %s (%s)", _listed(values), RESET_HINT)
        return replace(config, **values)

    def keep(self, changes: Mapping[str, Any]) -> None:
        """Keep what keys have changed, see `save`; without a change the file is left alone."""
        if changes:
            save(changes)


def load() -> dict[str, Any]:
    """Return the fields of AppConfig that were kept; what is wrong with the file is logged as a warning and left out.

    A file that cannot be understood at all is kept aside as DAMAGED, next to it.
    """
    try:
        stored = _read()
    except OSError as error:
        logger.warning("cannot read the settings%s; going on without them", _reason(error))
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
    """Keep fields of AppConfig for the next time; all else in the file stays. A failure is logged as a warning.

    Values equal to the default are not stored.
    """
    unknown = sorted(set(values) - set(_kinds()))
    if unknown:
        raise ValueError(f"only fields that persist can be kept, found {', '.join(unknown)}")
    try:
        defaults = {name: AppConfig.__dataclass_fields__[name].default for name in _kinds()}
        known = _read() | dict(values)
        stored = {name: value for name, value in known.items() if name not in defaults or value != defaults[name]}
        path().parent.mkdir(parents=True, exist_ok=True)
        write_whole(path(), json.dumps(stored, indent=2, sort_keys=True) + "\n")
    except OSError as error:
        logger.warning("cannot keep the settings%s", _reason(error))


def notice_pending() -> bool:
    """Return whether NOTICE has still to be shown."""
    try:
        return not (config_folder() / NOTICE_SHOWN).exists()
    except OSError:
        return True


def mark_notice_shown() -> None:
    """Remember that NOTICE was shown."""
    try:
        config_folder().mkdir(parents=True, exist_ok=True)
        (config_folder() / NOTICE_SHOWN).touch()
    except OSError as error:
        logger.warning("cannot keep the settings%s", _reason(error))


def persistent_fields() -> tuple[str, ...]:
    """Return the fields of AppConfig that keys may change and that are kept."""
    return tuple(_kinds())


def path() -> Path:
    """Return the settings' file. Raises FileNotFoundError for a user without a home."""
    return config_folder() / FILE


def _kinds() -> dict[str, type]:
    """Return the fields of AppConfig that persist with their types: bool or float."""
    types = get_type_hints(AppConfig)
    return {field.name: types[field.name] for field in fields(AppConfig) if field.metadata.get("persists")}


def _problem(name: str, kind: type, value: Any) -> str | None:
    """Return what is wrong with a stored value, for people."""
    if kind is bool:
        return None if isinstance(value, bool) else f"{name} must be true or false, found {value!r}"
    smallest, largest = RANGES[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not smallest <= value <= largest:
        return f"{name} must be a number from {smallest:g} to {largest:g}, found {value!r}"
    return None


def _read() -> dict[str, Any]:
    """Return what the file holds; empty where there is none. Raises OSError where it cannot be read."""
    try:
        file = path()
        stored = json.loads(file.read_text("utf-8-sig"))  # editors on Windows may add a byte order mark
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:  # neither JSON nor text
        return _set_aside(file, str(error))
    return stored if isinstance(stored, dict) else _set_aside(file, "it holds no names and values in braces")


def _reason(error: OSError) -> str:
    """Return where it failed and why, to be put behind what failed."""
    with contextlib.suppress(OSError):
        return f" in {path().parent}: {error.strerror or error}"
    return f": {error.strerror or error}"


def _set_aside(file: Path, reason: str) -> dict[str, Any]:
    aside = file.with_name(DAMAGED)
    kept = ""
    with contextlib.suppress(OSError):
        file.replace(aside)
        kept = f"; it is kept as {aside}"
    logger.warning("the settings in %s are damaged and start afresh: %s%s", file, reason, kept)
    return {}


def _listed(values: Mapping[str, Any]) -> str:
    """Return settings for people, such as "mirror output on, zoom 1.25"."""
    words = {True: "on", False: "off"}
    return ", ".join(
        f"{name.replace('_', ' ')} {words[value] if isinstance(value, bool) else format(value, 'g')}"
        for name, value in sorted(values.items())
    )
