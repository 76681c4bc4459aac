"""What the user of a live show sees and presses."""

from __future__ import annotations

import threading
from typing import Any

from avatarify_plus.camera import Driver
from avatarify_plus.preview.keys import Command
from avatarify_plus.preview.picture import Monitor
from avatarify_plus.preview.picture_state import MonitorState
from avatarify_plus.preview.window import Preview
from avatarify_plus.session.key_actions import Desk
from avatarify_plus.session.session import Show
from avatarify_plus.session.status_line import Health
from avatarify_plus.sinks import Outputs

TOLD = {Command.RECALIBRATE: "this is your neutral face now", Command.RELOAD_AVATARS: "reading the photos again"}
"""What is said of keys whose effect cannot be seen at once."""


class Screen:
    """Keep the preview window up to date, and let its keys act on the show."""

    def __init__(
        self,
        preview: Preview,
        show: Show,
        driver: Driver,
        outputs: Outputs,
        health: Health,
        stop: threading.Event,
    ) -> None:
        self._preview = preview
        self._show = show
        self._driver = driver
        self._outputs = outputs
        self._health = health
        self._desk = Desk(show, stop)
        self._monitor = Monitor(show.size)
        self._dropped_count = 0
        self._rests = False

    @property
    def changes(self) -> dict[str, Any]:
        """The fields of AppConfig that keys have changed."""
        return self._desk.changes

    def refresh(self) -> None:
        """Show this moment and obey the keys pressed since the last one.

        Where frames are being dropped, every other moment is left out: what others see comes first.
        """
        dropped_count = self._driver.skipped_count
        self._rests = dropped_count > self._dropped_count and not self._rests
        self._dropped_count = dropped_count
        if self._rests:
            return
        self._preview.show(self._monitor.draw(self._state()))
        for press in self._preview.presses():
            self._desk.obey(press)
            if press.command in TOLD:
                self._monitor.tell(TOLD[press.command])

    def _state(self) -> MonitorState:
        show = self._show
        view, puppeteer, cast = show.view, show.puppeteer, show.cast
        return MonitorState(
            sent=show.sent,
            config=show.config,
            badge=show.badge_box,
            camera_view=None if view is None else view.image,
            landmarks=None if view is None else view.landmarks,
            has_face=view is None or view.has_face,
            is_dark=view is not None and view.is_dark,
            is_limited=puppeteer.is_limited,
            avatar_still=cast.avatar.role.still,
            avatar_name=cast.name,
            avatar_number=cast.number,
            avatar_count=cast.count,
            search_score=puppeteer.calibration_score,
            is_panicking=show.is_panicking,
            passes_through=show.passes_through,
            shows_help=self._desk.shows_help,
            camera_trouble=self._driver.trouble,
            outputs_trouble=self._outputs.trouble,
            stats=self._health.line,
        )
