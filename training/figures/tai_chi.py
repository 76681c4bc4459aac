"""Slow and large movements: the weight goes from foot to foot, the free one steps, arms wander and cross the body."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from training.figures.mesh import Points
from training.figures.skeleton import CHEST, SPANS, THIGHS, UPPER_ARMS, Skeleton, Stance, rotation

PHASE_FRAMES = (13, 20)
"""After at least the one and less than the other number of frames the weight goes to the other foot."""

STEP_SHARE = 0.75
"""How often the foot that bears no weight takes a step meanwhile."""

AIM_FRAMES = 13
"""What wanders has a new aim every so many frames."""

STRETCH = 0.96
"""Legs are stretched to at most this share of their length."""

IN_FRONT_DM = 2.3
HALF_CHEST_DM = 1.6
"""How far wrists stay in front of the chest, whose half width is the other; beside it they may go further back."""


class Steps(NamedTuple):
    """What feet do over time: where ankles are (T, 2, 3), how far feet are turned and heels lifted (T, 2).

    left_share: (T,), how much of the weight the left foot bears.
    """

    ankles: Points
    turns: Points
    lifts: Points
    left_share: Points


def perform(skeleton: Skeleton, count: int, random: np.random.Generator) -> list[Stance]:
    """Return the stances of a body over `count` frames, which stands on the plane y = 0 around x = z = 0."""
    facing = random.uniform(-0.45, 0.45) + 0.35 * wander(random, count)
    steps = _take_steps(skeleton, facing, random)
    pelvis_turns = np.stack([0.05 + 0.05 * wander(random, count), facing, 0.04 * wander(random, count)], 1)
    pelvis = _pelvis(skeleton, steps, pelvis_turns, 0.7 + 0.6 * wander(random, count))
    chest_turns = wander(random, count, 3) * (0.12, 0.4, 0.1) + (0.08, 0.0, 0.0)
    head_turns = wander(random, count, 3) * (0.15, 0.45, 0.1)
    wrists = np.stack([_wrist_path(skeleton, count, random) * (way, 1, 1) for way in (1, -1)])
    bends = 0.5 * wander(random, count, 2)
    middle = pelvis.mean(0) * (1, 0, 1)
    stances = []
    for frame in range(count):
        turned = list(zip(steps.lifts[frame], steps.turns[frame], strict=True))
        stances.append(
            Stance(
                pelvis=pelvis[frame] - middle,
                pelvis_turn=pelvis_turns[frame],
                chest_turn=chest_turns[frame],
                head_turn=head_turns[frame],
                wrists=wrists[:, frame],
                elbows=np.array([(0.7, -1.0, -0.3), (-0.7, -1.0, -0.3)]),
                wrist_bends=bends[frame],
                ankles=steps.ankles[frame] - middle,
                knees=np.stack([rotation(0, yaw, 0) @ (0.0, 0.0, 1.0) for _, yaw in turned]),
                foot_turns=np.array([(lift, yaw, 0.0) for lift, yaw in turned]),
            )
        )
    return stances


def wander(random: np.random.Generator, count: int, channels: int | None = None) -> Points:
    """Return values (count,), or (count, channels), in [-1, 1] that go smoothly from one chance value to the next."""
    aims = random.uniform(-1, 1, (count // AIM_FRAMES + 3, channels or 1))
    values = smooth(aims, count)
    return values if channels else values[:, 0]


def smooth(aims: Points, count: int) -> Points:
    """Return values (count, N) that go from aim to aim (A, N) and come to rest at each."""
    time = np.linspace(0, len(aims) - 1, count)
    before = np.minimum(time.astype(np.int64), len(aims) - 2)
    share = eased(time - before)[:, None]
    return (1 - share) * aims[before] + share * aims[before + 1]


def eased(share: Points) -> Points:
    """Return shares that go from 0 to 1 as these do, but begin and end softly; those beyond are 0 or 1."""
    inside = np.clip(share, 0, 1)
    return inside**2 * (3 - 2 * inside)


def _wrist_path(skeleton: Skeleton, count: int, random: np.random.Generator) -> Points:
    """Return where the left wrist is to be, (count, 3), from where the chest begins and in its axes."""
    shoulder = skeleton.own[SPANS[UPPER_ARMS[0]].start] - skeleton.own[CHEST]
    aims = random.uniform((-0.9, -1.0, 0.5), (1.3, 0.95, 0.97), (count // AIM_FRAMES + 3, 3))
    aside, up, share = smooth(aims, count).T
    way = np.stack([np.sin(aside) * np.cos(up), np.sin(up), np.cos(aside) * np.cos(up)], 1)
    path = shoulder + limb_length(skeleton, UPPER_ARMS[0]) * share[:, None] * way
    beside = np.maximum(np.abs(path[:, 0]) - HALF_CHEST_DM, 0)
    path[:, 2] = np.maximum(path[:, 2], IN_FRONT_DM - 1.2 * beside)
    return path


def limb_length(skeleton: Skeleton, upper: int) -> float:
    """Return the length of a limb whose upper bone has this number, without hand or foot."""
    ends = [skeleton.own[list(SPANS[number])] for number in (upper, upper + 1)]
    return float(sum(np.linalg.norm(end - start) for start, end in ends))


def _take_steps(skeleton: Skeleton, facing: Points, random: np.random.Generator) -> Steps:
    """Return what feet do while the body turns to where it is facing (T,)."""

    def foothold(side: int, yaw: float) -> Points:
        """Return a place for a foot, (4,): its ankle's, and how far it is turned."""
        way = (1, -1)[side]
        beside = (way * random.uniform(1.4, 2.5), skeleton.sole_height, random.uniform(-1.2, 1.2))
        return np.append(rotation(0, yaw, 0) @ beside, yaw + way * random.uniform(0.15, 0.6))

    count = len(facing)
    feet = np.stack([foothold(side, facing[0]) for side in (0, 1)])
    path, lifts, left_share = np.zeros((count, 2, 4)), np.zeros((count, 2)), np.zeros(count)
    standing, start, before = int(random.integers(2)), 0, 0.5
    while start < count:
        length = int(random.integers(*PHASE_FRAMES))
        now = slice(start, min(start + length, count))
        time = np.arange(now.stop - start) / length
        path[now] = feet
        shifted = eased(time / 0.4)
        left_share[now] = (1 - shifted) * before + shifted * (1 - standing)
        if random.random() < STEP_SHARE:
            free, stepped = 1 - standing, eased((time - 0.35) / 0.5)
            path[now, free] += stepped[:, None] * (foothold(free, facing[now.stop - 1]) - feet[free])
            feet[free] = path[now.stop - 1, free]
            path[now, free, 1] += 0.9 * np.sin(np.pi * stepped)
            lifts[now, free] = 0.35 * np.sin(np.pi * stepped)
        start, before, standing = now.stop, 1.0 - standing, 1 - standing
    return Steps(path[..., :3], path[..., 3], lifts, left_share)


def _pelvis(skeleton: Skeleton, steps: Steps, turns: Points, sunk: Points) -> Points:
    """Return where the pelvis is (T, 3): over the feet by their weight, `sunk` (T,) below where legs just reach."""
    own, thighs = skeleton.own, [SPANS[number].start for number in THIGHS]
    length = STRETCH * limb_length(skeleton, THIGHS[0])
    left = 0.5 + 0.65 * (steps.left_share - 0.5)
    place = left[:, None] * steps.ankles[:, 0] + (1 - left)[:, None] * steps.ankles[:, 1]
    for frame, turned in enumerate(turns):
        hips = (own[thighs] - own[0]) @ rotation(*turned).T
        away = (place[frame] + hips - steps.ankles[frame]) * (1, 0, 1)
        high = np.sqrt(np.maximum(length**2 - (away**2).sum(1), 1.0))
        place[frame, 1] = (steps.ankles[frame, :, 1] + high - hips[:, 1]).min() - sunk[frame]
    return place
