"""How much of what is asked of an avatar arrives: known movements are shown and read, and more is asked for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from avatarify_plus.face.landmarks import (
    FACE_HEIGHT,
    LEFT_BROW,
    MOUTH_CORNERS,
    NOSE_BASE,
    OUTER_EYE_CORNERS,
    RIGHT_BROW,
)
from avatarify_plus.motion.controls import FOLLOW_ALL
from avatarify_plus.motion.expression import Gaze, face_length, gaze_of, upwards
from avatarify_plus.motion.face_space import AvatarShape, Demand, DriverShape, FaceCarrier, Performance, sites
from avatarify_plus.types import FloatArray

JAW, SMILE, OUTWARDS, BROWS = 0.1, 0.03, 0.05, 0.04
"""How far the jaw drops, the corners of the mouth go up and outwards, and the brows go up, in lengths of the face."""

ASIDE = Gaze(0.08, 0.03)
"""How far the irises move, in widths of the eye."""

EMPHASIS = Demand(corners=1.3, jaw=1.3, brows=1.0, across=1.0, up=1.0)
"""How much of what is wanted shall arrive. Small openings and smiles of another face are read as none: on five photos
with five drivers, an independent tracker found half of the driver's jaw where the mesh found all of it."""

MOST = Demand(corners=2.2, jaw=2.2, brows=1.6, across=1.6, up=1.6)
"""The most that is asked for: more would tear pictures of avatars that do not answer."""

LEAST_ANSWER = 0.3
"""An answer below this share says that the face was not read well."""


class Probe(NamedTuple):
    """What is asked: the avatar's mesh (478, 3) at rest and in the two pictures that are shown of it."""

    rest: FloatArray
    first: FloatArray
    second: FloatArray


def probe_of(shape: AvatarShape) -> Probe:
    """Return the faces to be shown of an avatar: its own, one that drops its jaw, one that smiles and lifts its brows.

    The second looks to one side and up, the third to the other and down.
    """
    up, across = upwards(shape.mesh), _across(shape.mesh)
    corner, jaw, brows = (site[:, None] for site in sites())
    side = np.sign((shape.mesh - shape.mesh[NOSE_BASE]) @ across)[:, None]  # of the face
    carrier = FaceCarrier(shape, DriverShape(shape.mesh), scale=1.0)
    open_lips = np.maximum(shape.lip_gaps, 0) + JAW * np.sin(np.linspace(0, np.pi, len(shape.lip_gaps) + 2)[1:-1])
    lids = np.ones(2, np.float32)
    performances = (
        Performance(-JAW * up * jaw, open_lips.astype(np.float32), lids, ASIDE),
        Performance(
            (SMILE * up + OUTWARDS * side * across) * corner + BROWS * up * brows,
            shape.lip_gaps,
            lids,
            Gaze(-ASIDE.across, -ASIDE.up),
        ),
    )
    return Probe(shape.mesh, *(carrier.perform(performance, FOLLOW_ALL) for performance in performances))


def demand_of(asked: Probe, shown: Probe) -> Demand:
    """Return what must be asked of an avatar so that what is wanted arrives, within MOST.

    asked: see `probe_of`. shown: the meshes that were found in its pictures, in the coordinates of those asked for.
    """
    wanted, found = (_movements(probe) for probe in (asked, shown))
    answers = [answer / max(abs(want), 1e-6) * np.sign(want) for want, answer in zip(wanted, found, strict=True)]
    return Demand(
        *(
            float(np.clip(emphasis / max(answer, LEAST_ANSWER), 1, most))
            for answer, emphasis, most in zip(answers, EMPHASIS, MOST, strict=True)
        )
    )


def _movements(probe: Probe) -> Demand:
    """Return how far each part moves from one of the faces to another, in the order of `Demand`."""
    rest, first, second = (_places(mesh) for mesh in probe)
    return Demand(
        corners=second.corners - rest.corners,
        jaw=first.jaw - rest.jaw,
        brows=second.brows - rest.brows,
        across=first.across - second.across,
        up=first.up - second.up,
    )


def _places(mesh: FloatArray) -> Demand:
    """Return where the parts of a mesh (478, 3) are, in lengths of the face and widths of the eye."""
    up, across, length = upwards(mesh), _across(mesh), face_length(mesh)
    right, left = (mesh[corner] - mesh[NOSE_BASE] for corner in MOUTH_CORNERS)
    smile = OUTWARDS * ((left - right) @ across) / 2 + SMILE * ((left + right) @ up) / 2
    brows = mesh[[*RIGHT_BROW, *LEFT_BROW]].mean(0) - mesh[list(OUTER_EYE_CORNERS)].mean(0)
    gaze = gaze_of(mesh)
    return Demand(
        corners=float(smile) / length,
        jaw=float(np.linalg.norm(mesh[FACE_HEIGHT[1]] - mesh[NOSE_BASE])) / length,
        brows=float(brows @ up) / length,
        across=gaze.across,
        up=gaze.up,
    )


def _across(mesh: FloatArray) -> FloatArray:
    """Return the direction (3,) to the subject's left of a mesh (478, 3)."""
    first, second = (mesh[corner] for corner in OUTER_EYE_CORNERS)
    return np.asarray((second - first) / max(float(np.linalg.norm(second - first)), 1e-6), np.float32)
