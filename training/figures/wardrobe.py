"""What bodies wear: suits and hair from a folder of MakeHuman's CC0 assets, which is not part of the project."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from avatarify_plus.errors import DataError
from avatarify_plus.types import Image
from training.figures.mesh import Mesh, Points, plain_texture, read_wavefront
from training.figures.skeleton import BUILDS, Build

TEXTURE_PX = 256
"""The side that textures are shrunk to: more would only flicker in small pictures."""

COLLAR_DM: dict[Build, float] = {"female": 5.5, "male": 7.0}
"""How high suits reach."""

MAX_OFF_DM = 1.0
"""A suit that reaches higher or less high by more than this has another origin, and is moved."""

HELD_BACK = 0.25
"""At least this share of the suits of each build and of the hair is worn in test clips alone."""

CAP_DM = 1.3
HAIR_WIDTH = 1.12
"""The upper CAP_DM of hair are so many times as wide as the head."""

HAIR_ABOVE_DM = 0.08
"""How far hair reaches above the head."""


class Wardrobe(NamedTuple):
    """The folders of suits, by the build that they are made for, and of hair."""

    suits: dict[Build, list[Path]]
    hair: list[Path]

    def worn_in(self, is_test: bool) -> Wardrobe:
        """Return what is worn in test clips, or what is worn in training clips."""
        return Wardrobe(
            {build: _part(suits, is_test) for build, suits in self.suits.items()}, _part(self.hair, is_test)
        )


def _part(things: list[Path], is_test: bool) -> list[Path]:
    count = max(1, round(HELD_BACK * len(things)))
    return things[-count:] if is_test else things[:-count]


def open_wardrobe(assets: Path) -> Wardrobe:
    """Return what a folder of assets holds: clothes/female_NAME, clothes/male_NAME and hair/NAME, each with its .obj.

    Raises DataError unless there are two of each, since test clips show others than training clips.
    """
    suits = {build: _models(assets / "clothes", f"{build}_*") for build in BUILDS}
    hair = _models(assets / "hair", "*")
    counts = {**{f"clothes/{build}_NAME": len(found) for build, found in suits.items()}, "hair/NAME": len(hair)}
    few = [f"{count} of {name}" for name, count in counts.items() if count < 2]
    if few:
        raise DataError(f"{assets} must hold two or more folders of each kind with their .obj, found {', '.join(few)}")
    return Wardrobe(suits, hair)


def _models(folder: Path, pattern: str) -> list[Path]:
    return [path for path in sorted(folder.glob(pattern)) if _model(path).is_file()]


def _model(folder: Path) -> Path:
    return folder / f"{folder.name}.obj"


def read_suit(folder: Path, build: Build, random: np.random.Generator) -> Mesh:
    """Return a suit where the body is that it is made for, dyed by chance. Raises DataError if it cannot be read."""
    suit = read_wavefront(_model(folder), _dyed(_texture(folder), random), is_open=True)
    off = COLLAR_DM[build] - float(suit.points[:, 1].max())
    return suit._replace(points=suit.points + np.array([0, off, 0])) if abs(off) > MAX_OFF_DM else suit


def read_hair(folder: Path, head: Mesh, colour: Points) -> Mesh:
    """Return hair on a head, of a colour (3,) in [0, 255]. Raises DataError if it cannot be read."""
    texture = _texture(folder)
    grey = texture[..., :3].mean(-1, keepdims=True)
    strands = (0.4 + 0.6 * grey / max(float(grey[texture[..., 3] >= 128].mean()), 1.0)).clip(0, 1.3)
    coloured = np.dstack([(strands * colour).clip(0, 255).astype(np.uint8), texture[..., 3]])
    hair = read_wavefront(_model(folder), coloured, is_open=True)
    cap = hair.points[hair.points[:, 1] > hair.points[:, 1].max() - CAP_DM]
    scale = HAIR_WIDTH * np.ptp(head.points[:, 0]) / np.ptp(cap[:, 0])
    top = _top_of(head.points) + np.array([0, HAIR_ABOVE_DM, 0])
    return hair._replace(points=top + scale * (hair.points - _top_of(cap)))


def _top_of(points: Points) -> Points:
    """Return the middle of the upper side of the box around points."""
    low, high = points.min(0), points.max(0)
    return np.array([(low[0] + high[0]) / 2, high[1], (low[2] + high[2]) / 2])


def _texture(folder: Path) -> Image:
    """Return the texture (H, W, 4) of a folder's model, white if it has none. Raises DataError if it is damaged."""
    paths = sorted(path for path in folder.iterdir() if "_diffuse." in path.name)
    if not paths:
        return plain_texture((255, 255, 255))
    picture = cv2.imread(str(paths[0]), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim != 3:
        raise DataError(f"cannot read the texture {paths[0]}")
    colours, others = cv2.cvtColor(picture[..., :3], cv2.COLOR_BGR2RGB), picture[..., 3:]
    alpha = others if others.size else np.full_like(colours[..., :1], 255)
    return np.dstack(
        [cv2.resize(part, (TEXTURE_PX, TEXTURE_PX), interpolation=cv2.INTER_AREA) for part in (colours, alpha)]
    )


def _dyed(texture: Image, random: np.random.Generator) -> Image:
    """Return a texture (H, W, 4) in other colours: hues turned, saturation and lightness changed."""
    turn, lightness = random.integers(180), random.uniform(50, 190)
    strength, least = random.uniform(0.6, 1.6), random.uniform(20, 140)
    hsv = cv2.cvtColor(np.ascontiguousarray(texture[..., :3]), cv2.COLOR_RGB2HSV).astype(np.float64)
    hue, saturation, value = np.moveaxis(hsv, -1, 0)
    changed = np.stack(
        [
            (hue + turn) % 180,
            np.maximum(saturation * strength, least).clip(0, 255),
            (value * lightness / max(float(value.mean()), 1.0)).clip(0, 255),
        ],
        -1,
    )
    return np.dstack([cv2.cvtColor(changed.astype(np.uint8), cv2.COLOR_HSV2RGB), texture[..., 3]])
