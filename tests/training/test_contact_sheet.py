"""Sheets are written without a word from the library that encodes them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from training.contact_sheet import contact_sheet, write_picture


@pytest.mark.parametrize("name", ["sheet.png", "sheet.jpg", "sheet.JPEG", "sheet.webp"])
def test_a_sheet_is_written_quietly_in_every_format(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sheet = contact_sheet([[np.full((32, 32, 3), 90, np.uint8)] * 2], ["source", "a label that is far too long"], 64)
    write_picture(tmp_path / name, sheet)
    assert capfd.readouterr() == ("", "")  # such as "An unsupported key(1) was specified", of a JPEG's option for a PNG
    read = cv2.imread(str(tmp_path / name))
    assert read is not None and read.shape == sheet.shape and abs(int(read[-1, -1, 0]) - 90) < 3
