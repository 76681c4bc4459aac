"""A person: the surfaces of a body that wears a suit, and how they follow its skeleton."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from avatarify_plus.types import Image
from training.figures.head import make_ears, make_head
from training.figures.mesh import Mesh, Points, ellipsoid, plain_texture, tube
from training.figures.skeleton import BUILDS, SIDES, Build, Pose, Proportions, Skeleton
from training.figures.skin import bone_maps, bone_weights, posed_points
from training.figures.wardrobe import Wardrobe, read_hair, read_suit

Colours = tuple[tuple[int, int, int], ...]

SKINS: Colours = ((236, 200, 178), (222, 178, 146), (198, 148, 112), (160, 110, 78), (124, 84, 60), (104, 70, 52))
HAIR: Colours = ((30, 24, 22), (58, 40, 28), (96, 64, 38), (150, 110, 66), (190, 160, 110), (120, 56, 30), (150,) * 3)
"""What colours of skin and hair are chosen from."""

SHORTEST = Proportions(0.95, 0.92, 0.94, 0.92)
LONGEST = Proportions(1.05, 1.05, 1.06, 1.12)
"""Between these, proportions are drawn by chance."""

STOUTNESS: dict[Build, float] = {"female": 1.0, "male": 1.2}
"""What the thickness of limbs is multiplied by."""

TORSO: dict[Build, tuple[tuple[float, float, float, float], ...]] = {
    "female": (
        *((-0.4, 0.15, 1.45, 0.9), (0.5, 0.2, 1.5, 0.95), (1.5, 0.45, 1.25, 0.8), (2.3, 0.55, 1.12, 0.78)),
        *((3.2, 0.55, 1.15, 0.8), (4.2, 0.3, 1.2, 0.75), (4.8, 0.05, 1.15, 0.45), (5.15, 0.0, 0.5, 0.45)),
    ),
    "male": (
        *((-0.4, 0.2, 1.5, 0.9), (0.6, 0.2, 1.5, 1.0), (2.0, 0.3, 1.4, 0.9), (3.2, 0.35, 1.4, 0.95)),
        *((4.6, 0.35, 1.45, 0.95), (5.6, 0.15, 1.5, 0.75), (6.2, 0.05, 1.2, 0.5), (6.6, 0.0, 0.6, 0.5)),
    ),
}
"""Rings of the torso from bottom to top, just inside of the suits: y and z of the middle, half width, half depth."""

ARM_DM = (0.4, 0.4, 0.33, 0.35, 0.22)
LEG_DM = (0.7, 0.66, 0.48, 0.5, 0.3)
"""Radii of limbs, evenly spread from where they hang to wrist and ankle."""

COVERED_DM = 0.55
"""Flesh that is nearer than this to a suit is covered by it."""

INSIDE_HEM_DM = 0.8
"""Covered flesh is kept if it is nearer than this to bare flesh."""


class Part(NamedTuple):
    """A surface at rest, and how much each of its points follows each bone, (V, 17)."""

    mesh: Mesh
    weights: Points


class Person:
    """One person, drawn by chance: build, proportions, colours, suit and hair."""

    def __init__(self, wardrobe: Wardrobe, random: np.random.Generator) -> None:
        """Dress a person. Raises DataError if something of the wardrobe cannot be read."""
        build = BUILDS[random.integers(len(BUILDS))]
        self.skeleton = Skeleton(build, Proportions(*map(float, random.uniform(SHORTEST, LONGEST))))
        tone, hair_colour = _one_of(SKINS, random), _one_of(HAIR, random)
        suits = wardrobe.suits[build]
        suit = read_suit(suits[random.integers(len(suits))], build, random)
        head = make_head(self.skeleton, build, tone, hair_colour, random)
        hair = read_hair(wardrobe.hair[random.integers(len(wardrobe.hair))], head, hair_colour)
        bare = [_without_covered(mesh, suit.points) for mesh in _flesh(self.skeleton, build, tone)]
        self._parts = [Part(mesh, bone_weights(mesh, self.skeleton)) for mesh in (suit, *bare)]
        self._parts += [self._rigid(mesh, "head") for mesh in (head, hair, *make_ears(head, tone))]
        shoe = plain_texture(random.uniform(20, 230, 3))
        for side in SIDES:
            self._parts += [self._rigid(mesh, f"{side} hand") for mesh in _hand(self.skeleton, side, build, tone)]
            self._parts.append(self._rigid(_shoe(self.skeleton, side, build, shoe), f"{side} foot"))

    def _rigid(self, mesh: Mesh, bone: str) -> Part:
        return Part(mesh, bone_weights(mesh, self.skeleton, bone))

    def posed(self, pose: Pose) -> list[Mesh]:
        """Return the person's surfaces in a pose."""
        maps = bone_maps(self.skeleton, pose)
        return [mesh._replace(points=posed_points(mesh.points, weights, maps)) for mesh, weights in self._parts]


