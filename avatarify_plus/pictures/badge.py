"""What is written on the pictures that are sent: the mark that they are made by AI, and a card for a pause."""

from __future__ import annotations

import numpy as np

from avatarify_plus.pictures.images import Box
from avatarify_plus.pictures.text import Colour, TextWriter
from avatarify_plus.types import FloatArray, Image, Size

TEXT = "AI avatar"

LETTER_SHARE = 0.028
"""Height of the badge's letters as a share of the picture's shorter side."""

MIN_LETTER_PX = 10
"""Minimum height of letters: smaller ones do not survive the compression of a call."""

PAPER_OPACITY = 0.5
"""How much the badge's black ground covers of the picture, as a share."""

INK_OPACITY = 0.92
"""How much the badge's white letters cover of the picture, as a share."""

CARD_TEXT = "Back in a moment"
CARD_TOP: Colour = (44, 52, 66)
CARD_BOTTOM: Colour = (26, 30, 40)
CARD_INK: Colour = (214, 220, 230)
CARD_LETTER_SHARE = 0.06
"""Height of the card's letters as a share of its shorter side."""

CARD_TEXT_SHARE = 0.8
"""Maximum width of the card's text as a share of its width."""


class Badge:
    """Mark pictures of one size as made by AI: a few letters in the lower right corner, where names do not cover them.

    box: the part of the picture that is written on.
    """

    def __init__(self, size: Size) -> None:
        letter_px = max(round(LETTER_SHARE * min(size)), MIN_LETTER_PX)
        letters = TextWriter(letter_px).mask(TEXT) / np.float32(255)  # (h, w)
        pad_px = round(0.5 * letter_px)
        ink = np.pad(letters, ((pad_px // 2, pad_px // 2), (pad_px, pad_px)))
        paper = _rounded(ink.shape[0], ink.shape[1], 0.35 * letter_px)
        margin_px = max(round(0.8 * letter_px), 2)
        top, left = max(size.height - margin_px - ink.shape[0], 0), max(size.width - margin_px - ink.shape[1], 0)
        self._place = slice(top, top + ink.shape[0]), slice(left, left + ink.shape[1])

        room = (min(ink.shape[0], size.height), min(ink.shape[1], size.width))
        self.box = Box(left, top, room[1], room[0])

        # white letters over a black ground over the picture: picture * keep + add
        opacity = INK_OPACITY * ink
        keep = ((1 - opacity) * (1 - PAPER_OPACITY * paper))[: room[0], : room[1], None]
        self._keep = np.rint(256 * keep).astype(np.uint16)
        self._add = np.rint(256 * 255 * opacity[: room[0], : room[1], None]).astype(np.uint16)

    def stamp(self, image: Image) -> None:
        """Mark an (H, W, 3) uint8 picture in place."""
        place = image[self._place]
        place[:] = (place * self._keep + self._add) >> 8


def still_card(size: Size, text: str = CARD_TEXT) -> Image:
    """Return an (H, W, 3) uint8 RGB card to send in place of the avatar during a pause."""
    share = np.linspace(0, 1, size.height, dtype=np.float32)[:, None, None]
    colours = np.array(CARD_TOP) * (1 - share) + np.array(CARD_BOTTOM) * share
    card: Image = np.rint(np.broadcast_to(colours, (size.height, size.width, 3))).astype(np.uint8)
    letter_px = max(round(CARD_LETTER_SHARE * min(size)), MIN_LETTER_PX)
    width_px = TextWriter(letter_px).width_px(text)
    letter_px = max(min(letter_px, int(letter_px * CARD_TEXT_SHARE * size.width / width_px)), 1)
    writer = TextWriter(letter_px)
    middle_x, middle_y = size.width // 2, size.height // 2
    writer.write(card, text, max(middle_x - writer.width_px(text) // 2, 0), middle_y, CARD_INK)
    for left in (middle_x - round(0.7 * letter_px), middle_x + round(0.25 * letter_px)):  # the sign for a pause
        card[
            max(middle_y - 2 * letter_px, 0) : middle_y - round(0.6 * letter_px), left : left + letter_px * 9 // 20
        ] = CARD_INK
    return card


def _rounded(height: int, width: int, radius: float) -> FloatArray:
    """Return how much of each pixel a rectangle with round corners covers, (height, width) float32 in [0, 1]."""
    y = np.maximum(np.abs(np.arange(height) + 0.5 - height / 2) - (height / 2 - radius), 0)
    x = np.maximum(np.abs(np.arange(width) + 0.5 - width / 2) - (width / 2 - radius), 0)
    covered: FloatArray = np.clip(radius + 0.5 - np.hypot(y[:, None], x[None]), 0, 1).astype(np.float32)
    return covered
