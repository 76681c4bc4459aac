"""A face is followed from frame to frame, found when it is far away, and not swapped for another."""

from pathlib import Path

import cv2
import numpy as np

from training.data.cache import read_frames
from training.data.face_tracks import Boxes, FaceSearch, Stretch, overlap

ROOT = Path(__file__).resolve().parents[3]


def test_a_faraway_face_is_found_in_parts_of_the_picture() -> None:
    driver = read_frames(ROOT / "examples" / "driver.mp4")[0]
    picture = np.full((720, 1280, 3), 90, np.uint8)
    picture[400:520, 900:1060] = cv2.resize(driver, (160, 120), interpolation=cv2.INTER_AREA)
    with FaceSearch(min_face_px=60) as search:
        boxes = [search.find(picture) for _ in range(4)]
    for found in boxes:
        assert len(found) == 1
        assert overlap(found, np.array([900 + 213 / 4, 400 + 151 / 4, 900 + 443 / 4, 400 + 423 / 4]))[0] > 0.8


def face_at(left: float, top: float, side: float = 100) -> Boxes:
    return np.array([left, top, left + side, top + side], np.float32)


def test_a_stretch_follows_its_own_face() -> None:
    stretch = Stretch(640, 480, [0], [face_at(100, 100)])
    larger, own = face_at(300, 100, 180), face_at(110, 100)
    assert np.array_equal(stretch.choose(np.stack([larger, own])), own)
    assert stretch.choose(larger[None]) is None  # it jumped
    stretch.boxes.append(face_at(150, 100))
    assert stretch.choose(face_at(190, 100)[None]) is None  # it has left where it was first
    assert Stretch(640, 480).ends(None, own[None]) and not Stretch(640, 480).ends(None, own[:0])
