"""Films of bodies that move slowly in front of a still camera."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from avatarify_plus.types import Image
from training.figures.person import Person
from training.figures.renderer import Camera, Light, render
from training.figures.scenery import Scenery
from training.figures.skeleton import ANKLES, Pose
from training.figures.tai_chi import perform
from training.figures.wardrobe import Wardrobe

OVERSAMPLING = 2
"""Films are rendered so many times as large and averaged."""

DISTANCE_DM = (36.0, 52.0)
"""How near and how far the camera may be."""

EXTENT = (0.78, 0.92)
"""What share of the picture's side a body's joints reach over in a film, at least and at most."""


def film_body(wardrobe: Wardrobe, random: np.random.Generator, count: int, side_px: int) -> Iterator[Image]:
    """Yield the pictures (side_px, side_px, 3) of a film of one person; who, where and how is drawn by chance.

    Raises DataError if something of the wardrobe cannot be read.
    """
    person = Person(wardrobe, random)
    poses = [person.skeleton.pose(stance) for stance in perform(person.skeleton, count, random)]
    camera, light = frame_poses(poses, random), _light(random)
    scenery = Scenery(random, camera, OVERSAMPLING * side_px)
    for pose in poses:
        picture = render(person.posed(pose), camera, light, scenery.shaded(pose.joints[list(ANKLES)]))
        yield cv2.resize(picture, (side_px, side_px), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def frame_poses(poses: Sequence[Pose], random: np.random.Generator) -> Camera:
    """Return a camera that sees all joints all the time."""
    joints = np.concatenate([pose.joints for pose in poses])
    distance = float(random.uniform(*DISTANCE_DM))
    seen = joints[:, :2] / (distance - joints[:, 2:])
    low, high = seen.min(0), seen.max(0)
    x, y = (distance * (low + high) / 2).tolist()
    return Camera((x, y, distance), float(random.uniform(*EXTENT) / (high - low).max()))


def _light(random: np.random.Generator) -> Light:
    aside = random.choice([-1, 1]) * random.uniform(0.4, 0.9)
    direction = np.array([aside, random.uniform(0.3, 0.8), random.uniform(0.4, 0.9)])
    return Light(direction / np.linalg.norm(direction), float(random.uniform(0.35, 0.6)))
