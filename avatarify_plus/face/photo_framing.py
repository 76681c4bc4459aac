"""The avatar's square: cut out of a photo as the model's training clips were."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from avatarify_plus.config import FramingMode
from avatarify_plus.errors import SourceError
from avatarify_plus.face.driver_framing import scaled, square_around, within
from avatarify_plus.face.mesh import FaceMesh
from avatarify_plus.pictures.images import Box, View, crop, whole
from avatarify_plus.types import FloatArray, Image

logger = logging.getLogger(__name__)

FindMeshes = Callable[[Image], list[FloatArray]]
"""`FaceMesh.find_all`: (H, W, 3) to the landmarks of all faces, each (478, 3), the largest first, x and y in [0, 1]."""

MAX_FACES = 8
"""Maximum number of faces that are counted in a photo."""

INSIDE_SHIFT = 0.1
"""How far a photo's square may be shifted to stay in the photo, as a share of its side.

A tenth of the training frames are as far off their square's middle.
"""

INSIDE_SHARES = (1.0, 0.95, 0.9)
"""Shares of its side that a photo's square may be shrunk to; the first that fits into the photo is taken."""

SOFT_FACE_RATIO = 0.5
"""A photo's square that is smaller than this share of the model's picture causes a warning."""


class FramedPhoto(NamedTuple):
    """A photo's square: what it shows, where it lies in the photo, and the number of faces in the photo."""

    view: View
    box: Box
    face_count: int


@contextlib.contextmanager
def faces_finder(is_needed: bool) -> Iterator[FindMeshes | None]:
    """Run MediaPipe's face mesh for all faces in photos; give None if a mesh is not needed."""
    if not is_needed:
        yield None
        return
    with FaceMesh(tracking=False, max_faces=MAX_FACES) as mesh:
        yield mesh.find_all


def frame_photo(
    photo: Image, find_meshes: FindMeshes | None, size_px: int, mode: FramingMode, name: str = "the photo"
) -> FramedPhoto:
    """Cut the avatar's square out of a photo.

    photo: (H, W, 3). name: what messages call it. The view is (size_px, size_px, 3) with its mesh; of several faces,
    the largest is taken. Mode `none` takes the whole photo, resized; only there `find_meshes` may be None, if a mesh is
    not needed. Raises SourceError if no face is found.
    """
    if find_meshes is None:
        box = whole(photo)
        return FramedPhoto(View(crop(photo, box, size_px), None, has_face=True), box, face_count=0)
    faces = _find_faces(photo, find_meshes)
    if not faces:
        raise SourceError(
            f"no face found in {name}; use a photo that shows one face from the front, unobstructed and not tiny"
        )
    if len(faces) > 1:
        logger.warning("%s shows %d faces; the largest is taken", name, len(faces))
    box = whole(photo) if mode == "none" else _moved_inside(square_around(faces[0]), photo)
    if box.width < SOFT_FACE_RATIO * size_px:
        logger.warning(
            "the face in %s is small (its square is %d pixels, the model's %d): the picture will be soft",
            name,
            round(box.width),
            size_px,
        )
    return FramedPhoto(View(crop(photo, box, size_px), within(box, faces[0]), has_face=True), box, len(faces))


def _moved_inside(square: Box, photo: Image) -> Box:
    """Shift and shrink a square a little if that keeps it inside the photo.

    Both stay within what training saw; what still lies outside shows the photo's edge repeated.
    """
    height, width = photo.shape[:2]
    for share in INSIDE_SHARES:
        side = share * square.width
        margin = (square.width - side) / 2
        left = _shifted(square.left + margin, side, width)
        top = _shifted(square.top + margin, side, height)
        if left >= 0 and top >= 0 and left + side <= width and top + side <= height:
            break
    return Box(left, top, side, side)


def _shifted(start: float, side: float, length: int) -> float:
    """Return where a side starts after it is moved towards [0, length] by at most INSIDE_SHIFT of itself."""
    wanted = min(max(start, 0.0), max(length - side, 0.0))
    return start + min(max(wanted - start, -INSIDE_SHIFT * side), INSIDE_SHIFT * side)


def _find_faces(photo: Image, find_meshes: FindMeshes) -> list[FloatArray]:
    """Return all faces' landmarks in pixels, the largest first.

    Faces that are too large or too small for the detector are searched for again, up to the first place that shows any.
    """
    for box in _search_boxes(photo):
        size_px = round(max(box.width, box.height))
        faces = find_meshes(photo) if box == whole(photo) else find_meshes(crop(photo, box, size_px))
        if faces:
            corner = np.array([box.left, box.top, 0], np.float32)
            return [scaled(face, box.width, box.height) + corner for face in faces]
    return []


def _search_boxes(photo: Image) -> Iterator[Box]:
    """Yield where to look: the whole photo, the photo with a margin (for a face that fills it), then its parts.

    Parts (for a small face) start at the top middle, where portraits have their face, and get smaller.
    """
    height, width = photo.shape[:2]
    longer = max(height, width)
    yield whole(photo)
    yield Box((width - 2 * longer) / 2, (height - 2 * longer) / 2, 2 * longer, 2 * longer)
    for parts in (2, 3):
        side = math.ceil(longer / parts)
        lefts = sorted(tile_starts(width, side), key=lambda left: abs(left + side / 2 - width / 2))
        for top in tile_starts(height, side):
            for left in lefts:
                yield Box(left, top, side, side)


def tile_starts(length: int, side: int) -> list[int]:
    """Return where tiles of a side start along a length so that they overlap by half or more.

    A single tile that is longer than the length is centred on it.
    """
    count = max(math.ceil(2 * (length - side) / side), 0)
    return [round(index * (length - side) / count) for index in range(count + 1)] if count else [(length - side) // 2]
