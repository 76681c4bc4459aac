"""Motion carried from one face to another in space: head pose, expression and what is open, each in its own way.

Differences of keypoints in the picture mix a turned head with a moved mouth and carry one face's proportions to
another's. Here the driver's mesh is brought back into the pose of his neutral face, what is left is his expression, and
the avatar's own mesh takes it in its own pose and size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np

from avatarify_plus.face.landmarks import (
    FACE_HEIGHT,
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    MOUTH_CORNERS,
    NOSE_BASE,
    OUTER_EYE_CORNERS,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
)
from avatarify_plus.motion.controls import Controls
from avatarify_plus.motion.expression import (
    Gaze,
    face_length,
    gaze_of,
    iris_places,
    lid_gaps,
    lip_gaps,
    set_iris_places,
    set_lid_gaps,
    set_lip_gaps,
    upwards,
)
from avatarify_plus.motion.face_pose import Pose, fit_pose, part_of_rotation, skull_middle
from avatarify_plus.motion.keypoints import load_mean_face
from avatarify_plus.types import FloatArray

TOUCHING, CLOSED = 0.012, 0.004
"""The largest gap that the mesh finds between lips that touch, over `face_length`, and a usual one."""

SHUT, SHUT_FULLY, AJAR = 0.28, 0.1, 0.65
"""How open the mesh finds a shut eye, as a share of the same eye open; how open the avatar's is then, so that it surely
is shut; and from which share on eyes are as open as the driver's."""

WIDEST = 1.4
"""The most that an eye opens, in openings of the neutral face."""

LEAST_OPEN = 0.18
"""An avatar's eye opens at least so far, over its width, however far the photo's own lids have dropped."""

AHEAD = Gaze(0.0, 0.0)
GAZE_TOLERANCE = Gaze(0.05, 0.05)
"""Where the irises of a face lie that looks into the camera, and how much faces differ in that."""

MOUTH_RATIO = (0.75, 1.3)
"""The bounds of how much wider the avatar's mouth is than the driver's, of faces of the same size."""

RESTING_MOUTH = 0.58
"""The width of the widest mouths at rest, over the distance of the eyes' outer corners."""

DROP = 0.6
"""How far the corners of a mouth come down as a smile ends, over how far they go inwards."""

MEAN_FACE = "face-20"
"""The mesh layout whose mean face says which points lie near which part."""

SOFTNESS, NEAR_CORNER = 0.09, 0.35
"""How softly parts of the face go over into each other, and how far what moves with a corner of the mouth is from it,
in RMS radii of the mean face."""

SITES = 3
"""How many of the first values of `Demand` belong to `sites`."""


class Demand(NamedTuple):
    """How much more an avatar is asked for than is wanted, so that what is wanted arrives, see `motion.response`.

    corners: of the mouth's corners. jaw, brows: of what is around the chin and the brows. across, up: of the irises.
    """

    corners: float = 1.0
    jaw: float = 1.0
    brows: float = 1.0
    across: float = 1.0
    up: float = 1.0


AS_WANTED = Demand()
"""The demand where all arrives."""


@dataclass(frozen=True)
class _Shape:
    """A face's mesh (478, 3), and what is measured in it once."""

    mesh: FloatArray

    @cached_property
    def middle(self) -> FloatArray:
        return skull_middle(self.mesh)

    @cached_property
    def lid_gaps(self) -> FloatArray:
        return lid_gaps(self.mesh)

    @cached_property
    def lip_gaps(self) -> FloatArray:
        return lip_gaps(self.mesh)

    @cached_property
    def closed_lips(self) -> FloatArray:
        return _closed(self.lip_gaps)

    @cached_property
    def mouth_width(self) -> float:
        return mouth_width(self.mesh)


@dataclass(frozen=True)
class AvatarShape(_Shape):
    """What is known of an avatar's face: its mesh (478, 3) in the photo, and what must be asked of it."""

    demand: Demand = AS_WANTED

    @cached_property
    def iris_places(self) -> FloatArray:
        """See `expression.iris_places`."""
        return iris_places(self.mesh)

    @cached_property
    def at_rest(self) -> FloatArray:
        """The mesh without the photo's smile."""
        return _without_smile(self.mesh)


