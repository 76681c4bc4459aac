"""Contact sheets: what a model makes of a few pairs, as one picture to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from avatarify_plus.errors import DataError
from avatarify_plus.types import Image

HEADER_PX = 24
MARGIN_PX = 6
LABEL_SCALE = 0.45
"""Of OpenCV's font; a label too long for its column is set smaller."""


def contact_sheet(rows: Sequence[Sequence[Image]], labels: Sequence[str], cell_px: int = 160) -> Image:
    """Lay out rows of pictures under column labels. Each picture is resized to cell_px squares."""
    header = np.full((HEADER_PX, cell_px * len(labels), 3), 255, np.uint8)
    for column, label in enumerate(labels):
        (width, _), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, LABEL_SCALE, 1)
        scale = LABEL_SCALE * min(1.0, (cell_px - 2 * MARGIN_PX) / max(width, 1))
        place = (column * cell_px + MARGIN_PX, 17)
        cv2.putText(header, label, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
    lines = [np.hstack([_cell(image, cell_px) for image in row]) for row in rows]
    return np.vstack([header, *lines])


def _cell(image: Image, cell_px: int) -> Image:
    method = cv2.INTER_AREA if image.shape[0] >= cell_px else cv2.INTER_CUBIC
    cell: Image = cv2.resize(image, (cell_px, cell_px), interpolation=method).astype(np.uint8, copy=False)
    return cell


def write_picture(path: Path, image: Image, jpeg_quality: int = 95) -> None:
    """Write an RGB picture; `jpeg_quality`, up to 100, is of JPEG only. Raises DataError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    except (OSError, cv2.error) as error:
        raise DataError(f"cannot write the picture {path}: {error}") from error
    if not written:
        raise DataError(f"cannot write the picture {path}: check that the folder can be written to")
