"""The paper's measures of bodies (section 3.2: AKD and MKR)."""

from __future__ import annotations

import numpy as np

from avatarify_plus.types import FloatArray
from training.evaluation.metrics import Distances, PictureScorer, mean_distance_px


class BodyScorer(PictureScorer[FloatArray]):
    """Accumulate scores over pairs of prediction and truth, described by landmarks (N, 2), NaN where not seen.

    AKD: mean distance of the landmarks that both show, in px of 256. MKR: share of the true picture's landmarks that
    the prediction lacks. Both are as the First Order Motion Model defines them, with another detector. AED is not
    measured: it needs a network that distinguishes people by their bodies, and none is freely available.
    """

    def distances(self, predicted: FloatArray, true: FloatArray) -> Distances:
        """See `PictureScorer.distances`."""
        is_true = ~np.isnan(true[:, 0])
        is_both = is_true & ~np.isnan(predicted[:, 0])
        nan = float("nan")
        if not is_true.any():
            return Distances(nan, nan, nan)
        akd_px = mean_distance_px(predicted[is_both], true[is_both]) if is_both.any() else nan
        return Distances(akd_px, 1 - float(is_both.sum() / is_true.sum()), nan)
