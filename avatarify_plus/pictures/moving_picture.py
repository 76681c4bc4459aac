"""Pictures that move: GIF, and animated WebP, PNG and AVIF."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from PIL import Image as Pillow

from avatarify_plus.native_log import hidden_native_messages
from avatarify_plus.pictures.decoding import UNDECODABLE, opaque
from avatarify_plus.types import Image

MOVING_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats in which pictures may move, by Pillow's names."""

MOVING_SUFFIXES = (".gif", ".webp", ".png", ".apng", ".avif")
"""How the names of such files end, in lower case."""

MIN_DELAY_S, USUAL_DELAY_S = 0.011, 0.1
"""A shorter delay is taken for the usual one, as browsers do."""


class MovingPicture:
    """The pictures of a file that moves, one after the other. count: how many there are."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises OSError if it cannot be read and ValueError if it is not such a file."""
        data = path.read_bytes()
        try:
            with hidden_native_messages(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", module="PIL")
                self._file = Pillow.open(io.BytesIO(data), formats=MOVING_FORMATS)
                self.count: int = getattr(self._file, "n_frames", 1)
        except (Pillow.DecompressionBombError, *UNDECODABLE) as error:
            raise ValueError("it is damaged or of an unknown format") from error

    def read(self, index: int) -> tuple[Image, float]:
        """Return a picture, (H, W, 3) uint8 RGB, transparency laid over white, and how long it is shown, in seconds.

        index: from 0; reading in order is quick. Raises ValueError if it is damaged.
        """
        try:
            self._file.seek(index)
            self._file.load()
            image = opaque(self._file)
            delay_s = float(self._file.info.get("duration") or 0) / 1000
        except (Pillow.DecompressionBombError, *UNDECODABLE) as error:
            raise ValueError("it is damaged") from error
        return image, delay_s if delay_s >= MIN_DELAY_S else USUAL_DELAY_S

    def close(self) -> None:
        """Release the picture."""
        self._file.close()
