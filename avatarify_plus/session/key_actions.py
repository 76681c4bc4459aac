"""What each key does to a running session."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, get_args

from avatarify_plus import settings
from avatarify_plus.config import RANGES, AppConfig
from avatarify_plus.motion.controls import PARTS, Region
from avatarify_plus.preview.keys import Command, Press
from avatarify_plus.session.driven import Driven

ZOOM_STEP = 1.05
STRENGTH_STEP = 0.1
SMOOTHING_STEP = 0.1
OVERLAY_STEP = 0.1
FACTOR_STEP = 0.1


class KeyActions:
    """Obey key presses.

    shows_help: whether the window lists the keys. changes: the fields of AppConfig that keys have changed, to be kept.
    """

    def __init__(self, session: Driven, stop: threading.Event) -> None:
        self.shows_help = False
        self.changes: dict[str, Any] = {}
        self._session = session
        self._actions: dict[Command, Callable[[float], None]] = {
            Command.CHOOSE_AVATAR: lambda number: session.choose(int(number)),
            Command.STEP_AVATAR: lambda places: session.step(int(places)),
            Command.RELOAD_AVATARS: lambda _: session.reload_avatars(),
            Command.ZOOM: lambda steps: self._set("zoom", session.config.zoom * ZOOM_STEP**steps),
            Command.SHIFT_X: lambda share: self._add("shift_x", share),
            Command.SHIFT_Y: lambda share: self._add("shift_y", share),
            Command.RESET_VIEW: lambda _: self._reset(("zoom", "shift_x", "shift_y")),
            Command.RESET_SETTINGS: lambda _: self._reset_settings(),
            Command.OVERLAY: lambda steps: self._add("overlay", steps * OVERLAY_STEP),
            Command.RECALIBRATE: lambda _: session.recalibrate(),
            Command.SEARCH: lambda _: self._toggle("search"),
            Command.MIRROR_PREVIEW: lambda _: self._toggle("mirror_preview"),
            Command.MIRROR_OUTPUT: lambda _: self._toggle("mirror_output"),
            Command.STATS: lambda _: self._toggle("show_stats"),
            Command.FACE: lambda _: self._toggle("show_face"),
            Command.STRENGTH: lambda steps: self._add("strength", steps * STRENGTH_STEP),
            Command.SMOOTHING: lambda steps: self._add("smoothing", steps * SMOOTHING_STEP),
            **{Command(name): partial(self._follow, name) for name in PARTS},
            Command.LOCK_GAZE: lambda _: self._toggle("lock_gaze"),
            Command.REGION: lambda _: self._next_region(),
            Command.PASSTHROUGH: lambda _: self._pass_through(),
            Command.PANIC: lambda _: self._panic(),
            Command.HELP: lambda _: self._help(),
            Command.QUIT: lambda _: stop.set(),
        }

    def obey(self, press: Press) -> None:
        """Do what a key asks for; values stop at their limits."""
        self._actions[press.command](press.argument)

    def change(self, name: str, value: Any) -> None:
        """Set a field of AppConfig; one that does not persist is not among the changes."""
        if name in settings.persistent_fields():
            self._set(name, value)
        else:
            self._session.change(**{name: value})

    def _set(self, name: str, value: Any) -> None:
        if name in RANGES:
            smallest, largest = RANGES[name]
            value = round(min(max(value, smallest), largest), 4)
        self._session.change(**{name: value})
        self.changes[name] = value

    def _add(self, name: str, amount: float) -> None:
        self._set(name, getattr(self._session.config, name) + amount)

    def _toggle(self, name: str) -> None:
        self._set(name, not getattr(self._session.config, name))

    def _follow(self, name: str, steps: float) -> None:
        self._add(name, steps * FACTOR_STEP)

    def _next_region(self) -> None:
        """Move the next part of the face alone; the next call begins with all of it again."""
        regions = get_args(Region)
        place = regions.index(self._session.config.region)
        self._session.change(region=regions[(place + 1) % len(regions)])

    def _reset(self, names: Iterable[str]) -> None:
        """Set fields to their defaults."""
        for name in names:
            self._set(name, AppConfig.__dataclass_fields__[name].default)

    def _reset_settings(self) -> None:
        self._session.change(region=AppConfig.__dataclass_fields__["region"].default)
        self._reset(settings.persistent_fields())

    def _pass_through(self) -> None:
        self._session.passes_through = not self._session.passes_through

    def _panic(self) -> None:
        self._session.is_panicking = not self._session.is_panicking

    def _help(self) -> None:
        self.shows_help = not self.shows_help
