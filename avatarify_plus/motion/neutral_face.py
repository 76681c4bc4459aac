"""The neutral face, from which the driver's motion is measured: taken at once, or found while running."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from avatarify_plus.face.landmarks import (
    ACROSS_MOUTH,
    FACE_HEIGHT,
    FACE_SIDES,
    LEFT_EYE,
    MOUTH_CORNERS,
    OUTER_EYE_CORNERS,
    RIGHT_EYE,
    Eye,
)
from avatarify_plus.motion.face import Face, mean_distance
from avatarify_plus.motion.typical_face import typical_face
from avatarify_plus.types import FloatArray, Keypoints

GOOD_SCORE = 0.5
"""A first face with at least this score is taken at once."""

PATIENCE_S = 1.0
"""How long the search waits for a face with GOOD_SCORE before it takes the best one it has seen."""

BETTER_BY = 0.1
"""How much higher a face must score than the neutral one to replace it."""

DOUBT = 0.5
"""The factor of the neutral face's score when somebody else may have come."""

STILL_SPEED = 0.25
"""Mean speed of keypoints, in picture halves a second, that costs 40 % of the score. Talking people have 0.1 in the
median and 0.4 in a tenth of the frames of the training clips."""

ALIKE = 0.3
"""Mean distance of two faces' keypoints, in RMS radii, that costs 40 % of the score of models without a mesh."""

WATCHED_S, REMEMBERED = 0.2, 100
"""Faces are remembered at least so far apart, at most so many, so that somebody who never looks neutral has a face that
is typical of him."""

ENOUGH = 25
"""Of fewer faces none is typical."""

POSE_POINTS = (FACE_SIDES, FACE_HEIGHT, OUTER_EYE_CORNERS)
"""Points of the mesh that lie across the face (yaw), down the face (pitch) and across the eyes (roll)."""


FaceOfMesh = Callable[[FloatArray, Face], Face]


class Reading(NamedTuple):
    """What a face does, off its mesh: rotation in radians, openings and widths as ratios.

    eyes: gap between the lids over the eye's width. mouth: gap between the lips over the face's height. smile: the
    mouth's width over the distance of the eyes' outer corners.
    """

    yaw: float
    pitch: float
    roll: float
    eyes: float
    mouth: float
    smile: float


NEUTRAL_MIN = Reading(yaw=-0.05, pitch=-0.02, roll=-0.05, eyes=0.22, mouth=0.0, smile=0.50)
NEUTRAL_MAX = Reading(yaw=0.05, pitch=0.18, roll=0.05, eyes=0.45, mouth=0.03, smile=0.60)
"""The bounds of a neutral face from the front: the middle half of the training clips' frames, with eyes as open and
mouths as closed as in most people's own medians."""

SPREAD = Reading(yaw=0.20, pitch=0.20, roll=0.20, eyes=0.06, mouth=0.03, smile=0.08)
"""How far outside the bounds a value costs 40 % of the score."""

POSES = 3
"""How many of the first values are the pose. A photo's own pose is as good as frontal; so is what lies between."""


class Sample(NamedTuple):
    """A face as a candidate, and what it does where there is a mesh to read it off."""

    face: Face
    reading: Reading | None


def sample_of(face: Face, landmarks: FloatArray | None) -> Sample:
    """Return a face as a candidate; landmarks: see `read_face`, None where there is no mesh."""
    return Sample(face, None if landmarks is None else read_face(landmarks))


def read_face(landmarks: FloatArray) -> Reading:
    """Read a face mesh (478, 3) of a square picture, z in the scale of x, wherever the picture's middle is."""
    across, down, eyeline = (landmarks[last] - landmarks[first] for first, last in POSE_POINTS)
    openings = [_opening(landmarks, eye) for eye in (RIGHT_EYE, LEFT_EYE)]
    return Reading(
        yaw=math.atan2(across[2], across[0]),
        pitch=math.atan2(down[2], down[1]),
        roll=math.atan2(eyeline[1], eyeline[0]),
        eyes=sum(openings) / 2,
        mouth=_distance(landmarks, ACROSS_MOUTH[0]) / max(_distance(landmarks, FACE_HEIGHT), 1e-6),
        smile=_distance(landmarks, MOUTH_CORNERS) / max(_distance(landmarks, OUTER_EYE_CORNERS), 1e-6),
    )


def neutrality(reading: Reading, *references: Reading) -> float:
    """Return from 0 to 1 how frontal, calm, closed of mouth and open of eye a face is.

    references: faces whose poses count as frontal, too.
    """
    cost = 0.0
    for index, value in enumerate(reading):
        allowed = [reference[index] for reference in references] if index < POSES else []
        low, high = min([NEUTRAL_MIN[index], *allowed]), max([NEUTRAL_MAX[index], *allowed])
        cost += (max(low - value, value - high, 0.0) / SPREAD[index]) ** 2
    return math.exp(-cost / 2)


def likeness(first: Keypoints, second: Keypoints) -> float:
    """Return from 0 to 1 how alike two faces' keypoints are, wherever they lie and however large.

    FOMM's find_best_frame compares faces so, by dlib's landmarks.
    """
    distance = np.linalg.norm(_normalised(first.value) - _normalised(second.value), axis=-1).mean()
    return math.exp(-((float(distance) / ALIKE) ** 2) / 2)


