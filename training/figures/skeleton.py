"""A skeleton: where its joints are at rest, and how it takes a pose in which hands and feet reach for places.

Lengths are decimetres, angles radians; y is up, x the figure's left, z where it looks at rest.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np

from training.figures.mesh import Points

Build = Literal["female", "male"]
BUILDS: tuple[Build, ...] = ("female", "male")

SIDES = ("left", "right")
TRUNK_JOINTS = ("pelvis", "waist", "chest", "neck", "head", "crown")
LIMB_JOINTS = ("shoulder", "elbow", "wrist", "fingers", "hip", "knee", "ankle", "toes")
JOINTS = (*TRUNK_JOINTS, *(f"{side} {joint}" for side in SIDES for joint in LIMB_JOINTS))
"""The names of the joints, in the order of their places."""

CHEST = JOINTS.index("chest")
ANKLES = (JOINTS.index("left ankle"), JOINTS.index("right ankle"))
"""The numbers of some joints."""

TRUNK_BONES = ("pelvis", "belly", "chest", "neck", "head")
LIMB_BONES = ("upper arm", "forearm", "hand", "thigh", "shin", "foot")
BONES = (*TRUNK_BONES, *(f"{side} {bone}" for side in SIDES for bone in LIMB_BONES))
"""The names of the bones, in the order of their turns."""


class Span(NamedTuple):
    """The numbers of the joints that a bone begins and ends at."""

    start: int
    end: int


_LIMB_STARTS = (0, 1, 2, 4, 5, 6)  # of LIMB_JOINTS, in the order of LIMB_BONES
SPANS = (
    *(Span(index, index + 1) for index in range(len(TRUNK_BONES))),
    *(Span(6 + 8 * side + joint, 7 + 8 * side + joint) for side in (0, 1) for joint in _LIMB_STARTS),
)
"""Where each bone begins and ends."""

UPPER_ARMS = (BONES.index("left upper arm"), BONES.index("right upper arm"))
THIGHS = (BONES.index("left thigh"), BONES.index("right thigh"))
"""The numbers of the bones that limbs begin with; their other two follow."""

PARENTS: tuple[int | None, ...] = (
    *(None, 0, 1, 2, 3),
    *(on for arm, leg in zip(UPPER_ARMS, THIGHS, strict=True) for on in (2, arm, arm + 1, 0, leg, leg + 1)),
)
"""The number of the bone that each bone hangs on."""

BELOW_TOES_DM = 0.15
"""How far soles are below the joints of the toes."""

MAX_REACH = 0.985
"""A limb is stretched to this share of its length at most, so that it always knows where it is bent."""

_REST: dict[Build, tuple[tuple[float, float, float], ...]] = {
    "female": (
        *((0, 0.6, 0.1), (0, 2.0, 0.3), (0, 3.4, 0.3), (0, 5.2, 0.0), (0, 5.95, 0.2), (0, 7.85, 0.3)),
        *((1.5, 4.7, 0.1), (2.95, 3.05, 0.3), (4.4, 1.7, 1.55), (5.4, 0.8, 2.4)),
        *((0.95, 0.3, 0.15), (1.3, -3.6, 0.45), (1.68, -7.1, 0.1), (1.8, -7.75, 1.5)),
    ),
    "male": (
        *((0, 0.8, 0.1), (0, 2.3, 0.2), (0, 4.2, 0.2), (0, 6.6, 0.0), (0, 7.4, 0.3), (0, 9.4, 0.4)),
        *((1.75, 6.0, 0.1), (3.45, 4.0, 0.4), (5.05, 2.65, 2.0), (6.15, 1.75, 3.1)),
        *((0.95, 0.5, 0.15), (1.46, -3.5, 0.35), (1.95, -7.2, 0.0), (2.1, -7.95, 1.6)),
    ),
}
"""The trunk's and the left limbs' joints, as the suits have them; the right limbs mirror the left."""


class Proportions(NamedTuple):
    """How much longer than at rest a body's trunk, arms and legs are, and how much thicker all of it is."""

    trunk: float = 1.0
    arms: float = 1.0
    legs: float = 1.0
    girth: float = 1.0


