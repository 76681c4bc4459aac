"""Contact sheets: what a model makes of a few pairs, as one picture to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from avatarify_plus.types import Image


def contact_sheet(rows: Sequence[Sequence[Image]], labels: Sequence[str], cell_px: int = 160) -> Image:
    """Lay out rows of pictures under column labels. Each picture is resized to cell_px squares."""
    header = np.full((24, cell_px * len(labels), 3), 255, np.uint8)
    for column, label in enumerate(labels):
        cv2.putText(
            header, label, (column * cell_px + 6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA
        )
    lines = [
        np.hstack([cv2.resize(image, (cell_px, cell_px), interpolation=cv2.INTER_AREA) for image in row])
        for row in rows
    ]
    return np.vstack([header, *lines])


def write_picture(path: Path, image: Image) -> None:
    """Write an RGB picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])