@dataclass(frozen=True)
class DriverShape(_Shape):
    """What is known of a driver's face: the mesh (478, 3) of a neutral face."""

    @cached_property
    def open_lids(self) -> FloatArray:
        """How far each eye is open (2,)."""
        return np.maximum(self.lid_gaps.mean(1), np.float32(0.05))

    @cached_property
    def gaze(self) -> Gaze:
        """Where the eyes look."""
        return gaze_of(self.mesh)


@dataclass(frozen=True, slots=True)
class Performance:
    """What a driver does in one frame, in terms of any face.

    moved: (478, 3) ways of all points from the neutral face, in its pose and size, over its `face_length`; without the
    mouth's gap, the lids and the irises, which are absolute: lips (9,) as `lip_gaps`, lids (2,) of what the neutral
    face's are, gaze as the way from looking ahead.
    """

    moved: FloatArray
    lips: FloatArray
    lids: FloatArray
    gaze: Gaze


class FaceCarrier:
    """Carry what one driver does to one avatar. scale: the avatar's face over the driver's; None compares the two."""

    def __init__(self, avatar: AvatarShape, driver: DriverShape, scale: float | None = None) -> None:
        self._avatar, self._driver = avatar, driver
        self._between = fit_pose(driver.mesh, avatar.mesh)
        self.scale = scale or self._between.scale
        ratio = avatar.mouth_width / driver.mouth_width
        self._mouth_ratio = float(np.clip(ratio, *MOUTH_RATIO))

    def read(self, mesh: FloatArray) -> tuple[Pose, Performance]:
        """Return where the driver's head is, from the neutral face, and what his face (478, 3) does."""
        driver = self._driver
        pose = fit_pose(driver.mesh, mesh)
        calm = pose.undo(mesh)
        gaze = gaze_of(calm)
        return pose, Performance(
            moved=(calm - driver.mesh) / face_length(driver.mesh),
            lips=np.maximum(lip_gaps(calm) - driver.closed_lips, 0),
            lids=_opened(lid_gaps(calm).mean(1) / driver.open_lids),
            gaze=Gaze(
                *(
                    now - _within(own, mid, tolerance)
                    for now, own, mid, tolerance in zip(gaze, driver.gaze, AHEAD, GAZE_TOLERANCE, strict=True)
                )
            ),
        )

    def carry(self, mesh: FloatArray, controls: Controls, is_absolute: bool = False) -> FloatArray:
        """Return the avatar's mesh (478, 3) for the driver's. is_absolute: in the driver's own pose."""
        pose, performance = self.read(mesh)
        face = self.perform(performance, controls)
        middle = self._avatar.middle
        if is_absolute:
            whole = fit_pose(self._avatar.mesh, mesh)
            rotation, scale = whole.rotation, whole.scale
            travel = whole.apply(middle[None])[0] - middle
        else:
            turned = self._between.rotation
            rotation, scale = np.asarray(turned @ pose.rotation @ turned.T, np.float32), pose.scale
            way = pose.apply(self._driver.middle[None])[0] - self._driver.middle
            travel = np.asarray(self.scale * turned @ way, np.float32)
        share = controls.head
        linear = scale**share * part_of_rotation(rotation, share)
        return np.asarray((face - middle) @ linear.T + middle + share * travel, np.float32)

    def perform(self, performance: Performance, controls: Controls) -> FloatArray:
        """Return the avatar's mesh (478, 3), in the photo's pose, that does what a driver does."""
        avatar = self._avatar
        mouth, eyes, brows = _regions()
        own_mesh = avatar.at_rest if controls.smile == "driver" else avatar.mesh
        size = self.scale * face_length(self._driver.mesh)
        strength = size * (self._mouth_ratio * controls.mouth * mouth + controls.eyes * eyes + controls.brows * brows)
        strength = strength * (1 + (np.array(avatar.demand[:SITES], np.float32) - 1) @ sites())
        moved = performance.moved @ self._between.rotation.T
        face = np.asarray(own_mesh + strength[:, None] * moved, np.float32)
        lips = avatar.closed_lips + performance.lips
        set_lip_gaps(face, np.maximum(avatar.lip_gaps + controls.mouth * (lips - avatar.lip_gaps), 0))
        own = avatar.lid_gaps  # (2, 7)
        mean = np.maximum(own.mean(1), 0.02)
        wide_open = own * (np.maximum(mean, LEAST_OPEN) / mean)[:, None]
        set_lid_gaps(face, own + controls.eyes * (performance.lids[:, None] * wide_open - own))
        places = avatar.iris_places
        ahead = places + _straightened(Gaze(*map(float, places.mean(0))))
        wanted = ahead if controls.locks_gaze else ahead + np.asarray(performance.gaze, np.float32)
        set_iris_places(face, places + controls.gaze * np.array(avatar.demand[SITES:], np.float32) * (wanted - places))
        return face


