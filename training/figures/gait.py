"""How animals move in place: where feet are in a cycle, and how the body goes up, down and to and fro with them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from training.figures.mesh import Points


class Gait(NamedTuple):
    """A way to move; lengths are those of the animal's legs, phases shares of the cycle.

    starts: when each foot is put down: near front, far front, near hind, far hind; of two legs the first two. duty: how
    long it stays down. stride: how far it goes meanwhile. lift: how high it is lifted. bounce: how far the body goes up
    and down, twice a cycle. flight: how high all of it flies while the first foot is up. pitch: how far the body
    rocks, in rad.
    """

    starts: tuple[float, float, float, float]
    duty: float
    stride: float
    lift: float
    bounce: float
    flight: float
    pitch: float

    def foot(self, number: int, phase: float) -> Points:
        """Return how far a foot is in front of where its leg hangs, and above the ground, (2,)."""
        own = (phase - self.starts[number]) % 1.0
        down = self.stride * (0.5 - own / self.duty)
        share = _swing(own, self.duty)
        if share == 0:
            return np.array([down, 0.0])
        forward = self.stride * (share**2 * (3 - 2 * share) - 0.5)
        return np.array([forward, self.lift * np.sin(np.pi * share)])

    def body(self, phase: float) -> Points:
        """Return how far the body is above its usual height, and how far its front is raised in rad, (2,)."""
        turn = 2 * np.pi * phase
        return np.array([self.bounce * np.sin(2 * turn) + self.height(phase), self.pitch * np.sin(turn + 0.6)])

    def height(self, phase: float) -> float:
        """Return how high all of the animal flies."""
        return self.flight * float(np.sin(np.pi * _swing((phase - self.starts[0]) % 1.0, self.duty)))


def _swing(own: float, duty: float) -> float:
    """Return how much of its way through the air a foot has gone, 0 while it is on the ground."""
    return max(own - duty, 0.0) / (1 - duty)


GAITS = {
    "walk": Gait((0.0, 0.5, 0.75, 0.25), 0.6, 0.8, 0.18, 0.03, 0.0, 0.03),
    "trot": Gait((0.0, 0.5, 0.5, 0.0), 0.5, 1.0, 0.3, 0.06, 0.0, 0.03),
    "run": Gait((0.0, 0.12, 0.5, 0.62), 0.35, 1.5, 0.45, 0.04, 0.15, 0.16),
    "jump": Gait((0.0, 0.0, 0.06, 0.06), 0.4, 0.7, 0.2, 0.0, 0.8, 0.22),
}
"""The ways that animals move in."""


def drawn_gait(random: np.random.Generator) -> Gait:
    """Return one of the ways to move, varied by chance."""
    gait = list(GAITS.values())[random.integers(len(GAITS))]
    factor = random.uniform(0.8, 1.2, 5)
    return gait._replace(
        stride=gait.stride * float(factor[0]),
        lift=gait.lift * float(factor[1]),
        bounce=gait.bounce * float(factor[2]),
        flight=gait.flight * float(factor[3]),
        pitch=gait.pitch * float(factor[4]),
    )
