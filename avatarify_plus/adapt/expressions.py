"""What a film must show of a person for a model to learn him, and which of it a film shows."""

from __future__ import annotations

import math
from array import array
from enum import Enum
from typing import NamedTuple

import numpy as np

from avatarify_plus.face.landmarks import FACE_SIDES, MOUTH_CORNERS, NOSE_BASE, OUTER_EYE_CORNERS
from avatarify_plus.motion.expression import LIP_PAIRS, face_length, lid_gaps, lip_gaps, upwards
from avatarify_plus.motion.face_space import RESTING_MOUTH, TOUCHING
from avatarify_plus.types import FloatArray

KNOWN_AFTER_S = 1.0
"""So long a face must have been seen until anything counts as shown: by then it is known how it looks at rest."""

MAX_INTERVAL_S = 0.25
"""A face counts as seen between two looks at it that are at most so far apart; of a longer pause, so much counts."""

TURNED = math.radians(18)
"""How far a head is turned that shows one side of the face more than the other; the mesh's angles are up to a sixth too
large."""

NODDED = math.radians(10)
"""How far a head is raised or lowered. Heads of people who talk nod by 5 degrees each way."""

FACING = math.radians(30)
"""Of heads that are turned further, the mesh knows neither the mouth's width nor the far eye's lids."""

MAX_RESTING_YAW = math.radians(15)
"""The camera may stand to one side, and a head be turned so far from it at rest."""

RESTING_PITCH = (math.radians(-10), math.radians(25))
"""The bounds of a head's pitch at rest, upwards: meshes of upright heads differ by 30 degrees in that, and cameras
stand low or high."""

APART = 0.03
"""The gap between lips over `face_length` from which on teeth or the inside of the mouth are seen."""

WIDE_OPEN = 0.22
"""The gap of a mouth that is wide open. Of 53 people photographed while yawning, 50 reach it; of 78 clips of people who
talk, 6."""

SWING, MAX_SWING_S = 0.025, 0.5
"""How far lips go apart or together in speech at least, and how long it takes at most; yawns are slower."""

WIDENED, RAISED = 1.08, 0.02
"""How much wider a mouth is in a smile than at rest, and how much higher its corners are, over `face_length`. Of 37
people's photographed smiles with teeth, 33 have both."""

HIGHEST_CORNERS = -0.16
"""How high the corners of a mouth at rest lie at most, above the nose's base, over `face_length`: 95 of 100 do."""

SHUT = 0.35
"""How far lids are apart at most in shut eyes, as a share of the gap of the same eyes when open."""

MIN_OPEN_LIDS = 0.05
"""The least gap between open lids, over the eye's width."""

OPEN_LIDS, CLOSED_LIPS = 80, 20
"""The percentile of all gaps between lids that stands for open eyes, and that of the gaps between lips up to which a
mouth is at rest."""

CALM = math.radians(8)
"""How far the head of a neutral face is from its pose at rest at most."""

CALM_LIDS, CALM_WIDTH = 0.75, 0.06
"""How far the eyes of a neutral face are open at least, over open eyes, and how much wider or narrower than at rest its
mouth is at most."""


class Need(Enum):
    """One thing that a model must see of a person, in words; in the order in which they are asked for.

    Right and left are the subject's own.
    """

    NEUTRAL = "a calm face"
    LEFT = "the head turned left"
    RIGHT = "the head turned right"
    UP = "the head raised"
    DOWN = "the head lowered"
    TALKING = "talking"
    SMILE = "a smile with teeth"
    EYES_CLOSED = "closed eyes"
    WIDE_OPEN = "a wide open mouth"

    def __str__(self) -> str:
        return self.value


SHOWN_AFTER_S: dict[Need, float] = {
    Need.NEUTRAL: 0.5,
    Need.LEFT: 0.4,
    Need.RIGHT: 0.4,
    Need.UP: 0.4,
    Need.DOWN: 0.4,
    Need.TALKING: 4.0,
    Need.SMILE: 0.5,
    Need.EYES_CLOSED: 0.07,
    Need.WIDE_OPEN: 0.3,
}
"""How long a film shows a thing at least, all together, to have shown it. A blink is two pictures of 25 a second."""