AVERAGE = Proportions()
"""Those of the suits."""


class Pose(NamedTuple):
    """Where the joints are (22, 3), and how each bone is turned from rest (17, 3, 3)."""

    joints: Points
    turns: Points


class Stance(NamedTuple):
    """What a body does, from which its pose follows.

    pelvis: (3,), its place. pelvis_turn, chest_turn, head_turn: (3,), how far each leans forward, turns to its left and
    leans to its left, the first in space, the others from the part below. wrists: (2, 3), the places that the left and
    the right arm reach for, as far as they can. elbows: (2, 3), the directions that they point in. Both are as seen
    from where the chest begins. wrist_bends: (2,), how far hands are bent. ankles, knees: (2, 3), the same of the legs,
    in space. foot_turns: (2, 3), as those of the trunk, in space.
    """

    pelvis: Points
    pelvis_turn: Points
    chest_turn: Points
    head_turn: Points
    wrists: Points
    elbows: Points
    wrist_bends: Points
    ankles: Points
    knees: Points
    foot_turns: Points


class Skeleton:
    """The skeleton of one body.

    rest: (22, 3), the joints of its build at rest: upright, arms held down and outwards. own: (22, 3), the same with
    its own proportions. girth: how much thicker than at rest it is.
    """

    def __init__(self, build: Build, proportions: Proportions = AVERAGE) -> None:
        trunk, left = np.split(np.array(_REST[build]), [len(TRUNK_JOINTS)])
        self.rest: Points = np.concatenate([trunk, left, left * (-1, 1, 1)])
        self.girth = proportions.girth
        trunk_bones = dict.fromkeys(TRUNK_BONES[:3], proportions.trunk)
        arm_bones = dict.fromkeys(LIMB_BONES[:3], proportions.arms)
        factors = trunk_bones | arm_bones | dict.fromkeys(("thigh", "shin"), proportions.legs)
        self.own: Points = self.rest.copy()
        for bone, span, parent in zip(BONES, SPANS, PARENTS, strict=True):
            if parent is not None and span.start != SPANS[parent].end:  # a limb begins beside the trunk
                self.own[span.start] = self._from(SPANS[parent].start, span.start, proportions.trunk)
            self.own[span.end] = self._from(span.start, span.end, factors.get(kind_of(bone), 1.0))

    def _from(self, start: int, end: int, factor: float) -> Points:
        return self.own[start] + factor * (self.rest[end] - self.rest[start])

    def at_rest(self, joint: str) -> Points:
        """Return the place (3,) of a joint of its build at rest."""
        return self.rest[JOINTS.index(joint)]

    @property
    def sole_height(self) -> float:
        """How high the ankles are above the soles."""
        return float(self.at_rest("left ankle")[1] - self.at_rest("left toes")[1]) + BELOW_TOES_DM

    def pose(self, stance: Stance) -> Pose:
        """Return the pose of a stance."""
        joints, turns = np.zeros_like(self.own), np.zeros((len(BONES), 3, 3))
        joints[0] = stance.pelvis
        hips = rotation(*stance.pelvis_turn)
        chest = hips @ rotation(*stance.chest_turn)
        trunk = (
            hips,
            hips @ rotation(*stance.chest_turn / 2),
            chest,
            chest @ rotation(*stance.head_turn / 2),
            chest @ rotation(*stance.head_turn),
        )
        for number, turned in enumerate(trunk):
            self._hang(joints, turns, number, turned)
        for side, (arm, leg) in enumerate(zip(UPPER_ARMS, THIGHS, strict=True)):
            self._bend(joints, turns, arm, joints[CHEST] + chest @ stance.wrists[side], chest @ stance.elbows[side])
            self._bend(joints, turns, leg, stance.ankles[side], stance.knees[side])
            wrist = _about(self._hinge(self.own, arm) * stance.wrist_bends[side])
            self._hang(joints, turns, arm + 2, turns[arm + 1] @ wrist)
            self._hang(joints, turns, leg + 2, rotation(*stance.foot_turns[side]))
        return Pose(joints, turns)

    def _hang(self, joints: Points, turns: Points, number: int, turned: Points) -> None:
        """Turn a bone about the joint that it begins at."""
        start, end = SPANS[number]
        turns[number] = turned
        joints[end] = joints[start] + turned @ (self.own[end] - self.own[start])

    def _bend(self, joints: Points, turns: Points, upper: int, target: Points, pole: Points) -> None:
        """Bend a limb whose upper bone has this number so that it reaches for a target."""
        (first, second), third, parent = SPANS[upper], SPANS[upper + 1].end, PARENTS[upper]
        assert parent is not None, "limbs hang on the trunk"
        trunk = SPANS[parent].start
        joints[first] = joints[trunk] + turns[parent] @ (self.own[first] - self.own[trunk])
        lengths = [float(np.linalg.norm(self.own[b] - self.own[a])) for a, b in ((first, second), (second, third))]
        joints[second], joints[third] = reach(joints[first], target, lengths[0], lengths[1], pole)
        hinges = self._hinge(self.own, upper), self._hinge(joints, upper)
        for number, (start, end) in ((upper, (first, second)), (upper + 1, (second, third))):
            before, after = (
                _axes(j[end] - j[start], hinge) for j, hinge in zip((self.own, joints), hinges, strict=True)
            )
            turns[number] = after @ before.T

    @staticmethod
    def _hinge(joints: Points, upper: int) -> Points:
        """Return the axis (3,) about which a limb is bent, of length 1."""
        (first, second), third = SPANS[upper], SPANS[upper + 1].end
        axis = np.cross(joints[second] - joints[first], joints[third] - joints[second])
        return axis / np.linalg.norm(axis)


