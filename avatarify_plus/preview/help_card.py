"""The list of keys, laid over the pictures."""

from __future__ import annotations

import cv2
import numpy as np

from avatarify_plus.pictures.text import TextWriter
from avatarify_plus.preview.keys import BINDINGS, Binding
from avatarify_plus.preview.palette import ACCENT, BRIGHT, QUIET
from avatarify_plus.types import Image

BACKGROUND_SHARE = 0.14
"""Brightness that the pictures keep behind the list, as a share."""

PAD_PX = 18
MAX_TEXT_PX = 15
KEYS_PX = 128
"""Width of the column of keys, left of what they do."""


class HelpCard:
    """Lay the list of keys over a picture, in two columns of whole groups. The list is drawn once."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self._card: Image = np.zeros((height_px, width_px, 3), np.uint8)
        lines = _lines()
        gaps = [index for index, line in enumerate(lines) if line is None]
        half = min(gaps, key=lambda gap: abs(2 * gap - len(lines)))
        pitch_px = (height_px - 2 * PAD_PX) / max(half, len(lines) - half - 1)
        text = TextWriter(min(MAX_TEXT_PX, int(pitch_px / 1.25)))
        column_px = (width_px - PAD_PX) // 2
        for index, line in enumerate(lines):
            column, row = (0, index) if index < half else (1, index - half - 1)
            left, top = PAD_PX + column * column_px, PAD_PX + round(row * pitch_px)
            if isinstance(line, str):
                text.write(self._card, line, left, top, ACCENT)
            elif line is not None:
                text.write(self._card, "  ".join(line.labels), left, top, BRIGHT)
                words = text.shortened(line.help, column_px - KEYS_PX - PAD_PX)
                text.write(self._card, words, left + KEYS_PX, top, QUIET)

    def lay_over(self, image: Image) -> None:
        """Darken a picture of the card's size and write the list on it."""
        cv2.convertScaleAbs(image, image, BACKGROUND_SHARE)
        cv2.max(image, self._card, image)  # the writing is brighter than anything behind it


def _lines() -> list[Binding | str | None]:
    """Return the bindings with a heading before each group and a gap before each heading but the first."""
    lines: list[Binding | str | None] = []
    for index, binding in enumerate(BINDINGS):
        if index == 0:
            lines.append(binding.group)
        elif binding.group != BINDINGS[index - 1].group:
            lines += [None, binding.group]
        lines.append(binding)
    return lines
