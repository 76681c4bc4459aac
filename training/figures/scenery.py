"""Where bodies move: rooms and gardens, drawn by chance, and shadows on the ground."""

from __future__ import annotations

import cv2
import numpy as np

from avatarify_plus.types import Image
from training.figures.mesh import Points
from training.figures.renderer import Camera

OUTSIDE_SHARE = 0.35
"""How often a scenery is a garden."""

WIDE_DM = 60.0
NEAR_DM = 25.0
"""How far floors reach to both sides, and towards the camera."""

SHADOW_DM = 1.6
"""How wide a shadow is on both sides of what casts it."""


class Scenery:
    """What lies behind a body that stands on the plane y = 0 around x = z = 0, as a still camera sees it."""

    def __init__(self, random: np.random.Generator, camera: Camera, side_px: int) -> None:
        self._random, self._camera = random, camera
        self._picture: Image = np.zeros((side_px, side_px, 3), np.uint8)
        self._back = -float(random.uniform(8, 30))
        if random.random() < OUTSIDE_SHARE:
            self._fade(
                random.uniform((90, 140, 190), (160, 200, 250)), random.uniform((190, 200, 210), (250, 245, 240))
            )
            self._plant()
            self._lay_ground(random.uniform((60, 90, 40), (140, 160, 90)))
        else:
            paint = random.uniform(80, 235) * random.uniform(0.82, 1.12, 3)
            self._fade(paint * random.uniform(0.75, 1.1), paint)
            self._furnish()
            floor = random.uniform(60, 200) * random.uniform(0.8, 1.15, 3)
            self._lay_ground(floor)
            self._join_boards(0.8 * floor)
        self.picture = self._weathered()

    def _fade(self, top: Points, bottom: Points) -> None:
        share = np.linspace(0, 1, len(self._picture))[:, None, None]
        self._picture[:] = ((1 - share) * top + share * bottom).clip(0, 255)

    def _lay_ground(self, colour: Points) -> None:
        self._fill(
            [(-WIDE_DM, 0, self._back), (WIDE_DM, 0, self._back), (WIDE_DM, 0, NEAR_DM), (-WIDE_DM, 0, NEAR_DM)], colour
        )

    def _fill(self, corners: list[tuple[float, float, float]], colour: Points) -> None:
        places = self._camera.project(np.array(corners), len(self._picture))[:, :2]
        cv2.fillConvexPoly(self._picture, (16 * places).round().astype(np.int32), _levels(colour), cv2.LINE_AA, 4)

    def _hang(self, left: float, low: float, right: float, high: float, colour: Points) -> None:
        """Fill a rectangle of the back wall."""
        self._fill([(x, y, self._back) for x, y in ((left, low), (right, low), (right, high), (left, high))], colour)

    def _furnish(self) -> None:
        """Put up pictures, windows and doors, and the wall's base."""
        random = self._random
        for _ in range(int(random.integers(0, 5))):
            left, low = random.uniform(-18, 14), random.choice([0.0, random.uniform(6, 14)])
            right, high, rim = left + random.uniform(2, 9), low + random.uniform(3, 12), random.uniform(0.2, 0.6)
            self._hang(left, low, right, high, random.uniform(30, 240) * random.uniform(0.8, 1.1, 3))
            self._hang(left + rim, low + rim, right - rim, high - rim, random.uniform(30, 240, 3))
        self._hang(-WIDE_DM, 0, WIDE_DM, 0.8, np.full(3, random.uniform(30, 230)))

    def _plant(self) -> None:
        """Put up bushes."""
        random = self._random
        for _ in range(int(random.integers(4, 14))):
            bush = np.array([(random.uniform(-25, 25), random.uniform(0, 10), self._back)])
            radii = random.uniform(2, 7, 2) * self._camera.scale(bush[:, 2], len(self._picture))
            ((x, y, _),) = self._camera.project(bush, len(self._picture))
            place, axes = (round(x), round(y)), (round(radii[0]), round(radii[1]))
            colour = _levels(random.uniform((30, 60, 20), (110, 150, 80)))
            cv2.ellipse(self._picture, place, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)

    def _join_boards(self, colour: Points) -> None:
        """Draw the joints of the floor's boards."""
        width = self._random.uniform(2, 6)
        for x in np.arange(-WIDE_DM, WIDE_DM, width) + self._random.uniform(0, width):
            ends = self._camera.project(np.array([(x, 0, self._back), (x, 0, NEAR_DM)]), len(self._picture))[:, :2]
            first, second = (16 * ends).round().astype(int).tolist()
            cv2.line(self._picture, first, second, _levels(colour), 1, cv2.LINE_AA, 4)

    def _weathered(self) -> Image:
        """Return the picture unevenly lit and a little stained."""
        side, random = len(self._picture), self._random
        light = cv2.resize(random.uniform(0.8, 1.1, (3, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
        stains = cv2.resize(random.normal(0, 4, (side // 8, side // 8, 3)), (side, side))
        return (self._picture * light[..., None] + stains).round().clip(0, 255).astype(np.uint8)

    def shaded(self, places: Points) -> Image:
        """Return the picture with soft shadows below places (N, 3)."""
        side = len(self.picture)
        row, column = np.mgrid[:side, :side] + 0.5
        light = np.ones((side, side))
        for place in places:
            ((x, y, _),) = self._camera.project(place[None] * (1, 0, 1), side)
            wide = float(self._camera.scale(place[2], side)) * SHADOW_DM * (1 + 0.15 * place[1])
            depth = 0.45 / (1 + 0.3 * place[1])
            light *= 1 - depth * np.exp(-(((column - x) / wide) ** 2) - ((row - y) / (0.35 * wide)) ** 2)
        return (self.picture * light[..., None]).round().astype(np.uint8)


def _levels(colour: Points) -> list[float]:
    return colour.clip(0, 255).tolist()
