"""Text in pictures."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Canvas
from PIL import ImageDraw, ImageFont

from avatarify_plus.types import Image

Colour = tuple[int, int, int]
"""RGB."""

ELLIPSIS = "…"
UNKNOWN = "?"
"""Stands for characters that no font here has."""

WIDE_FONTS = (
    "DejaVuSans.ttf",
    "segoeui.ttf",
    "Arial Unicode.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "msyh.ttc",
    "malgun.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
)
"""Fonts of Windows, macOS and Linux desktops that are tried for what the bundled font lacks, such as accents."""

MISSING = "\uffff"
"""A character that no font has: shows what a font draws instead."""

MAX_TEXTS = 512
"""How many drawn texts are remembered."""

FINENESS = 4
"""Letters are drawn so many times larger and averaged: small ones are spaced evenly then."""


class TextWriter:
    """Write lines of one size. A text that was written before costs next to nothing.

    Letters are Pillow's own font's, the same on every machine; a text with other characters takes the first font of the
    system that has them all.
    """

    def __init__(self, size_px: int) -> None:
        self._size_px = size_px
        self._font = cast(ImageFont.FreeTypeFont, ImageFont.load_default(FINENESS * size_px))
        self._fonts = [self._font]
        self._untried = list(WIDE_FONTS)
        self._masks: dict[str, NDArray[np.uint8]] = {}
        self._lines: dict[tuple[str, int, int], list[str]] = {}
        self.line_px = round(1.35 * size_px)

    def mask(self, text: str) -> NDArray[np.uint8]:
        """Return how much of each pixel one line of text covers: (line_px, width), 255 for all of it; read only."""
        known = self._masks.get(text)
        if known is None:
            if len(self._masks) >= MAX_TEXTS:
                self._masks.clear()
            known = self._masks[text] = self._draw(text)
        return known

    def width_px(self, text: str) -> int:
        """Return how wide a text is."""
        return int(self.mask(text).shape[1])

    def shortened(self, text: str, width_px: int) -> str:
        """Return a text, or as much of its beginning as fits into a width, and an ellipsis."""
        if len(text) <= width_px and self._length_px(text) <= width_px:  # hardly a letter is narrower than a pixel
            return text
        lengths = range(min(len(text), max(width_px, 0)))

        def too_long(length: int) -> bool:
            return self._length_px(text[:length].rstrip() + ELLIPSIS) > width_px

        length = max(bisect.bisect_left(lengths, True, key=too_long) - 1, 0)
        return text[:length].rstrip() + ELLIPSIS

    def wrapped(self, text: str, width_px: int, most: int) -> list[str]:
        """Break a text into lines of a width between words; what exceeds the most lines is cut off."""
        key = (text, width_px, most)
        if key not in self._lines:
            if len(self._lines) >= MAX_TEXTS:
                self._lines.clear()
            self._lines[key] = self._broken(*key)
        return self._lines[key]

    def _broken(self, text: str, width_px: int, most: int) -> list[str]:
        lines: list[str] = []
        for word in text[: most * width_px].split():
            longer = f"{lines[-1]} {word}" if lines else word
            if lines and (len(lines) == most or self._length_px(longer) <= width_px):
                lines[-1] = longer
            else:
                lines.append(word)
        return [self.shortened(line, width_px) for line in lines]

    def write(self, image: Image, text: str, left: int, top: int, colour: Colour) -> int:
        """Write one line into an (H, W, 3) picture; return where it ends in x. What does not fit is cut off."""
        mask = self.mask(text)[: max(image.shape[0] - top, 0), : max(image.shape[1] - left, 0)]
        place = image[top : top + mask.shape[0], left : left + mask.shape[1]]
        covered = mask[..., None].astype(np.uint16)
        place[:] = (place * (255 - covered) + np.array(colour, np.uint16) * covered + 127) // 255
        return left + self.width_px(text)

    def _length_px(self, text: str) -> int:
        """Return how wide a text would be, without drawing it."""
        font, text = self._font_for(text)
        return max(int(np.ceil(font.getlength(text) / FINENESS)), 1)

    def _draw(self, text: str) -> NDArray[np.uint8]:
        width_px = self._length_px(text)
        font, text = self._font_for(text)
        canvas = Canvas.new("L", (FINENESS * width_px, FINENESS * self.line_px))
        # on one base line, whatever the letters and the font
        ImageDraw.Draw(canvas).text((0, FINENESS * self._size_px), text, 255, font, anchor="ls")
        drawn: NDArray[np.uint8] = np.array(canvas.reduce(FINENESS))
        drawn.flags.writeable = False
        return drawn

    def _font_for(self, text: str) -> tuple[ImageFont.FreeTypeFont, str]:
        """Return a font that has a text's characters, and the text without those that no font has."""
        text = " ".join(text.split()) if not text.isprintable() else text
        if text.isascii():
            return self._font, text
        for font in self._known_fonts():
            if all(_has(font, character) for character in text):
                return font, text
        best = min(self._fonts, key=lambda font: sum(not _has(font, character) for character in text))
        return best, "".join(character if _has(best, character) else UNKNOWN for character in text)

    def _known_fonts(self) -> Iterator[ImageFont.FreeTypeFont]:
        """Yield the fonts, those of the system as they are found: looking for them takes a while."""
        yield from self._fonts
        while self._untried:
            font = _system_font(self._untried.pop(0), FINENESS * self._size_px)
            if font is not None:
                self._fonts.append(font)
                yield font


def _system_font(name: str, size_px: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size_px)
    except OSError:
        return None


def _has(font: ImageFont.FreeTypeFont, character: str) -> bool:
    """Return whether a font has a character of its own."""
    if character.isspace():
        return True
    drawn, instead = font.getmask(character), font.getmask(MISSING)
    return drawn.size != instead.size or bytes(drawn) != bytes(instead)
