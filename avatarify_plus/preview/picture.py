"""What the preview window shows: two pictures side by side, and the status strip below them."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np

from avatarify_plus.pictures.images import Box
from avatarify_plus.pictures.text import Colour, TextWriter
from avatarify_plus.preview.change_notice import ChangeNotice
from avatarify_plus.preview.face_outline import draw_face
from avatarify_plus.preview.help_card import HelpCard
from avatarify_plus.preview.palette import ACCENT, ALARM, BRIGHT, EMPTY, GROUND, QUIET, WARNING
from avatarify_plus.preview.state import PreviewState
from avatarify_plus.preview.status_strip import StatusStrip
from avatarify_plus.types import Image, Size

PANEL_PX = 360
"""Height of the pictures: 1280x720 is shown at half its size."""

MAX_PANEL_PX = 860
"""Maximum width of the sent picture's place."""

MIN_PANEL_PX = 480
"""Minimum width of the sent picture's place: the texts need room."""

MARGIN_PX = 16
HEADING_PX = 38
STRIP_PX = 68
FRAME_PX = 3
BANNER_PAD_PX = 10
BANNER_BACKGROUND_SHARE = 0.25
"""Brightness that the picture keeps behind a banner, as a share."""

MAX_BANNER_LINES = 3

STEADY_S = 1.0
"""How long a warning stays after its cause has gone, so that the status strip does not flicker."""


