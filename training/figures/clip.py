"""Clips of moving figures as files, each of which follows from its seed and number alone."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatarify_plus.pictures.decoding import write_png
from avatarify_plus.program.whole_file import write_whole
from training.figures.body_film import film_body
from training.figures.cartoon import draw_cartoon
from training.figures.gif_file import gif_of
from training.figures.wardrobe import open_wardrobe

GIF_HZ = 25


@dataclass(frozen=True, slots=True)
class Clip(ABC):
    """A clip that is to be made in a folder; number is its own among those of its split."""

    folder: Path
    is_test: bool
    number: int
    seed: int
    side_px: int

    def chance(self) -> np.random.Generator:
        """Return what everything that it shows is drawn from."""
        return np.random.default_rng([self.seed, self.is_test, self.number])

    @property
    @abstractmethod
    def path(self) -> Path:
        """Where it lies."""

    @abstractmethod
    def make(self) -> None:
        """Make it and write it, whole or not at all. Raises AvatarifyError or OSError."""


@dataclass(frozen=True, slots=True)
class AnimalClip(Clip):
    """A GIF of an animal, as MGif has them."""

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"{self.number:05}.gif"

    def make(self) -> None:
        """See `Clip.make`."""
        write_whole(self.path, gif_of(draw_cartoon(self.chance(), self.side_px), GIF_HZ))


@dataclass(frozen=True, slots=True)
class BodyClip(Clip):
    """A folder of the pictures of a body, as TaiChiHD has them: named like a video.

    assets: the folder of suits and hair, see `open_wardrobe`.
    """

    frames: int
    assets: Path

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder / f"{self.number:05}#000000#{self.frames:06}.mp4"

    def make(self) -> None:
        """See `Clip.make`."""
        draft = self.folder / f".{self.path.name}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        wardrobe = open_wardrobe(self.assets).worn_in(self.is_test)
        for number, picture in enumerate(film_body(wardrobe, self.chance(), self.frames, self.side_px)):
            write_png(draft / f"{number:07}.png", picture)
        draft.rename(self.path)


def make_clip(clip: Clip) -> None:
    """Make a clip; see `Clip.make`."""
    clip.make()
