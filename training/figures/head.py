"""A head: an ellipsoid with jaw and nose, a face painted on it, and ears."""

from __future__ import annotations

import cv2
import numpy as np

from avatarify_plus.types import Image
from training.figures.mesh import Mesh, Points, ellipsoid, plain_texture
from training.figures.skeleton import Build, Skeleton

RADII_DM: dict[Build, tuple[float, float, float]] = {"female": (0.74, 1.12, 0.9), "male": (0.8, 1.16, 0.96)}

PARALLELS = 18
"""How many bands of faces a head has from top to bottom."""

TEXTURE_PX = 256
"""The height of a head's texture, which is twice as wide."""


class _Paint:
    """A picture wrapped around a head; places are (degrees from the middle of the face, share of the height)."""

    def __init__(self, colour: Points) -> None:
        self.picture: Image = np.full((TEXTURE_PX, 2 * TEXTURE_PX, 3), colour.clip(0, 255), np.uint8)

    def oval(self, turn: float, down: float, half_width: float, half_height: float, colour: Points) -> None:
        """Paint an oval around a place."""
        axes = (round(half_width / 180 * TEXTURE_PX), round(half_height * TEXTURE_PX))
        cv2.ellipse(self.picture, _texel(turn, down), axes, 0, 0, 360, _levels(colour), -1, cv2.LINE_AA)

    def stroke(self, places: list[tuple[float, float]], width_px: int, colour: Points) -> None:
        """Paint a line from place to place."""
        line = np.array([_texel(*place) for place in places])
        cv2.polylines(self.picture, [line], False, _levels(colour), width_px, cv2.LINE_AA)


def _texel(turn: float, down: float) -> tuple[int, int]:
    return round((1 + turn / 180) * TEXTURE_PX), round(down * TEXTURE_PX)


def _levels(colour: Points) -> list[float]:
    return colour.clip(0, 255).tolist()


def make_head(skeleton: Skeleton, build: Build, tone: Points, hair: Points, random: np.random.Generator) -> Mesh:
    """Return the head of a body at rest, with a face drawn by chance. tone, hair: colours (3,) in [0, 255]."""
    base, crown = skeleton.at_rest("head"), skeleton.at_rest("crown")
    radii = np.array(RADII_DM[build])
    centre = np.array([0, crown[1] + 0.05 - radii[1], base[2] + 0.25])
    head = ellipsoid(centre, radii, _face(tone, hair, random), PARALLELS)
    x, y, z = (head.points - centre).T
    z += np.where(z > 0, 0.28 * _bump(x, y + 0.2, 0.14, 0.22) - 0.12 * _bump(np.abs(x) - 0.3, y - 0.08, 0.2, 0.15), 0)
    x *= 1 - 0.3 * (-y / radii[1]).clip(0) ** 2  # the jaw is narrower
    return head._replace(points=centre + np.stack([x, y, z], 1))


def _bump(x: Points, y: Points, width: float, height: float) -> Points:
    return np.exp(-((x / width) ** 2) - (y / height) ** 2)


def make_ears(head: Mesh, tone: Points) -> list[Mesh]:
    """Return the ears of a head. tone: the skin's colour (3,) in [0, 255]."""
    low, high = head.points.min(0), head.points.max(0)
    middle, skin = (low + high) / 2, plain_texture(0.95 * tone)
    return [ellipsoid((x, middle[1], middle[2] - 0.1), (0.1, 0.28, 0.17), skin, 6) for x in (low[0], high[0])]


def _face(tone: Points, hair: Points, random: np.random.Generator) -> Image:
    """Return a head's texture (H, W, 4): eyes, brows, nose and mouth in its middle, hair above and behind."""
    paint = _Paint(tone)
    iris = random.uniform((20, 30, 30), (90, 90, 120))
    for side in (-1, 1):
        paint.oval(24 * side, 0.475, 11, 0.035, 0.8 * tone)
        paint.oval(24 * side, 0.48, 8.5, 0.02, np.full(3, 235.0))
        paint.oval(24 * side, 0.48, 4, 0.021, iris)
        paint.stroke([(13 * side, 0.43), (24 * side, 0.415), (36 * side, 0.435)], 4, 0.7 * hair + 0.1 * tone)
        paint.oval(6 * side, 0.605, 3, 0.01, 0.55 * tone)
        paint.oval(45 * side, 0.6, 12, 0.05, tone * (1.03, 0.96, 0.95))
    paint.oval(0, 0.7, 14, 0.022, tone * (0.85, 0.55, 0.55))
    paint.stroke([(-14, 0.698), (14, 0.698)], 2, 0.33 * tone)
    picture = cv2.GaussianBlur(paint.picture, (5, 5), 0)
    turn, down = np.meshgrid(np.linspace(-180, 180, 2 * TEXTURE_PX), np.linspace(0, 1, TEXTURE_PX))
    picture[down < 0.3 + 0.35 * np.clip((np.abs(turn) - 50) / 40, 0, 1)] = hair.clip(0, 255)
    return np.dstack([picture, np.full_like(picture[..., 0], 255)])