def kind_of(bone: str) -> str:
    """Return a bone's name without its side."""
    return bone.removeprefix("left ").removeprefix("right ")


def rotation(lean: float, yaw: float, tilt: float) -> Points:
    """Return the rotation (3, 3) that leans to the left by `tilt`, forward by `lean`, then turns left by `yaw`."""
    axes = ((0.0, yaw, 0.0), (lean, 0.0, 0.0), (0.0, 0.0, -tilt))
    around, forward, aside = (_about(np.array(axis)) for axis in axes)
    return around @ forward @ aside


def _about(axis: Points) -> Points:
    """Return the rotation (3, 3) about an axis (3,) by its length."""
    turned: Points = cv2.Rodrigues(axis)[0].astype(np.float64, copy=False)
    return turned


def reach(start: Points, target: Points, upper: float, lower: float, pole: Points) -> tuple[Points, Points]:
    """Return where the middle and the end of a limb of two bones are, (3,) each.

    start: where it begins. target: what it reaches for; it is never quite stretched or folded. upper, lower: the bones'
    lengths. pole: the direction that its middle points in.
    """
    way = target - start
    axis = way / max(float(np.linalg.norm(way)), 1e-9)
    distance = float(np.clip(np.linalg.norm(way), abs(upper - lower) + 0.2, MAX_REACH * (upper + lower)))
    along = (distance**2 + upper**2 - lower**2) / (2 * distance)
    aside = pole - (pole @ axis) * axis
    aside /= max(float(np.linalg.norm(aside)), 1e-9)
    return start + along * axis + np.sqrt(max(upper**2 - along**2, 0.0)) * aside, start + distance * axis


def _axes(direction: Points, hinge: Points) -> Points:
    """Return three orthogonal axes (3, 3), in columns: along a bone, its hinge, and across both."""
    along = direction / np.linalg.norm(direction)
    return np.stack([along, hinge, np.cross(along, hinge)], 1)
