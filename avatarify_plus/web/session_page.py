"""What a page may ask of a running session, and what it shows of one."""

from __future__ import annotations

from typing import Any, get_args

from avatarify_plus.config import RANGES, AppConfig
from avatarify_plus.motion.controls import PARTS, Region
from avatarify_plus.preview.keys import BINDINGS, Command, Press, press_of
from avatarify_plus.session.driven import Driven
from avatarify_plus.session.status_line import StatusLine

SLIDERS = (*PARTS, "strength", "smoothing", "zoom")
SWITCHES = ("lock_gaze", "mirror_output", "search")
SHIFTS = ("shift_x", "shift_y")
"""What keys alone change."""

UNSHOWN = (Command.HELP, Command.QUIT, Command.OVERLAY, Command.MIRROR_PREVIEW, Command.FACE, Command.STATS)
"""What belongs to the preview window alone."""


def fixed_state() -> dict[str, Any]:
    """Return what never changes: the sliders' ranges and what the keys do."""
    return {
        "ranges": {name: RANGES[name] for name in SLIDERS},
        "keys": [{"keys": each.labels, "help": each.help} for each in BINDINGS if each.command not in UNSHOWN],
    }


def values_of(config: AppConfig) -> dict[str, Any]:
    """Return what sliders and switches show."""
    return {name: getattr(config, name) for name in (*SLIDERS, *SHIFTS, *SWITCHES, "region")}


def wanted_values(values: object) -> dict[str, Any]:
    """Return those of the values that a page asks for that exist and are within their limits."""
    if not isinstance(values, dict):
        return {}
    return {name: value for name, value in values.items() if _is_value(name, value)}


def named_press(name: object) -> Press | None:
    """Return the press of a button by its command's name; None if a page has no such button."""
    try:
        press = Press(Command(name))
    except ValueError:
        return None
    return None if press.command in UNSHOWN else press


def key_press(key: object) -> Press | None:
    """Return the press of a key by the character that it types; None if it does nothing on a page."""
    press = press_of(ord(key)) if isinstance(key, str) and len(key) == 1 else None
    return None if press is None or press.command in UNSHOWN else press


def moment_of(session: Driven, status_line: StatusLine) -> dict[str, Any]:
    """Return how a session is doing now."""
    view = session.view
    return {
        "phase": "running",
        "values": values_of(session.config),
        "has_face": view is None or view.has_face,
        "is_dark": view is not None and view.is_dark,
        "is_limited": session.is_limited,
        "panicking": session.is_panicking,
        "passes": session.passes_through,
        "stats": status_line.figures,
    }


def _is_value(name: object, value: object) -> bool:
    if name in (*SLIDERS, *SHIFTS):
        low, high = RANGES[str(name)]
        return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    return isinstance(value, bool) if name in SWITCHES else name == "region" and value in get_args(Region)
