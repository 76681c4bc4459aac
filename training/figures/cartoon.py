"""Short cartoons of animals that move in place, over and over, in front of a plain background."""

from __future__ import annotations

import cv2
import numpy as np

from avatarify_plus.types import Image
from training.figures.animal import Shape, drawn_animal
from training.figures.mesh import Points

OVERSAMPLING = 4
"""Cartoons are drawn so many times as large and averaged."""

FRAMES = (14, 26)
"""A cartoon has at least the one and less than the other number of pictures."""

EXTENT = (0.7, 0.92)
"""What share of the picture's side an animal moves in, at least and at most."""

MAX_OUTLINE = 0.01
"""How wide an outline is at most, in the picture's sides."""


def draw_cartoon(random: np.random.Generator, side_px: int) -> list[Image]:
    """Return the pictures (side_px, side_px, 3) of one cycle of an animal's gait; all of it is drawn by chance."""
    animal = drawn_animal(random)
    count = int(random.integers(*FRAMES))
    frames = [animal.shapes(number / count) for number in range(count)]
    side = OVERSAMPLING * side_px
    sheet = _Sheet(frames, side, random)
    return [
        cv2.resize(sheet.draw(shapes), (side_px, side_px), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        for shapes in frames
    ]


class _Sheet:
    """What all pictures of a cartoon have in common: its background and outlines, and where the animal is in it."""

    def __init__(self, frames: list[list[Shape]], side: int, random: np.random.Generator) -> None:
        points = np.concatenate([polygon for shapes in frames for shape in shapes for polygon in shape.polygons])
        low, high = points.min(0), points.max(0)
        scale = float(random.uniform(*EXTENT)) * side / float((high - low).max())
        self._axes = scale * np.array([random.choice([-1, 1]), -1])
        free = 0.9 * side - scale * (high - low)
        self._origin = side / 2 + random.uniform(-0.5, 0.5, 2) * free.clip(0) - self._axes * (low + high) / 2
        self._outline = random.uniform(0, 60, 3).tolist()
        self._thickness = max(1, round(2 * side * random.uniform(0, MAX_OUTLINE)))
        self._background = _background(random, side)

    def draw(self, shapes: list[Shape]) -> Image:
        """Return a picture of shapes, the last in front."""
        picture = self._background.copy()
        for shape in shapes:
            polygons = [self._in_sixteenths(polygon) for polygon in shape.polygons]
            if shape.has_outline:
                cv2.polylines(picture, polygons, True, self._outline, self._thickness, cv2.LINE_AA, 4)
            for polygon in polygons:
                cv2.fillPoly(picture, [polygon], shape.colour, cv2.LINE_AA, 4)
        return picture

    def _in_sixteenths(self, polygon: Points) -> Points:
        """Return a polygon in sixteenths of px."""
        return (16 * (self._origin + self._axes * polygon)).round().astype(np.int32)


def _background(random: np.random.Generator, side: int) -> Image:
    """Return white more often than one colour, which in half of the pictures ends where another, the ground, begins."""
    picture = np.full((side, side, 3), 255, np.uint8)
    if random.random() < 0.4:
        picture[:] = random.uniform(120, 255, 3)
        if random.random() < 0.5:
            picture[round(side * random.uniform(0.7, 0.9)) :] = random.uniform(60, 220, 3)
    return picture
