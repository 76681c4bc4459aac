"""How mouth and eyes of a prediction look from near, and how sharp and steady its face is."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarify_plus.types import FloatArray, Image
from training.data.face_points import lip_gap_px, openings
from training.evaluation.face_squares import EYE_PX, MOUTH_PX, face_squares
from training.evaluation.metrics import (
    MIN_OPEN_LIPS_PX,
    DetailScores,
    FaceDescription,
    FaceScores,
    Scorer,
    Scores,
    are_closed,
    face_mask,
)
from training.evaluation.picture_fit import fit

BATCH = 32
"""The squares of this many frames are compared at a time: large enough to be quick, small enough for any clip."""

Compare = Callable[[Image, Image], NDArray[np.float64]]
"""What compares batches of pictures, see `PerceptualDistance`."""


class DetailScorer(Scorer):
    """A `Scorer` that looks closer.

    perceptual: how squares are compared. source: the photo (S, S, 3), and source_mesh, its refined mesh or None:
    predictions are as sharp as it at best.
    """

    def __init__(self, perceptual: Compare, source: Image, source_mesh: FloatArray | None) -> None:
        super().__init__()
        self._mouths = _SquarePairs(perceptual, MOUTH_PX)
        self._eyes = _SquarePairs(perceptual, EYE_PX)
        self._source_px = source.shape[0]
        energy = np.nan if source_mesh is None else gradient_energy(source, source_mesh)
        self._source_energy = energy or np.nan  # a drawn photo may be flat
        self._gaps_px: list[tuple[float, float]] = []  # the prediction's and the truth's
        self._true_eye_openings: list[float] = []
        self._sharpness: list[float] = []
        self._flicker: list[float] = []
        self._before: tuple[Image, Image] | None = None  # prediction and truth of the frame before

    def add(self, prediction: Image, truth: Image, predicted: FaceDescription, true: FaceDescription) -> Scores:
        """See `PictureScorer.add`."""
        row = super().add(prediction, truth, predicted, true)
        if true.refined is None:
            self._before = None
            return row
        squares = face_squares(true.refined)
        self._mouths.add(prediction, truth, squares.mouth.cut)
        for eye in squares.eyes:
            self._eyes.add(prediction, truth, eye.cut)
        predicted_gap_px = np.nan if predicted.refined is None else lip_gap_px(predicted.refined)
        self._gaps_px.append((predicted_gap_px, lip_gap_px(true.refined)))
        self._true_eye_openings.append(float(openings(true.refined).eyes))
        if predicted.refined is not None:
            energy = gradient_energy(fit(prediction, self._source_px), predicted.refined)
            self._sharpness.append(energy / self._source_energy)
        if self._before is not None:
            self._flicker.append(flicker((self._before[0], prediction), (self._before[1], truth), true.refined))
        self._before = prediction, truth
        return row

    def tables(self) -> tuple[Scores, FaceScores, DetailScores]:
        """See `PictureScorer.tables`."""
        return self.scores(), self.face_scores(), self.detail_scores()

    def detail_scores(self) -> DetailScores:
        """Return the means over what was added; NaN where there was nothing to measure."""
        mouths, eyes = self._mouths.differences(), self._eyes.differences().reshape(-1, 2, 2).mean(1)  # (N, 2) each
        predicted_gaps, true_gaps = np.array(self._gaps_px, np.float64).reshape(-1, 2).T
        is_open = true_gaps > MIN_OPEN_LIPS_PX
        eye_openings = np.array(self._true_eye_openings, np.float64)
        is_closed = are_closed(eye_openings) if len(eye_openings) else np.zeros(0, np.bool_)
        gap_ratios = predicted_gaps[is_open] / true_gaps[is_open]
        gap_ratios = gap_ratios[~np.isnan(gap_ratios)]
        return DetailScores(
            *_means(mouths),
            *_means(mouths[is_open]),
            float(np.median(gap_ratios)) if len(gap_ratios) else np.nan,
            *_means(eyes),
            *_means(eyes[is_closed]),
            _mean(self._sharpness),
            _mean(self._flicker),
        )


class _SquarePairs:
    """The same squares of predictions and truths, compared in batches."""

    def __init__(self, perceptual: Compare, size_px: int) -> None:
        self._perceptual = perceptual
        self._size_px = size_px
        self._waiting: list[tuple[Image, Image]] = []
        self._differences: list[NDArray[np.float64]] = []

    def add(self, prediction: Image, truth: Image, cut: Callable[[Image, int], Image]) -> None:
        """Add one square of both pictures."""
        self._waiting.append((cut(prediction, self._size_px), cut(truth, self._size_px)))
        if len(self._waiting) == BATCH:
            self._compare()

    def differences(self) -> NDArray[np.float64]:
        """Return L1 and perceptual distance of all that was added, (N, 2)."""
        if self._waiting:
            self._compare()
        return np.concatenate([np.zeros((0, 2)), *self._differences])

    def _compare(self) -> None:
        predictions, truths = (np.stack(images) for images in zip(*self._waiting, strict=True))
        l1 = np.abs(predictions.astype(np.float32) - truths).mean((1, 2, 3)) / 255
        self._differences.append(np.stack([l1, self._perceptual(predictions, truths)], 1))
        self._waiting.clear()


def gradient_energy(image: Image, mesh: FloatArray) -> float:
    """Return the mean of |Sobel x| + |Sobel y| of the grey picture (S, S, 3) inside the convex hull of a mesh.

    NaN if nothing of the hull lies in the picture.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    energy = np.abs(cv2.Sobel(grey, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    inside = energy[face_mask(mesh, *grey.shape)]
    return float(inside.mean()) if inside.size else np.nan


def flicker(predictions: tuple[Image, Image], truths: tuple[Image, Image], mesh: FloatArray) -> float:
    """Return how much more a prediction changes between two frames than the truth does, in levels of 255, at least 0.

    Both are the mean absolute difference of two pictures (S, S, 3) inside the convex hull of the second true mesh. NaN
    if nothing of the hull lies in the picture.
    """
    predicted, true = (cv2.absdiff(*pair)[face_mask(mesh, *pair[0].shape[:2])] for pair in (predictions, truths))
    return max(float(predicted.mean()) - float(true.mean()), 0.0) if true.size else np.nan


def _means(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean of each of two columns."""
    return _mean(differences[:, 0]), _mean(differences[:, 1])


def _mean(values: NDArray[np.float64] | list[float]) -> float:
    """Return the mean of what is not NaN; NaN if there is none."""
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if known.size else np.nan