class NeutralFaceSearch:
    """Hold the neutral face and, while it `searches`, look for a better one among the faces offered.

    Without a search, the caller takes the first face. With one, the first good face is the neutral one, or the best of
    the first second; later only a clearly better one replaces it.
    """

    def __init__(self, searches: bool = False, face_of: FaceOfMesh | None = None) -> None:
        """face_of: makes a face of a mesh and of what is not on the mesh of another face; None without meshes."""
        self.searches = searches
        self._face_of = face_of
        self._watched: list[FloatArray] = []
        self._watched_s: float | None = None
        self._photo: Sample | None = None
        self._chosen: Reading | None = None
        self._initial: Sample | None = None
        self._best: Sample | None = None
        self._best_score = 0.0
        self._share = 1.0
        self._since_s: float | None = None
        self._past: tuple[Face, float] | None = None

    @property
    def initial(self) -> Face | None:
        """The neutral face, if there is one."""
        return None if self._initial is None else self._initial.face

    @property
    def score(self) -> float | None:
        """How good the neutral face is, from 0 to 1; None before there is one."""
        return None if self._initial is None else self._share * self._rate(self._initial)

    def set_reference(self, photo: Sample) -> None:
        """Compare with this photo from now on."""
        self._photo = photo

    def take(self, sample: Sample, is_chosen: bool = False) -> None:
        """Make a face the neutral one.

        is_chosen: by the user, or for want of a better one; its pose is then as good as frontal.
        """
        self._initial, self._share = sample, 1.0
        self._best, self._best_score, self._since_s = None, 0.0, None
        if is_chosen:
            self._chosen = sample.reading

    def forget(self) -> None:
        """Forget the neutral face."""
        self._initial = self._chosen = self._best = self._past = self._since_s = None
        self._best_score, self._watched = 0.0, []

    def doubt(self) -> None:
        """Halve the score, since the driver may have changed: the next good face then replaces the neutral one."""
        self._share, self._chosen, self._watched = DOUBT, None, []

    def offer(self, sample: Sample, time_s: float) -> bool:
        """Consider a face, each in its turn; return whether it or an earlier one has become the neutral one."""
        if not self.searches:
            return False
        score = self._rate(sample) * self._stillness(sample.face, time_s)
        if self._initial is not None:
            better = (self.score or 0.0) + BETTER_BY
            typical = self._watch(sample, time_s) if better < GOOD_SCORE else None
            if typical is not None and score < GOOD_SCORE:
                self.take(typical, is_chosen=True)
                return True
            if score < better:
                return False
            self.take(sample)
            return True
        self._since_s = time_s if self._since_s is None else self._since_s
        if self._best is None or score > self._best_score:
            self._best, self._best_score = sample, score
        if self._best_score < GOOD_SCORE and time_s - self._since_s < PATIENCE_S:
            return False
        self.take(self._best)
        return True

    def study(self, samples: Iterable[tuple[Sample, float]]) -> bool:
        """Take the best of faces, each with its time, that will be animated later; return whether there was one.

        Where none is good, the face that is typical of all of them is taken, and its pose is as good as frontal.
        """
        rated = [(self._rate(sample) * self._stillness(sample.face, time_s), sample) for sample, time_s in samples]
        self._past = None
        if not rated:
            return False
        score, best = max(rated, key=lambda each: each[0])
        meshes = [sample.face.mesh for _, sample in rated if sample.face.mesh is not None]
        typical = self._typical(meshes, best.face) if score < GOOD_SCORE and len(meshes) >= ENOUGH else None
        self.take(best if typical is None else typical, is_chosen=typical is not None)
        return True

    def _watch(self, sample: Sample, time_s: float) -> Sample | None:
        """Remember a face; return the typical one of all that are remembered, once in a while."""
        mesh = sample.face.mesh
        if mesh is None or (self._watched_s is not None and time_s - self._watched_s < WATCHED_S):
            return None
        self._watched_s = time_s
        self._watched = [*self._watched, mesh][-REMEMBERED:]
        is_due = len(self._watched) >= ENOUGH and len(self._watched) % ENOUGH == 0
        return self._typical(self._watched, sample.face) if is_due else None

    def _typical(self, meshes: list[FloatArray], like: Face) -> Sample | None:
        if self._face_of is None:
            return None
        mesh = typical_face(meshes)
        return Sample(self._face_of(mesh, like), read_face(mesh))

    def _rate(self, sample: Sample) -> float:
        if sample.reading is not None:
            references = (self._photo.reading if self._photo else None, self._chosen)
            return neutrality(sample.reading, *(known for known in references if known is not None))
        if self._photo is None:
            return 1.0
        return likeness(sample.face.keypoints, self._photo.face.keypoints)

    def _stillness(self, face: Face, time_s: float) -> float:
        """Return from 0 to 1 how still a face is since the last one; 1 for the first."""
        past, self._past = self._past, (face, time_s)
        if past is None:
            return 1.0
        speed = mean_distance(face, past[0]) / max(time_s - past[1], 1e-3)
        return math.exp(-((speed / STILL_SPEED) ** 2) / 2)


def _opening(landmarks: FloatArray, eye: Eye) -> float:
    """Return the mean gap between an eye's lids over its width."""
    gap = sum(_distance(landmarks, pair) for pair in eye.across) / len(eye.across)
    return gap / max(_distance(landmarks, eye.corners), 1e-6)


def _distance(landmarks: FloatArray, pair: tuple[int, int]) -> float:
    first, second = landmarks[pair[0]], landmarks[pair[1]]
    return math.hypot(first[0] - second[0], first[1] - second[1])


def _normalised(value: FloatArray) -> FloatArray:
    """Return points centred, with RMS radius 1."""
    centred = value - value.mean(0)
    return centred / max(float(np.sqrt(np.square(centred).sum(-1).mean())), 1e-6)
