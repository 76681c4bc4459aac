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
"""Stands for characters that none of the fonts has."""

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
"""Fonts of Windows, macOS and Linux desktops, tried for what the bundled font lacks, such as accents."""

MISSING = "\uffff"
"""A character that no font has: it shows what a font draws for missing ones."""

MAX_TEXTS = 512
"""Number of drawn texts that are remembered."""

FINENESS = 4
"""Letters are drawn larger by this factor and averaged, so that small ones are evenly spaced."""


class TextWriter:
    """Write lines of one size. A text that was written before is remembered and costs next to nothing.

    Letters come from the font that Pillow brings, the same on every machine; a text with other characters takes the
    first font of the system that has them all. line_px: height of a line.
    """

    def __init__(self, size_px: int) -> None:
        """size_px: the size of the letters."""
        self._size_px = size_px
        self._font = cast(ImageFont.FreeTypeFont, ImageFont.load_default(FINENESS * size_px))
        self._fonts = [self._font]
        self._untried = list(WIDE_FONTS)
        self._masks: dict[str, NDArray[np.uint8]] = {}
        self._lines: dict[tuple[str, int, int], list[str]] = {}
        self.line_px = round(1.35 * size_px)

    def mask(self, text: str) -> NDArray[np.uint8]:
        """Return how much of each pixel a line of text covers: (line_px, width) uint8, 255 for all of it; read-only."""
        known = self._masks.get(text)
        if known is None:
            if len(self._masks) >= MAX_TEXTS:
                self._masks.clear()
            known = self._masks[text] = self._draw(text)
        return known

    def width_px(self, text: str) -> int:
        """Return the width of a text."""
        return int(self.mask(text).shape[1])

    def shortened(self, text: str, width_px: int) -> str:
        """Return a text, or as much of its beginning as fits into a width, with an ellipsis."""
        if len(text) <= width_px and self._length_px(text) <= width_px:  # few letters are narrower than a pixel
            return text
        lengths = range(min(len(text), max(width_px, 0)))

        def too_long(length: int) -> bool:
            return self._length_px(text[:length].rstrip() + ELLIPSIS) > width_px

        length = max(bisect.bisect_left(lengths, True, key=too_long) - 1, 0)
        return text[:length].rstrip() + ELLIPSIS

    def wrapped(self, text: str, width_px: int, max_lines: int) -> list[str]:
        """Break a text between words into lines of a width; what does not fit into `max_lines` is cut off."""
        key = (text, width_px, max_lines)
        if key not in self._lines:
            if len(self._lines) >= MAX_TEXTS:
                self._lines.clear()
            self._lines[key] = self._broken(*key)
        return self._lines[key]

    def _broken(self, text: str, width_px: int, max_lines: int) -> list[str]:
        lines: list[str] = []
        for word in text[: max_lines * width_px].split():
            longer = f"{lines[-1]} {word}" if lines else word
            if lines and (len(lines) == max_lines or self._length_px(longer) <= width_px):
                lines[-1] = longer
            else:
                lines.append(word)
        return [self.shortened(line, width_px) for line in lines]

    def write(self, image: Image, text: str, left: int, top: int, colour: Colour) -> int:
        """Write one line into an (H, W, 3) uint8 picture, cut off where it does not fit; return where it ends in x."""
        mask = self.mask(text)[: max(image.shape[0] - top, 0), : max(image.shape[1] - left, 0)]
        place = image[top : top + mask.shape[0], left : left + mask.shape[1]]
        covered = mask[..., None].astype(np.uint16)
        place[:] = (place * (255 - covered) + np.array(colour, np.uint16) * covered + 127) // 255
        return left + self.width_px(text)

    def _length_px(self, text: str) -> int:
        """Return the width that a text would have, without drawing it."""
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
        """Return a font that has a text's characters, and the text with UNKNOWN for those that it lacks."""
        text = " ".join(text.split()) if not text.isprintable() else text
        if text.isascii():
            return self._font, text
        for font in self._known_fonts():
            if all(_has(font, character) for character in text):
                return font, text
        best = min(self._fonts, key=lambda font: sum(not _has(font, character) for character in text))
        return best, "".join(character if _has(best, character) else UNKNOWN for character in text)

    def _known_fonts(self) -> Iterator[ImageFont.FreeTypeFont]:
        """Yield the fonts; those of the system are looked for only when needed, because that takes a while."""
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
    """Return whether a font has a character."""
    if character.isspace():
        return True
    drawn, instead = font.getmask(character), font.getmask(MISSING)
    return drawn.size != instead.size or bytes(drawn) != bytes(instead)
