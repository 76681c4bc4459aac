"""Animals of a cartoon, seen from the side: what shapes they have at each moment of their gait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from training.figures.gait import Gait, drawn_gait
from training.figures.mesh import Points
from training.figures.skeleton import reach

Colour = tuple[float, float, float]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (25, 20, 20)

TWO_LEGS_SHARE = 0.3
"""How many of all animals stand upright on two legs."""

ERECT_RAD = 0.9
"""How steep those are."""

AROUND = np.linspace(0, 2 * np.pi, 33)[:-1]
HALF_AROUND = np.linspace(-np.pi / 2, np.pi / 2, 9)


class Shape(NamedTuple):
    """Polygons (N, 2) that overlap, of one colour in [0, 255], together in one outline or in none."""

    polygons: list[Points]
    colour: Colour
    has_outline: bool = True


@dataclass(frozen=True, slots=True)
class Animal:
    """An animal that looks along x; y points up, the ground is y = 0, and legs are about 1 long.

    body, head: (2,), half length and half height. neck, tail: (2,), how long, and how steep in rad. ear, horn, wing:
    how long, 0 for none. leg_width, tail_width, snout: half widths, and a length. coat: what it is coloured in. shade:
    far legs, far ear and spots. belly, accent: its underside; beak and horn. spots: (N, 3), their places, in halves of
    the body, and sizes. swing: (4,), how far head, ears, tail and wings swing, in rad.
    """

    gait: Gait
    has_two_legs: bool
    body: Points
    head: Points
    neck: Points
    tail: Points
    ear: float
    horn: float
    wing: float
    leg_width: float
    tail_width: float
    snout: float
    coat: Colour
    shade: Colour
    belly: Colour
    accent: Colour
    spots: Points
    swing: Points

    def shapes(self, phase: float) -> list[Shape]:
        """Return its shapes from back to front at a moment of its cycle, whose phase goes from 0 to 1."""
        turn = 2 * np.pi * phase
        height, pitch = self.gait.body(phase)
        lean = pitch + ERECT_RAD * self.has_two_legs
        trunk = _Frame(np.array([0.0, 0.92 + 0.5 * self.body[1] + height]), self.body, lean)
        front, back = trunk.at(0.75, 0), trunk.at(-0.75, 0)
        hips = [trunk.at(-0.3, -0.4)] if self.has_two_legs else [trunk.at(0.75, -0.3), trunk.at(-0.75, -0.3)]
        near = [Shape(self._leg(2 * pair, phase, hip), self.coat) for pair, hip in enumerate(hips)]
        far = [Shape(self._leg(2 * pair + 1, phase, hip), self.shade) for pair, hip in enumerate(hips)]
        head = front + _vector(self.neck[0], self.neck[1] + 0.5 * pitch + self.swing[0] * np.sin(turn + 1))
        return [
            *far,
            *self._wing(trunk, turn + 0.5, self.shade),
            self._tail(back, lean, turn),
            Shape([trunk.oval(0, 0, 1, 1), _capsule(front, head, 0.6 * self.body[1], 0.7 * self.head[1])], self.coat),
            Shape([trunk.oval(0, -0.35, 0.75, 0.5)], self.belly, False),
            *(Shape([trunk.oval(x, y, size, size)], self.shade, False) for x, y, size in self.spots),
            *near,
            *self._head(_Frame(head, self.head, 0.7 * self.swing[0] * np.sin(turn + 1.5) - 0.15), turn),
            *self._wing(trunk, turn, self.coat),
        ]

    def _leg(self, number: int, phase: float, hip: Points) -> list[Points]:
        width = self.leg_width
        step, height = self.gait.foot(number, phase)
        foot = np.array([hip[0] + step, height + self.gait.height(phase) + 0.5 * width])
        half = 0.62 * max(float(hip[1] - self.gait.body(phase)[0]) - 0.5 * width, 0.8)
        knee, ankle = reach(hip, foot, half, half, np.array([1.0 if number >= 2 else -1.0, 0.0]))
        return [
            _capsule(hip, knee, 1.3 * width, 0.85 * width),
            _capsule(knee, ankle, 0.85 * width, 0.65 * width),
            _capsule(ankle, ankle + np.array([1.2 * width, -0.1 * width]), 0.65 * width, 0.5 * width),
        ]

    def _wing(self, trunk: _Frame, turn: float, colour: Colour) -> list[Shape]:
        if not self.wing:
            return []
        root, up = trunk.at(0.2, 0.5), 2.0 + self.swing[3] * np.sin(2 * turn)
        feathers = [
            root + _vector(self.wing * length, up + angle) for length, angle in ((1, 0), (0.75, 0.4), (0.5, 0.9))
        ]
        return [Shape([np.stack([root, *feathers])], colour)]

    def _tail(self, root: Points, lean: float, turn: float) -> Shape:
        length, steep = 0.5 * self.tail[0], np.pi - self.tail[1] + lean + self.swing[2] * np.sin(turn)
        middle = root + _vector(length, steep)
        end = middle + _vector(length, steep - 0.5 + self.swing[2] * np.sin(turn - 0.8))
        widths = self.tail_width * np.array([1, 0.8, 0.5])
        return Shape([_capsule(root, middle, *widths[:2]), _capsule(middle, end, *widths[1:])], self.coat)

    def _head(self, face: _Frame, turn: float) -> list[Shape]:
        small = 0.18 * float(self.head.min())
        flap = face.angle + self.swing[1] * np.sin(turn + 2)
        shapes = []
        if self.ear:
            shapes.append(self._ear(face.at(-0.45, 0.5), 2.0 + flap, small, self.shade))
        if self.horn:
            tip = face.at(0.1, 0.8) + _vector(self.horn, 1.3 + face.angle)
            shapes.append(Shape([np.stack([face.at(-0.15, 0.6), tip, face.at(0.3, 0.7)])], self.accent))
        mouth = face.at(0.8, -0.25) + _vector(self.snout, face.angle - 0.1)
        if self.has_two_legs:
            beak = np.stack([face.at(0.75, 0.25), mouth + _vector(0.3 * self.head[0], face.angle), face.at(0.75, -0.4)])
            shapes.append(Shape([beak], self.accent))
        else:
            shapes.append(
                Shape([_capsule(face.at(0.5, -0.2), mouth, 0.6 * self.head[1], 0.4 * self.head[1])], self.coat)
            )
        shapes.append(Shape([face.oval(0, 0, 1, 1)], self.coat))
        if not self.has_two_legs:
            shapes.append(Shape([_disc(mouth + _vector(0.35 * self.head[1], face.angle + 0.3), small)], BLACK, False))
        if self.ear:
            shapes.append(self._ear(face.at(-0.25, 0.5), 1.7 + flap, small, self.coat))
        shapes.append(Shape([_disc(face.at(0.35, 0.25), 1.5 * small)], WHITE))
        shapes.append(Shape([_disc(face.at(0.42, 0.25), 0.8 * small)], BLACK, False))
        return shapes

    def _ear(self, root: Points, angle: float, small: float, colour: Colour) -> Shape:
        return Shape([_capsule(root, root + _vector(self.ear, angle), 1.6 * small, 0.7 * small)], colour)


class _Frame(NamedTuple):
    """An ellipse whose places are said in its half axes."""

    centre: Points
    half: Points
    angle: float

    def at(self, x: float, y: float) -> Points:
        """Return a place (2,)."""
        return self._places(np.array([(x, y)]))[0]

    def oval(self, x: float, y: float, width: float, height: float) -> Points:
        """Return an ellipse (32, 2) around a place, its half axes in those of this one."""
        return self._places(np.array([x, y]) + _disc(np.zeros(2), 1.0) * (width, height))

    def _places(self, shares: Points) -> Points:
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return self.centre + (self.half * shares) @ np.array([(cos, sin), (-sin, cos)])


def drawn_animal(random: np.random.Generator) -> Animal:
    """Return an animal drawn by chance."""

    def perhaps(share: float, low: float, high: float) -> float:
        """Return a length, or 0 more or less often."""
        length = float(random.uniform(low, high))
        return length if random.random() < share else 0.0

    has_two_legs = bool(random.random() < TWO_LEGS_SHARE)
    coat, long, head = random.uniform(40, 245, 3), random.uniform(0.5, 1.3), random.uniform(0.25, 0.5)
    return Animal(
        gait=drawn_gait(random),
        has_two_legs=has_two_legs,
        body=np.array([long, random.uniform(0.32, 0.6) * long]),
        head=np.array([head * random.uniform(1.0, 1.3), head]),
        neck=random.uniform((0.3, 0.4), (1.1, 1.2)),
        tail=random.uniform((0.3, -0.9), (1.3, 0.9)),
        ear=perhaps(0.7, 0.2, 0.8),
        horn=perhaps(0.3, 0.2, 0.6),
        wing=perhaps(0.9 if has_two_legs else 0.15, 0.6, 1.3),
        leg_width=float(random.uniform(0.08, 0.2)),
        tail_width=float(random.uniform(0.05, 0.22)),
        snout=float(random.uniform(0.05, 0.4)),
        coat=_colour(coat),
        shade=_colour(0.72 * coat),
        belly=_colour(0.4 * coat + 150 if random.random() < 0.6 else coat),
        accent=_colour(random.uniform(40, 245, 3)),
        spots=random.uniform((-0.6, -0.1, 0.08), (0.6, 0.6, 0.22), (int(random.integers(0, 6)), 3)),
        swing=random.uniform((0.02, 0.05, 0.1, 0.3), (0.12, 0.35, 0.5, 0.9)),
    )


def _colour(values: Points) -> Colour:
    red, green, blue = values.tolist()
    return red, green, blue


def _vector(length: float, angle: float) -> Points:
    return length * np.array([np.cos(angle), np.sin(angle)])


def _disc(centre: Points, radius: float) -> Points:
    return centre + radius * np.stack([np.cos(AROUND), np.sin(AROUND)], 1)


def _capsule(first: Points, second: Points, first_radius: float, second_radius: float) -> Points:
    """Return the outline (18, 2) of a line that is as wide as its radii at its ends, and round there."""
    angles = np.arctan2(*(second - first)[::-1]) + HALF_AROUND
    half = np.stack([np.cos(angles), np.sin(angles)], 1)
    return np.concatenate([second + second_radius * half, first - first_radius * half])
