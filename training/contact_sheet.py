"""Contact sheets: what a model makes of a few pairs, as one picture to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from avatarify_plus.errors import DataError
from avatarify_plus.program.whole_file import write_whole
from avatarify_plus.types import Image

HEADER_PX = 24
MARGIN_PX = 6
LABEL_SCALE = 0.45
"""Scale of OpenCV's font; a label too long for its column is written smaller."""


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
    """Write an RGB picture (H, W, 3), whole or not at all, in the format that its name says.

    jpeg_quality: up to 100, of JPEG only. Raises DataError if it cannot be written.
    """
    if not cv2.haveImageWriter(path.name):
        raise DataError(f"cannot write the picture {path}: choose a name that ends in .png or .jpg")
    is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality] if is_jpeg else []
        _, encoded = cv2.imencode(path.suffix, image[..., ::-1], options)
        write_whole(path, encoded.tobytes())
    except (OSError, cv2.error) as error:
        raise DataError(f"cannot write the picture {path}: {error}") from error
