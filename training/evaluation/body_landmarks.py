"""The landmarks of a body: MediaPipe's pose model, whose full weights come with the package. It lives only here."""

from __future__ import annotations

import numpy as np

from avatarify_plus.face.mesh import MediaPipeTask, tracker_model
from avatarify_plus.types import FloatArray, Image

BODY_LANDMARKS = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
"""Nose, eyes, ears, shoulders, elbows, wrists, hips, knees and ankles of MediaPipe's 33 landmarks, left before right.
They are COCO's, as in the paper's detector; the others would give more weight to face, fingers and feet."""

MIN_VISIBILITY = 0.5
"""A landmark counts as seen if its probability of lying in the picture, unhidden, is this or more."""


class BodyLandmarks(MediaPipeTask):
    """Find the landmarks of one body; each picture is searched independently of the others."""

    def __init__(self) -> None:
        """Start MediaPipe. Raises ModelError, see `tracker_model`."""
        super().__init__("PoseLandmarker", tracker_model("pose_landmarker.task"))

    def find(self, image: Image) -> FloatArray:
        """Return the landmarks (17, 2) in a picture (H, W, 3), x and y in [0, 1]; NaN where one is not seen."""
        bodies = self.process(image).pose_landmarks
        if not bodies:
            return np.full((len(BODY_LANDMARKS), 2), np.nan, np.float32)
        points = [bodies[0][index] for index in BODY_LANDMARKS]
        return seen_landmarks(np.array([(point.x, point.y, point.visibility) for point in points], np.float32))


def seen_landmarks(points: FloatArray) -> FloatArray:
    """Return x and y (N, 2) of points (N, 3), NaN for those whose visibility, the third, is low or that lie outside."""
    places = points[:, :2]
    is_seen = (points[:, 2] >= MIN_VISIBILITY) & (places >= 0).all(1) & (places <= 1).all(1)
    return np.where(is_seen[:, None], places, np.float32(np.nan))