class Tally:
    """Find out which needs a film shows, face after face. seconds: how long a face was seen.

    Nothing of the person is known before: a face is compared with what all of his faces until now have in common, so
    that what counts as shown may change while that becomes better known.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._talked_s = 0.0
        self._looks = array("d")
        self._seen_s: float | None = None
        self._lips = _Swings()
        self._shown: frozenset[Need] | None = None

    def add(self, landmarks: FloatArray | None, time_s: float) -> None:
        """Look at a face mesh (478, 3), at a time in seconds that is later than the one before.

        landmarks: x, y and z in one unit, whatever it is, such as pixels: see `face.driver_framing.scaled` for what
        `FaceMesh.find` gives. None where no face was found. At least ten looks a second see speech and blinks.
        """
        if landmarks is None:
            self._seen_s = None
            self._lips.forget()
            return
        interval_s = 0.0 if self._seen_s is None else min(time_s - self._seen_s, MAX_INTERVAL_S)
        self._seen_s = time_s
        self.seconds += interval_s
        look = _look(landmarks, interval_s)
        self._talked_s += self._lips.follow(look.lips, time_s)
        self._looks.extend(look)
        self._shown = None

    @property
    def shown(self) -> frozenset[Need]:
        """What has been shown."""
        if self._shown is None:
            self._shown = self._find_shown()
        return self._shown

    @property
    def missing(self) -> tuple[Need, ...]:
        """What has not been shown, in the order in which it is asked for."""
        return tuple(need for need in Need if need not in self.shown)

    def _find_shown(self) -> frozenset[Need]:
        if self.seconds < KNOWN_AFTER_S:
            return frozenset()
        seconds = _seconds_of(np.array(self._looks).reshape(-1, len(_Look._fields)))
        seconds[Need.TALKING] = self._talked_s
        return frozenset(need for need, shown_s in seconds.items() if shown_s >= SHOWN_AFTER_S[need])


class _Look(NamedTuple):
    """What is measured in one face.

    interval_s: the time since the look before. yaw: to the subject's left. pitch: upwards. lips: the gap in the mouth's
    middle. lids: the mean gap of both eyes. width: of the mouth, over the distance of the eyes' outer corners. corners:
    how high the mouth's corners lie above the nose's base. Angles in radians, heights over `face_length`.
    """

    interval_s: float
    yaw: float
    pitch: float
    lips: float
    lids: float
    width: float
    corners: float


def _look(mesh: FloatArray, interval_s: float) -> _Look:
    up, length = upwards(mesh), face_length(mesh)
    right, left = (mesh[corner] for corner in MOUTH_CORNERS)
    yaw, pitch = _angles(mesh, up)
    middle = slice(LIP_PAIRS // 2 - 1, LIP_PAIRS // 2 + 2)
    return _Look(
        interval_s=interval_s,
        yaw=yaw,
        pitch=pitch,
        lips=float(lip_gaps(mesh)[middle].mean()),
        lids=float(lid_gaps(mesh).mean()),
        width=float(np.linalg.norm(left - right)) / max(_distance(mesh, OUTER_EYE_CORNERS), 1e-6),
        corners=float(((right + left) / 2 - mesh[NOSE_BASE]) @ up) / length,
    )


def _angles(mesh: FloatArray, up: FloatArray) -> tuple[float, float]:
    """Return the yaw, to the subject's left, and the pitch, upwards, of a mesh whose upward direction (3,) is known."""
    right, left = (mesh[side] for side in FACE_SIDES)
    across = left - right
    forward = np.cross(across, up)
    forward = forward / max(float(np.linalg.norm(forward)), 1e-6)
    return math.atan2(forward[0], -forward[2]), -math.asin(max(min(float(forward[1]), 1.0), -1.0))


def _distance(mesh: FloatArray, pair: tuple[int, int]) -> float:
    return float(np.linalg.norm(mesh[pair[1]] - mesh[pair[0]]))


def _seconds_of(looks: FloatArray) -> dict[Need, float]:
    """Return how long each need is shown in looks (N, 7); all but speech, which is not of one moment."""
    interval_s, yaw, pitch, lips, lids, width, corners = looks.T
    is_closed = lips <= max(np.percentile(lips, CLOSED_LIPS), TOUCHING)
    wider = width / min(np.median(width[is_closed]), RESTING_MOUTH)
    raised = corners - min(np.median(corners[is_closed]), HIGHEST_CORNERS)
    opened = lids / max(np.percentile(lids, OPEN_LIDS), MIN_OPEN_LIDS)
    off = np.abs(yaw - np.clip(np.median(yaw), -MAX_RESTING_YAW, MAX_RESTING_YAW))
    nod = pitch - np.clip(np.median(pitch), *RESTING_PITCH)
    is_facing = np.abs(yaw) < FACING
    is_calm = (off < CALM) & (np.abs(nod) < CALM) & (opened > CALM_LIDS)
    found = {
        Need.NEUTRAL: is_calm & (lips < APART) & (np.abs(wider - 1) < CALM_WIDTH),
        Need.LEFT: yaw > TURNED,
        Need.RIGHT: yaw < -TURNED,
        Need.UP: nod > NODDED,
        Need.DOWN: nod < -NODDED,
        Need.SMILE: is_facing & (lips > APART) & (wider > WIDENED) & (raised > RAISED),
        Need.EYES_CLOSED: is_facing & (opened < SHUT),
        Need.WIDE_OPEN: lips > WIDE_OPEN,
    }
    return {need: float(interval_s[is_shown].sum()) for need, is_shown in found.items()}


class _Swings:
    """Follow a gap that opens and closes, and say how much of the time it swings as lips do in speech."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget the past: no swing goes on over a pause."""
        self._turned_s: float | None = None
        self._extreme, self._extreme_s = 0.0, 0.0
        self._sign = 0

    def follow(self, gap: float, time_s: float) -> float:
        """Return how long the swing took that a gap at a time ends; 0 if it ends none, or it was none of speech."""
        if self._turned_s is None:
            self._turned_s, self._extreme, self._extreme_s = time_s, gap, time_s
            return 0.0
        way = gap - self._extreme
        if way * self._sign >= 0 and (self._sign or abs(way) >= SWING):
            self._sign = self._sign or (1 if way > 0 else -1)
            self._extreme, self._extreme_s = gap, time_s
            return 0.0
        if abs(way) < SWING:
            return 0.0
        swing_s = self._extreme_s - self._turned_s
        self._turned_s, self._sign = self._extreme_s, -self._sign
        self._extreme, self._extreme_s = gap, time_s
        return swing_s if swing_s <= MAX_SWING_S else 0.0
