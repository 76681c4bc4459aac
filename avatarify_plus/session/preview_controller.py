"""What the user of a live session sees and presses."""

from __future__ import annotations

import threading
from typing import Any

from avatarify_plus.camera import FrameSource
from avatarify_plus.preview.keys import Command
from avatarify_plus.preview.picture import PreviewPicture
from avatarify_plus.preview.state import PreviewState
from avatarify_plus.preview.window import PreviewWindow
from avatarify_plus.session.driven import Driven
from avatarify_plus.session.key_actions import KeyActions
from avatarify_plus.session.status_line import StatusLine
from avatarify_plus.sinks import Outputs

CONFIRMATIONS = {
    Command.RECALIBRATE: "this is your neutral face now",
    Command.RELOAD_AVATARS: "reading the photos again",
}
"""What the window says after keys whose effect cannot be seen at once."""


class PreviewController:
    """Keep the preview window up to date, and let its keys act on the session."""

    def __init__(
        self,
        preview: PreviewWindow,
        session: Driven,
        frame_source: FrameSource,
        outputs: Outputs,
        status_line: StatusLine,
        stop: threading.Event,
    ) -> None:
        self._preview = preview
        self._session = session
        self._frame_source = frame_source
        self._outputs = outputs
        self._status_line = status_line
        self._key_actions = KeyActions(session, stop)
        self._picture = PreviewPicture(session.size)
        self._dropped_count = 0
        self._rests = False

    @property
    def changes(self) -> dict[str, Any]:
        """The fields of AppConfig that keys have changed."""
        return self._key_actions.changes

    def refresh(self) -> None:
        """Show this moment and obey the keys pressed since the last one.

        Where frames are being dropped, every other moment is left out: what others see comes first.
        """
        dropped_count = self._frame_source.skipped_count
        self._rests = dropped_count > self._dropped_count and not self._rests
        self._dropped_count = dropped_count
        if self._rests:
            return
        self._preview.show(self._picture.draw(self._state()))
        for press in self._preview.presses():
            self._key_actions.obey(press)
            if press.command in CONFIRMATIONS:
                self._picture.show_notice(CONFIRMATIONS[press.command])

    def _state(self) -> PreviewState:
        session = self._session
        view, avatar = session.view, session.shown_avatar
        return PreviewState(
            sent=session.sent,
            config=session.config,
            badge=session.badge_box,
            camera_view=None if view is None else view.image,
            landmarks=None if view is None else view.landmarks,
            has_face=view is None or view.has_face,
            is_dark=view is not None and view.is_dark,
            is_limited=session.is_limited,
            avatar_still=avatar.still,
            avatar_name=avatar.name,
            avatar_number=avatar.number,
            avatar_count=avatar.count,
            search_score=session.neutral_score,
            is_panicking=session.is_panicking,
            passes_through=session.passes_through,
            shows_help=self._key_actions.shows_help,
            camera_trouble=self._frame_source.trouble,
            outputs_trouble=self._outputs.trouble,
            stats=self._status_line.line,
        )
