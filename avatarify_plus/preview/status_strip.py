"""The status strip, the lines below the pictures: which avatar it is, what is wrong, and a few keys."""

from __future__ import annotations

from collections.abc import Sequence

from avatarify_plus.pictures.text import Colour, TextWriter
from avatarify_plus.preview.keys import BINDINGS, Command
from avatarify_plus.preview.palette import BRIGHT, GROUND, QUIET, WARNING
from avatarify_plus.preview.state import PreviewState
from avatarify_plus.types import Image

PAD_PX = 10
GAP_PX = 18

HINTS = (
    (Command.STEP_AVATAR, "other avatar"),
    (Command.RECALIBRATE, "neutral face"),
    (Command.PANIC, "hide"),
    (Command.HELP, "all keys"),
    (Command.QUIT, "end"),
)
"""The keys that are always shown, and what they are said to do."""

Piece = tuple[str, Colour]
Lines = tuple[tuple[Piece, ...], tuple[Piece, ...], tuple[Piece, ...]]
"""The left part of the upper line, its right part, and the lower line."""


class StatusStrip:
    """Write the lines into their place, an (H, W, 3) part of a larger picture, when they have changed."""

    def __init__(self, place: Image) -> None:
        self._place = place
        self._large, self._small = TextWriter(17), TextWriter(14)
        self._shown: Lines | None = None

    def draw(self, state: PreviewState, warnings: Sequence[str]) -> None:
        """Show a moment. warnings: one or two words each."""
        lines = (_avatar(state, warnings), _neutral_face(state), _below(state))
        if lines != self._shown:
            self._shown = lines
            self._write(lines)

    def _write(self, lines: Lines) -> None:
        avatar, neutral_face, below = lines
        self._place[:] = GROUND
        end = self._place.shape[1]
        for text, colour in neutral_face:
            end -= self._small.width_px(text) + GAP_PX
            self._small.write(self._place, text, end + GAP_PX, PAD_PX + 3, colour)
        left = 0
        for text, colour in avatar:
            text = self._large.shortened(text, max(end - left, 0))
            left = self._large.write(self._place, text, left, PAD_PX, colour) + GAP_PX
        top, left = PAD_PX + self._large.line_px + 4, 0
        for text, colour in below:
            text = self._small.shortened(text, max(self._place.shape[1] - left, 0))
            left = self._small.write(self._place, text, left, top, colour) + GAP_PX


def _avatar(state: PreviewState, warnings: Sequence[str]) -> tuple[Piece, ...]:
    pieces: list[Piece] = [(state.avatar_name, BRIGHT)]
    if state.avatar_count > 1:
        number = str(state.avatar_number) if state.avatar_number else "-"
        pieces.append((f"{number} of {state.avatar_count}", QUIET))
    return (*pieces, *((warning, WARNING) for warning in warnings))


def _neutral_face(state: PreviewState) -> tuple[Piece, ...]:
    if state.search_score is None:
        return (("no neutral face yet", QUIET),)
    return ((f"neutral face {state.search_score:.0%}{', searching' if state.config.search else ''}", QUIET),)


def _below(state: PreviewState) -> tuple[Piece, ...]:
    if state.config.show_stats:
        return ((state.stats or "measuring", QUIET),)
    labels = {binding.command: binding.labels for binding in BINDINGS}
    pieces: list[Piece] = []
    for command, words in HINTS:
        pieces += [(f"{' '.join(labels[command])}  {words}", QUIET)]
    return tuple(pieces)
