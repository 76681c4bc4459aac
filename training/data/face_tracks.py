"""Follow the faces of a video from frame to frame: where they are, and where each of them breaks off."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarify_plus.face.mesh import FaceMesh
from avatarify_plus.face.photo_framing import tile_starts
from avatarify_plus.types import Image

MAX_FACES = 4
"""This many faces are looked for at once, so that the followed one is not swapped for a neighbour."""

MIN_FACE_SHARE = 0.12
"""The detector misses faces smaller than about this share of the picture's longer side (measured; a mesh's box)."""

LOOK_CLOSER_EVERY = 10
"""Every tenth frame without a face is searched in parts, for small faces."""

CUT_CHANGE = 24.0
"""A mean change of a small picture's values, out of 255, above which the picture was cut. In the 77 val clips of
docs/experiments.md the change from one frame to the next is 20 at most; unrelated pictures differ by 31 (median)."""

JUMP_OVERLAP = 0.5
"""A face whose box overlaps that of the frame before by less (intersection over union) has jumped: another face, or a
cut between two similar pictures. In the 77 val clips of docs/experiments.md it never falls below 0.54."""

LEFT_OVERLAP = 0.25
"""A face whose box overlaps the clip's first by less has left its place; as in FOMM's VoxCeleb."""

Boxes = NDArray[np.float32]
"""(..., 4): left, top, right, bottom in px."""


class NumberedFrame(NamedTuple):
    """A picture (H, W, 3) with its number in the video."""

    number: int
    image: Image


@dataclass(slots=True)
class Stretch:
    """Frames that follow one face without a break, or that show none; without a face there are no boxes."""

    width: int
    height: int
    numbers: list[int] = field(default_factory=list)
    boxes: list[Boxes] = field(default_factory=list)

    def choose(self, faces: Boxes) -> Boxes | None:
        """Return which of the next frame's boxes (N, 4) goes on with this stretch's face, if one does."""
        if not self.boxes or not len(faces):
            return None
        nearest: Boxes = faces[int(np.argmax(overlap(faces, self.boxes[-1])))]
        is_same = overlap(nearest, self.boxes[-1]) >= JUMP_OVERLAP and overlap(nearest, self.boxes[0]) >= LEFT_OVERLAP
        return nearest if is_same else None

    def ends(self, chosen: Boxes | None, faces: Boxes) -> bool:
        """Return whether the next frame belongs to another stretch; chosen: what `choose` returned of its faces."""
        return chosen is None if self.boxes else len(faces) > 0


class Region(NamedTuple):
    """A square part of a picture, in px."""

    left: int
    top: int
    side: int


def overlap(boxes: Boxes, other: Boxes) -> Any:
    """Return the intersection over union of boxes (..., 4) with another box (4,)."""
    low, high = np.maximum(boxes[..., :2], other[:2]), np.minimum(boxes[..., 2:], other[2:])
    shared = np.maximum(high - low, 0).prod(-1)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1) + (other[2:] - other[:2]).prod()
    return shared / (areas - shared)


def find_stretches(frames: Iterable[NumberedFrame], min_face_px: float, max_frames: int) -> Iterator[Stretch]:
    """Divide frames at cuts, and each shot into stretches that follow one face, or none, up to a length."""
    for _, shot in itertools.groupby(frames, key=ShotNumber()):
        with FaceSearch(min_face_px) as search:
            yield from _follow(shot, search.find, max_frames)


class ShotNumber:
    """Count the cuts, frame after frame."""

    def __init__(self) -> None:
        self._shot = 0
        self._look: NDArray[np.int16] | None = None

    def __call__(self, frame: NumberedFrame) -> int:
        """Return the number of the shot that a frame belongs to."""
        before = self._look
        self._look = cv2.resize(frame.image, (32, 32), interpolation=cv2.INTER_AREA).astype(np.int16)
        if before is not None and np.abs(self._look - before).mean() > CUT_CHANGE:
            self._shot += 1
        return self._shot


class FaceSearch:
    """Find the boxes of the faces in a shot, frame after frame, even those too small to be found in a whole picture."""

    def __init__(self, min_face_px: float) -> None:
        self._part_px = math.ceil(min_face_px / MIN_FACE_SHARE)
        self._region: Region | None = None
        self._faceless_count = 0
        self._still = _open_mesh(tracking=False)
        self._tracker = _open_mesh(tracking=True)

    def __enter__(self) -> FaceSearch:
        return self

    def __exit__(self, *_: object) -> None:
        self._still.close()
        self._tracker.close()

    def find(self, image: Image) -> Boxes:
        """Return the boxes (N, 4) of the faces in the next frame, largest first."""
        faces = _boxes_in(image, self._region, self._tracker)
        if not len(faces):
            self._aim(None)
            if self._faceless_count % LOOK_CLOSER_EVERY == 0:
                faces = self._look_closer(image)
        self._faceless_count = 0 if len(faces) else self._faceless_count + 1
        return faces

    def _look_closer(self, image: Image) -> Boxes:
        """Search a picture part by part; the face found first is followed in a part around it."""
        height, width = image.shape[:2]
        side = min(self._part_px, height, width)
        if side < max(height, width):
            for left, top in itertools.product(tile_starts(width, side), tile_starts(height, side)):
                faces = _boxes_in(image, Region(left, top, side), self._still)
                if len(faces):
                    middle = (faces[0, :2] + faces[0, 2:] - side) / 2
                    left, top = (int(place) for place in np.clip(middle, 0, [width - side, height - side]))
                    self._aim(Region(left, top, side))
                    return faces
        return np.empty((0, 4), np.float32)

    def _aim(self, region: Region | None) -> None:
        """Follow faces in another region; the tracker must not look for the old face's place there."""
        if region != self._region:
            self._tracker.close()
            self._tracker = _open_mesh(tracking=True)
            self._region = region


def _open_mesh(tracking: bool) -> FaceMesh:
    return FaceMesh(tracking, refine=False, max_faces=MAX_FACES)


def _boxes_in(image: Image, region: Region | None, mesh: FaceMesh) -> Boxes:
    """Return the boxes (N, 4) of the faces in a region, or in the whole picture, in the picture's px."""
    left, top, height, width = 0, 0, *image.shape[:2]
    if region is not None:
        left, top, height, width = region.left, region.top, region.side, region.side
    found = mesh.find_all(np.ascontiguousarray(image[top : top + height, left : left + width]))
    boxes = [np.concatenate([points[:, :2].min(0), points[:, :2].max(0)]) for points in found]
    scale, origin = np.array([width, height] * 2, np.float32), np.array([left, top] * 2, np.float32)
    return np.array(boxes, np.float32).reshape(-1, 4) * scale + origin


def _follow(shot: Iterable[NumberedFrame], find_faces: Callable[[Image], Boxes], max_frames: int) -> Iterator[Stretch]:
    """Yield the stretches of a shot; a new one starts with the largest face."""
    stretch: Stretch | None = None
    for number, image in shot:
        faces = find_faces(image)
        box = stretch.choose(faces) if stretch else None
        if stretch is not None and (stretch.ends(box, faces) or len(stretch.boxes) == max_frames):
            yield stretch
            stretch = None
        if stretch is None:
            stretch = Stretch(image.shape[1], image.shape[0])
            box = faces[0] if box is None and len(faces) else box
        stretch.numbers.append(number)
        if box is not None:
            stretch.boxes.append(box)
    if stretch is not None:
        yield stretch