class PreviewPicture:
    """Draw moments of a session into one picture, always the same array, which a window copies.

    size: that picture's.
    """

    def __init__(self, sent_size: Size, clock: Callable[[], float] = time.monotonic) -> None:
        """sent_size: size of the pictures that are sent. clock: returns seconds."""
        self._clock = clock
        scale = min(PANEL_PX / sent_size.height, MAX_PANEL_PX / sent_size.width)
        shown = Size(max(round(scale * sent_size.width), 1), max(round(scale * sent_size.height), 1))
        right_px = max(shown.width, MIN_PANEL_PX)
        self.size = Size(PANEL_PX + right_px + 3 * MARGIN_PX, HEADING_PX + PANEL_PX + STRIP_PX)
        self._image: Image = np.full((self.size.height, self.size.width, 3), GROUND, np.uint8)
        below = HEADING_PX + PANEL_PX
        inner = self._image[:, MARGIN_PX:-MARGIN_PX]
        self._headings = inner[:HEADING_PX]
        self._panels = inner[HEADING_PX:below]
        self._left = self._panels[:, :PANEL_PX]
        self._right = self._panels[:, PANEL_PX + MARGIN_PX :]
        self._between = self._panels[:, PANEL_PX : PANEL_PX + MARGIN_PX]
        self._is_filled = shown.width == right_px and shown.height == PANEL_PX
        top, left = (PANEL_PX - shown.height) // 2, (right_px - shown.width) // 2
        self._sent = self._right[top : top + shown.height, left : left + shown.width]
        self._unmirrored: Image = np.empty((shown.height, shown.width, 3), np.uint8)
        self._strip = StatusStrip(inner[below:])
        self._help = HelpCard(inner.shape[1], PANEL_PX)
        self._text, self._small = TextWriter(16), TextWriter(15)
        self._notice = ChangeNotice()
        self._seen_s: dict[str, float] = {}
        self._shown_headings: tuple[str, Colour] | None = None

    def draw(self, state: PreviewState) -> Image:
        """Return the picture of a moment, (height, width, 3) uint8 RGB."""
        now_s = self._clock()
        self._notice.update(state.config, now_s)
        self._draw_headings(state)
        self._draw_camera(state)
        self._draw_sent(state)
        if state.shows_help:
            self._help.lay_over(self._panels)
        self._strip.draw(state, self._steady_warnings(state, now_s))
        return self._image

    def show_notice(self, text: str) -> None:
        """Show a short text for a moment, such as what a key did where nothing else shows it."""
        self._notice.show(text, self._clock())

    def _draw_headings(self, state: PreviewState) -> None:
        """Write what the two pictures are, if that has changed."""
        heading = _heading(state)
        if heading == self._shown_headings:
            return
        self._shown_headings = heading
        self._headings[:] = GROUND
        top = (HEADING_PX - self._text.line_px) // 2
        self._text.write(self._headings, "You", 0, top, QUIET)
        self._text.write(self._headings, heading[0], PANEL_PX + MARGIN_PX, top, heading[1])

    def _draw_camera(self, state: PreviewState) -> None:
        """Draw the driver's square with what is laid over it."""
        view, panel, config = state.camera_view, self._left, state.config
        if view is None:
            panel[:] = EMPTY
            if state.camera_trouble is None:
                self._write_middle(panel, "waiting for the camera", QUIET)
        else:
            if config.overlay > 0 and state.avatar_still is not None:
                still = state.avatar_still
                if still.shape != view.shape:
                    still = cv2.resize(still, (view.shape[1], view.shape[0])).astype(np.uint8, copy=False)
                view = cv2.addWeighted(still, config.overlay, view, 1 - config.overlay, 0).astype(np.uint8, copy=False)
            if config.mirror_preview:
                view = cv2.flip(view, 1).astype(np.uint8, copy=False)
            cv2.resize(view, (PANEL_PX, PANEL_PX), panel, interpolation=cv2.INTER_LINEAR)
            if config.show_face and state.landmarks is not None:
                draw_face(panel, state.landmarks, config.mirror_preview, ACCENT)
        if self._notice.text:
            self._banner(panel, self._notice.text, BRIGHT, at_top=True)
        if state.camera_trouble is not None:
            self._banner(panel, state.camera_trouble, WARNING)

    def _draw_sent(self, state: PreviewState) -> None:
        """Draw the picture that is sent; texts in it stay readable when the preview is mirrored."""
        self._between[:] = GROUND  # banners and the list of keys may have been drawn there
        if not self._is_filled:
            self._right[:] = EMPTY
        if state.sent is None:
            self._sent[:] = EMPTY
        elif state.config.mirror_preview and not state.is_panicking:
            self._draw_mirrored(state.sent, state.badge)
        else:
            _fit(state.sent, self._sent)
        if state.is_panicking or state.passes_through:
            height, width = self._sent.shape[:2]
            cv2.rectangle(self._sent, (1, 1), (width - 2, height - 2), _heading(state)[1], FRAME_PX)
        if state.outputs_trouble is not None:
            self._banner(self._right, state.outputs_trouble, WARNING)

    def _draw_mirrored(self, sent: Image, badge: Box | None) -> None:
        _fit(sent, self._unmirrored)
        cv2.flip(self._unmirrored, 1, self._sent)
        if badge is not None:
            scale = self._sent.shape[1] / sent.shape[1]
            _put_back(self._unmirrored, self._sent, Box(*(scale * length for length in badge)))

    def _banner(self, panel: Image, text: str, colour: Colour, at_top: bool = False) -> None:
        """Write a text over the lower or upper edge of a panel."""
        lines = self._small.wrapped(text, panel.shape[1] - 2 * BANNER_PAD_PX, MAX_BANNER_LINES)
        height_px = len(lines) * self._small.line_px + 2 * BANNER_PAD_PX
        place = panel[:height_px] if at_top else panel[-height_px:]
        cv2.convertScaleAbs(place, place, BANNER_BACKGROUND_SHARE)
        for index, line in enumerate(lines):
            self._small.write(place, line, BANNER_PAD_PX, BANNER_PAD_PX + index * self._small.line_px, colour)

    def _write_middle(self, panel: Image, text: str, colour: Colour) -> None:
        left = (panel.shape[1] - self._text.width_px(text)) // 2
        self._text.write(panel, text, left, (panel.shape[0] - self._text.line_px) // 2, colour)

    def _steady_warnings(self, state: PreviewState, now_s: float) -> list[str]:
        """Return the warnings of this moment and of the last STEADY_S."""
        has_view = state.camera_view is not None and state.camera_trouble is None
        causes = {
            "no face": has_view and not state.has_face,
            "too dark": has_view and state.is_dark,
            "motion limited": state.is_limited,
        }
        self._seen_s |= {warning: now_s for warning, is_so in causes.items() if is_so}
        return [warning for warning in causes if now_s - self._seen_s.get(warning, -np.inf) < STEADY_S]


def _heading(state: PreviewState) -> tuple[str, Colour]:
    """Return what stands above the sent picture."""
    if state.is_panicking:
        return "What others see: a still card (P ends it)", ALARM
    if state.passes_through:
        return "What others see: yourself (0 ends it)", WARNING
    return "What others see", QUIET


def _fit(image: Image, place: Image) -> None:
    """Resize a picture into a place: averaging where that is cheap, at whole ratios."""
    height, width = place.shape[:2]
    is_whole = image.shape[0] % height == 0 and image.shape[1] % width == 0
    cv2.resize(image, (width, height), place, interpolation=cv2.INTER_AREA if is_whole else cv2.INTER_LINEAR)


def _put_back(image: Image, mirrored: Image, box: Box) -> None:
    """Copy a box of a picture, unmirrored, to where mirroring has moved it."""
    width = image.shape[1]
    top, bottom = (round(min(max(y, 0), image.shape[0])) for y in (box.top, box.top + box.height))
    left, right = (round(min(max(x, 0), width)) for x in (box.left, box.left + box.width))
    mirrored[top:bottom, width - right : width - left] = image[top:bottom, left:right]