def _one_of(colours: Colours, random: np.random.Generator) -> Points:
    """Return one of some colours (3,), a little lighter or darker, warmer or colder."""
    chosen = np.array(colours[random.integers(len(colours))])
    return chosen * random.uniform(0.88, 1.08) * random.uniform(0.97, 1.03, 3)


def _flesh(skeleton: Skeleton, build: Build, tone: Points) -> list[Mesh]:
    """Return torso and neck, arms and legs."""
    skin, stout = plain_texture(tone), STOUTNESS[build]
    height, front, *half = np.array(TORSO[build]).T
    torso = tube(np.stack([0 * height, height, front], 1), np.stack(half, 1), skin, 20)
    neck, head = skeleton.at_rest("neck"), skeleton.at_rest("head")
    throat = np.array([neck, (neck + head) / 2, head]) + np.array([(0, -0.4, 0), (0, 0, 0), (0, 0.3, 0.1)])
    meshes = [torso, tube(throat, np.full((3, 2), 0.45 * stout), skin)]
    for side in SIDES:
        for joints, radii in ((("shoulder", "elbow", "wrist"), ARM_DM), (("hip", "knee", "ankle"), LEG_DM)):
            ends = np.array([skeleton.at_rest(f"{side} {joint}") for joint in joints])
            time = np.linspace(0, 2, 17)
            line = np.stack([np.interp(time, (0, 1, 2), axis) for axis in ends.T], 1)
            thick = stout * np.interp(time, np.linspace(0, 2, len(radii)), radii)
            meshes.append(tube(line, np.stack([thick, thick], 1), skin))
    return meshes


def _without_covered(flesh: Mesh, suit: Points) -> Mesh:
    """Return flesh without what a suit's points (N, 3) cover, except a little inside of its hems."""
    is_kept = _distances(flesh.points, suit) > COVERED_DM
    if is_kept.any():
        is_kept = _distances(flesh.points, flesh.points[is_kept]) < INSIDE_HEM_DM
    faces = is_kept[flesh.faces].any(1)
    return flesh._replace(faces=flesh.faces[faces], corners=flesh.corners[faces])


def _distances(points: Points, others: Points) -> Points:
    """Return how far each of the points (V, 3) is from the nearest of the others (N, 3)."""
    return np.array([np.sqrt(((others - point) ** 2).sum(1).min()) for point in points])


def _hand(skeleton: Skeleton, side: str, build: Build, tone: Points) -> list[Mesh]:
    """Return a palm with its fingers, and a thumb."""
    skin, stout = plain_texture(tone), STOUTNESS[build]
    wrist = skeleton.at_rest(f"{side} wrist")
    hand = skeleton.at_rest(f"{side} fingers") - wrist
    line = wrist + np.array([-0.15, 0.15, 0.45, 0.75, 1.0])[:, None] * hand
    palm = stout * np.array([(0.2, 0.18), (0.32, 0.17), (0.42, 0.15), (0.36, 0.12), (0.2, 0.08)])
    thumb = np.array([wrist + 0.15 * hand, wrist + 0.55 * hand + np.array([0, 0.45, 0.25])])
    return [tube(line, palm, skin), tube(thumb, stout * np.array([(0.15, 0.15), (0.09, 0.09)]), skin, 8)]


def _shoe(skeleton: Skeleton, side: str, build: Build, texture: Image) -> Mesh:
    """Return a shoe, flat below."""
    ankle, toes = skeleton.at_rest(f"{side} ankle"), skeleton.at_rest(f"{side} toes")
    sole = ankle[1] - skeleton.sole_height
    centre = np.array([(ankle[0] + toes[0]) / 2, sole + 0.25, (ankle[2] + toes[2]) / 2 - 0.1])
    shoe = ellipsoid(centre, (0.45 * STOUTNESS[build], 0.6, (toes[2] - ankle[2]) / 2 + 0.45), texture)
    return shoe._replace(points=np.maximum(shoe.points, (-np.inf, sole, -np.inf)))
