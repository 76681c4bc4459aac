"""The moments at which faces are hardest to animate, seen from near: mouths wide open, closed eyes, looks aside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from avatarify_plus.face.landmarks import FACE_HEIGHT
from avatarify_plus.types import FloatArray, Image
from training.data.face_points import lip_gap_px, looks_aside, openings
from training.evaluation.face_squares import FaceSquare
from training.evaluation.metrics import CLOSED_EYES, MIN_OPEN_LIPS_PX

CLOSEUP_PX = 320
CLOSEUP_SIDE = 1.3
"""Side of a close-up as a share of the face's height."""

MIN_LOOKING_EYES = 0.15
"""Openings below this hide so much of the iris that the mesh only guesses where it is."""

MIN_LOOK_ASIDE = 0.15
"""Looks closer to the middle than this, see `looks_aside`, are not shown."""

MeshedPicture: TypeAlias = tuple[Image, FloatArray | None]
"""A picture (S, S, 3) of a face with its mesh."""

MAX_CLOSEUPS = 8
MAX_OF_A_PERSON = 2

CLOSEUP_TITLES = {
    "open-mouths": "Mouths wide open",
    "closed-eyes": "Closed eyes",
    "looks-aside": "Looks aside",
}
"""What close-ups are chosen by, with the titles that the report gives them; files are named by the keys."""


@dataclass(frozen=True, slots=True)
class Closeup:
    """One frame of a trial, cut around the face, (CLOSEUP_PX, CLOSEUP_PX, 3) each.

    person: whose motion it is. extent: how far the mouth is open in px of 256, how far the eyes are closed of their
    usual opening, or how far they look aside. predictions: one per performer.
    """

    trial: str
    person: str
    index: int
    extent: float
    source: Image
    driving: Image
    predictions: tuple[Image, ...]


class KeptCloseups:
    """The frames of one trial that are worth showing from near: of each kind the extreme one; no others are kept.

    source: the photo (S, S, 3), and source_mesh, its refined mesh or None, to cut it by.
    """

    def __init__(self, trial: str, person: str, source: Image, source_mesh: FloatArray | None) -> None:
        self._trial = trial
        self._person = person
        self._source = cut_face(source, source_mesh)
        self._kept: dict[str, Closeup] = {}
        self._eye_openings: list[float] = []

    def look(self, index: int, mesh: FloatArray, driving: MeshedPicture, predictions: Iterable[MeshedPicture]) -> None:
        """Keep a frame if it is the extreme one so far.

        mesh: the (478, 3) that says how far mouth and eyes should be open. driving, predictions: with the meshes by
        which they are cut.
        """
        eyes = float(openings(mesh).eyes)
        self._eye_openings.append(eyes)
        extents = {
            "open-mouths": lip_gap_px(mesh),
            "closed-eyes": -eyes,  # how usual that is shows only at the end
            "looks-aside": abs(looks_aside(mesh)) if eyes >= MIN_LOOKING_EYES else 0.0,
        }
        farther = {k: extent for k, extent in extents.items() if k not in self._kept or extent > self._kept[k].extent}
        if not farther:
            return
        cut = cut_face(*driving), tuple(cut_face(*prediction) for prediction in predictions)
        for kind, extent in farther.items():
            self._kept[kind] = Closeup(self._trial, self._person, index, extent, self._source, *cut)

    def finish(self) -> dict[str, Closeup]:
        """Return the extreme frame of each kind, if it is extreme at all."""
        found = {}
        least = {"open-mouths": MIN_OPEN_LIPS_PX, "closed-eyes": 1 - CLOSED_EYES, "looks-aside": MIN_LOOK_ASIDE}
        for kind, closeup in self._kept.items():
            extent = closeup.extent
            if kind == "closed-eyes":
                extent = 1 + extent / max(float(np.median(self._eye_openings)), 1e-6)
            if extent > least[kind]:
                found[kind] = replace(closeup, extent=extent)
        return found


def cut_face(image: Image, mesh: FloatArray | None) -> Image:
    """Cut a picture (S, S, 3) around the face of its mesh, upright in the picture; without a mesh it is the whole."""
    if mesh is None:
        return FaceSquare((0.5, 0.5), 1.0).cut(image, CLOSEUP_PX)
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    x, y = (low + high) / 2
    height = float(np.linalg.norm(mesh[FACE_HEIGHT[0], :2] - mesh[FACE_HEIGHT[1], :2]))
    return FaceSquare((float(x), float(y)), CLOSEUP_SIDE * height).cut(image, CLOSEUP_PX)


def most_extreme(closeups: Iterable[Closeup]) -> list[Closeup]:
    """Return the farthest few, the farthest first, with a limited number of each person."""
    chosen: list[Closeup] = []
    for closeup in sorted(closeups, key=lambda c: (-c.extent, c.trial)):
        if sum(other.person == closeup.person for other in chosen) < MAX_OF_A_PERSON:
            chosen.append(closeup)
    return chosen[:MAX_CLOSEUPS]


def closeup_rows(closeups: Sequence[Closeup]) -> list[list[Image]]:
    """Return rows of source, driving, the other performers' pictures and the measured one's."""
    return [[c.source, c.driving, *c.predictions[1:], c.predictions[0]] for c in closeups]