def mouth_width(mesh: FloatArray) -> float:
    """Return the distance between the corners of the mouth of a mesh (478, 3), over `face_length`."""
    first, second = (mesh[corner] for corner in MOUTH_CORNERS)
    return max(float(np.linalg.norm(second - first)) / face_length(mesh), 1e-3)


def _closed(lips: FloatArray) -> FloatArray:
    """Return the gaps (9,) that the mesh finds between a face's lips that touch, from those of one of its faces."""
    return np.asarray(np.where(lips <= TOUCHING, np.maximum(lips, 0), CLOSED), np.float32)


def _opened(lids: FloatArray) -> FloatArray:
    """Return how far an avatar's eyes are open, over its own opening, for a driver's (2,), over the neutral face's."""
    ajar = SHUT_FULLY + (lids - SHUT) * (AJAR - SHUT_FULLY) / (AJAR - SHUT)
    return np.asarray(np.clip(np.where(lids < AJAR, ajar, lids), 0, WIDEST), np.float32)


def _without_smile(mesh: FloatArray) -> FloatArray:
    """Return a mesh (478, 3) whose mouth is no wider than a mouth at rest, its corners as much lower."""
    first, second = (mesh[corner] for corner in OUTER_EYE_CORNERS)
    distance = max(float(np.linalg.norm(second - first)), 1e-6)
    right, left = (mesh[corner] for corner in MOUTH_CORNERS)
    excess = float(np.linalg.norm(left - right)) - RESTING_MOUTH * distance
    if excess <= 0:
        return mesh
    across = (second - first) / distance
    side = np.sign((mesh - mesh[NOSE_BASE]) @ across)[:, None]
    way = -side * across - DROP * upwards(mesh)
    return np.asarray(mesh + excess / 2 * sites()[0][:, None] * way, np.float32)


def _within(value: float, middle: float, tolerance: float) -> float:
    return min(max(value, middle - tolerance), middle + tolerance)


def _straightened(gaze: Gaze) -> FloatArray:
    """Return what brings a gaze (2,) to where eyes look into the camera."""
    return np.array(
        [_within(own, mid, tolerance) - own for own, mid, tolerance in zip(gaze, AHEAD, GAZE_TOLERANCE, strict=True)],
        np.float32,
    )


@cache
def _regions() -> FloatArray:
    """Return how much of each point (478,) moves with the mouth, the eyes and the brows: (3, 478), 1 together."""
    face = load_mean_face(MEAN_FACE).astype(np.float32)
    parts = ((*OUTER_LIPS, *INNER_LIPS), (*RIGHT_EYE.rim, *LEFT_EYE.rim), (*RIGHT_BROW, *LEFT_BROW))
    distances = np.stack([np.linalg.norm(face[:, None] - face[list(part)][None], axis=-1).min(1) for part in parts])
    weights = np.exp((distances.min(0) - distances) / SOFTNESS)
    return np.asarray(weights / weights.sum(0), np.float32)


@cache
def sites() -> FloatArray:
    """Return how much each point (478,) belongs to the mouth's corners, the jaw and the brows: (3, 478), 0 to 1."""
    face = load_mean_face(MEAN_FACE).astype(np.float32)
    corners = np.linalg.norm(face[:, None] - face[list(MOUTH_CORNERS)][None], axis=-1).min(1)
    lips, chin = face[list(INNER_LIPS), 1].max(), face[FACE_HEIGHT[1], 1]
    return np.stack(
        [
            np.exp(-np.square(corners / NEAR_CORNER)),
            np.clip((face[:, 1] - lips) / (chin - lips) * 2, 0, 1),
            _regions()[2],
        ]
    ).astype(np.float32)
