"""Faces of a person who does as he is asked, as landmarks in pixels."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from avatarify_plus.adapt.expressions import Need
from avatarify_plus.camera import open_clip
from avatarify_plus.face.driver_framing import scaled
from avatarify_plus.face.landmarks import MOUTH_CORNERS
from avatarify_plus.face.mesh import FaceMesh
from avatarify_plus.motion.expression import face_length, lid_gaps, set_lid_gaps, set_lip_gaps, upwards
from avatarify_plus.motion.face_space import sites
from avatarify_plus.types import FloatArray
from fakes import EXAMPLES

SPEECH_HZ = 3.0


@cache
def calm_face() -> FloatArray:
    """Return the landmarks of the example driver's first frame: eyes open, lips closed, nearly straight."""
    reader = open_clip(str(EXAMPLES / "driver.mp4"), 25)
    image = reader.read()
    reader.close()
    assert image is not None
    with FaceMesh(tracking=False) as mesh:
        found = mesh.find(image)
    assert found is not None
    return scaled(found, image.shape[1], image.shape[0])


@cache
def person(
    yaw: float = 0.0,
    pitch: float = 0.0,
    lips: float = 0.0,
    lids: float = 1.0,
    widened: float = 1.0,
    raised: float = 0.0,
) -> FloatArray:
    """Return landmarks (478, 3) in pixels of a picture of 640x480.

    yaw: degrees to his left. pitch: degrees upwards. lips: their gap over `face_length`. lids: their gap over that of
    open eyes. widened: the mouth's width over that at rest. raised: how much higher its corners are, over
    `face_length`. The array is read-only.
    """
    face = calm_face().copy()
    set_lip_gaps(face, np.full(9, lips, np.float32))
    set_lid_gaps(face, lids * lid_gaps(face))
    right, left = (face[corner] for corner in MOUTH_CORNERS)
    side = np.sign(face[:, :1] - (right + left)[0] / 2)
    outwards = side * (widened - 1) * (left - right) / 2
    face += sites()[0][:, None] * (outwards + raised * face_length(face) * upwards(face))
    face = turned(face, yaw, pitch)
    face.flags.writeable = False
    return face


def turned(face: FloatArray, yaw: float, pitch: float) -> FloatArray:
    """Return a face, turned by degrees to its left and upwards."""
    y, p = math.radians(yaw), math.radians(pitch)
    # the mesh's z falls towards the camera
    about_y = np.array([[math.cos(y), 0, -math.sin(y)], [0, 1, 0], [math.sin(y), 0, math.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(p), math.sin(p)], [0, -math.sin(p), math.cos(p)]])
    middle = face.mean(0)
    return ((face - middle) @ (about_y @ about_x).T + middle).astype(np.float32)


def acting(need: Need, time_s: float) -> FloatArray:
    """Return the face of a person who shows one thing, at a time."""
    if need is Need.TALKING:
        return person(lips=round(0.06 + 0.06 * math.sin(2 * math.pi * SPEECH_HZ * time_s), 2))
    return person(**POSES[need])


POSES: dict[Need, dict[str, float]] = {
    Need.NEUTRAL: {},
    Need.LEFT: {"yaw": 30},
    Need.RIGHT: {"yaw": -30},
    Need.UP: {"pitch": 20},
    Need.DOWN: {"pitch": -20},
    Need.SMILE: {"lips": 0.08, "widened": 1.2, "raised": 0.05},
    Need.EYES_CLOSED: {"lids": 0.1},
    Need.WIDE_OPEN: {"lips": 0.32},
}
"""How a person shows what is shown at one moment."""
