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
from avatarify_plus.face.landmarks import FACE_HEIGHT, FACE_SIDES, MESH_POINTS
from avatarify_plus.face.mesh import FaceDetector, FaceMesh, largest_first
from avatarify_plus.pictures.images import Box, View, at_most, crop, resize, whole
from avatarify_plus.pictures.photo_region import cut_region, on_grid, photo_side, square_of
from avatarify_plus.types import FloatArray, Image, PhotoRegion

logger = logging.getLogger(__name__)

FindMeshes = Callable[[Image], list[FloatArray]]
"""`FaceMesh.find_all`: (H, W, 3) to the landmarks of all faces, each (478, 3), the largest first, x and y in [0, 1]."""

ScoreFace = Callable[[Image], float]
"""`FaceDetector.score`: (H, W, 3) to how sure the detector is of a face."""

SURE, SURER_BY = 0.93, 0.02
"""The detector is at least so sure of most faces that stand upright, or surer by so much than of the same that lie or
stand on their heads: of 97 portraits between 0.82 and 0.97, in the best other position 0.01 more to 0.4 less."""

CLEAR = 0.5
"""A face that the detector is less sure of, whichever way the photo is turned, is looked for in the photo's parts."""

PROFILE_DEG = 50.0
"""A face that is turned by more to the side causes a warning: what lies behind it is not in the photo."""

MAX_FACES = 32
"""Maximum number of faces that are found in one place, see `_places`."""

SEARCH_PX = 1280
"""Faces are searched for in a photo that is shrunk to this longer side; they are looked at again from near."""

SEARCH_PARTS = (2, 3, 5, 7)
"""Parts of the photo's longer side that are searched for faces that are too small for the detector in the whole."""

SEEN_SHARE = 0.15
"""The detector finds faces that are longer than this share of the side of what it sees."""

BACKGROUND = 1 / 6
"""Faces that are smaller than this share of the largest one stand in the background and are not searched for."""

SMALLEST_PART_PX = 150
"""Smaller parts of a photo are not searched: a face that is seen only there is smaller than SMALLEST_FACE_PX."""

SMALLEST_FACE_PX = 20
"""Smaller faces do not count."""

NEAR_SHARE = 1.25
"""A face is looked at from near in so much more than the square that is cut around it."""

NEAR_PX = 640
"""Side to which that is shrunk at most."""

NEAR_LOOKS = 2
"""A face is looked at so often: each look corrects where the next one is."""

SAME_FACE = 0.5
"""Faces whose middles are nearer to each other than this share of the larger one's length are the same."""

MAX_OUTSIDE = 0.25
"""A larger share of the square that lies outside of the photo causes a warning."""

BEYOND_EDGE = 0.04
"""A face that lies beyond the photo's edge by this share of its length is not whole."""

INSIDE_SHIFT = 0.1
"""How far a photo's square may be shifted to stay in the photo, as a share of its side.

A tenth of the training frames are as far off their square's middle.
"""

INSIDE_SHARES = (1.0, 0.95, 0.9)
"""Shares of its side that a photo's square may be shrunk to; the first that fits into the photo is taken."""

SOFT_FACE_RATIO = 0.5
"""A photo's square that is smaller than this share of the model's picture causes a warning."""


class Surroundings(NamedTuple):
    """What a model with `photo_reach` sees of a photo around its square.

    reach: the side of what is seen, in sides of the square. max_px: at most so many pixels the square's side has there,
    unless the model's is larger.
    """

    reach: float
    max_px: int


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


def largest_face(find_meshes: FindMeshes | None, picture: Image) -> FloatArray | None:
    """Return the landmarks of the largest face in a picture; None without one, or if no mesh is needed."""
    faces = find_meshes(picture) if find_meshes is not None else []
    return faces[0] if faces else None


@contextlib.contextmanager
def face_scorer(is_needed: bool) -> Iterator[ScoreFace | None]:
    """Run MediaPipe's face detector, see `upright`; give None if no face is needed."""
    if not is_needed:
        yield None
        return
    with FaceDetector() as detector:
        yield detector.score


def upright(photo: Image, find_meshes: FindMeshes | None, score: ScoreFace | None, name: str = "the photo") -> Image:
    """Return a photo turned by quarters of a turn so that its face stands upright; the same object if it does.

    The mesh fits itself to a face that lies or stands on its head; the detector is less sure of it. name: what messages
    call the photo.
    """
    if find_meshes is None or score is None or (as_it_is := score(photo)) >= SURE:
        return photo
    begun = 0
    scores = [as_it_is, *(score(_turned(photo, turns)) for turns in (1, 2, 3))]
    if max(scores) < CLEAR:  # too small for the detector: look from near
        for begun in range(4):
            turned = _turned(photo, begun)
            if faces := find_faces(turned, find_meshes):
                looked_at = crop(turned, _around(faces[0]), NEAR_PX)
                break
        else:
            return photo
        scores = [score(_turned(looked_at, turns)) for turns in range(4)]
    best = int(np.argmax(scores))
    turns = (begun + (best if scores[best] >= scores[0] + SURER_BY else 0)) % 4
    if not turns:
        return photo
    logger.warning("%s is turned by %d degrees: its face does not stand upright", name, 90 * turns)
    return _turned(photo, turns)


def _turned(photo: Image, turns: int) -> Image:
    return np.ascontiguousarray(np.rot90(photo, turns))


def frame_photo(
    photo: Image,
    find_meshes: FindMeshes | None,
    size_px: int,
    mode: FramingMode,
    name: str = "the photo",
    surroundings: Surroundings | None = None,
    face: int | None = None,
) -> FramedPhoto:
    """Cut the avatar's square out of a photo.

    photo: (H, W, 3). name: what messages call it. The view is (size_px, size_px, 3) with its mesh. Mode `none` takes
    the whole photo, resized; only there `find_meshes` may be None, if a mesh is not needed. surroundings: None for
    models that see the square alone. face: which of several faces, counted by `find_faces` from 1; None takes the
    largest and warns that there are more. Raises SourceError if no face is found, or none of this number.
    """
    if find_meshes is None:
        box = whole(photo)
        return FramedPhoto(_view(photo, box, size_px, None, surroundings), box, face_count=0)
    faces = find_faces(photo, find_meshes)
    if not faces:
        raise SourceError(
            f"no face found in {name}; use a photo that shows one face from the front, unobstructed and not tiny"
        )
    if face is None and len(faces) > 1:
        logger.warning(
            "%s shows %d faces; the largest, number 1, is taken: --face 2 takes the second largest, and --list-faces "
            "OUT.png writes the photo with its faces numbered",
            name,
            len(faces),
        )
    if face is not None and not 1 <= face <= len(faces):
        shown = "one face" if len(faces) == 1 else f"{len(faces)} faces"
        raise SourceError(
            f"{name} shows {shown}, and number {face} was asked for: choose from 1 to {len(faces)} (--list-faces "
            "OUT.png writes the photo with its faces numbered)"
        )
    mesh = faces[(face or 1) - 1]
    across = mesh[FACE_SIDES[1]] - mesh[FACE_SIDES[0]]
    if abs(math.degrees(math.atan2(float(across[2]), float(across[0])))) > PROFILE_DEG:
        logger.warning(
            "the face in %s is turned far to the side, and what it hides cannot be shown: use a photo from the front",
            name,
        )
    missing = _beyond_edge(mesh, photo)
    if missing:
        logger.warning(
            "the face in %s is cut off by the photo's edge (%s), and what is missing is made up: use a photo that "
            "shows the whole head, with some space around it",
            name,
            ", ".join(missing),
        )
    box = whole(photo) if mode == "none" else _moved_inside(square_around(mesh), photo)
    if surroundings is not None and mode != "none":
        box = on_grid(box)
    outside = _share_outside(box, photo)
    if outside > MAX_OUTSIDE and not missing:
        logger.warning(
            "%d %% of the square around the face in %s lie outside of the photo and are made up: use a photo that "
            "shows the whole head, with some space around it",
            round(100 * outside),
            name,
        )
    if box.width < SOFT_FACE_RATIO * size_px:
        logger.warning(
            "the face in %s is small (its square is %d pixels, the model's %d): the picture will be soft",
            name,
            round(box.width),
            size_px,
        )
    return FramedPhoto(_view(photo, box, size_px, within(box, mesh), surroundings), box, len(faces))


def _view(
    photo: Image, box: Box, size_px: int, landmarks: FloatArray | None, surroundings: Surroundings | None
) -> View:
    """Return what a model sees of a box; with surroundings, its square and what lies around it are of one piece."""
    if surroundings is None:
        return View(crop(photo, box, size_px), landmarks, has_face=True)
    side_px = photo_side(max(box.width, box.height), size_px, surroundings.max_px)
    region = cut_region(photo, box, side_px, surroundings.reach)
    square = resize(square_of(region, surroundings.reach), size_px)
    return View(square, landmarks, has_face=True, photo=PhotoRegion(region))


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


def _beyond_edge(mesh: FloatArray, photo: Image) -> list[str]:
    """Return which ends of a face lie beyond the photo's edge."""
    height, width = photo.shape[:2]
    margin = BEYOND_EDGE * _length(mesh)
    ends = {"forehead": FACE_HEIGHT[0], "chin": FACE_HEIGHT[1], "right side": FACE_SIDES[0], "left side": FACE_SIDES[1]}
    return [
        name
        for name, point in ends.items()
        if not (-margin <= mesh[point, 0] <= width + margin and -margin <= mesh[point, 1] <= height + margin)
    ]


def _share_outside(box: Box, photo: Image) -> float:
    """Return which share of a box lies outside of a photo."""
    height, width = photo.shape[:2]
    across = min(box.left + box.width, width) - max(box.left, 0)
    down = min(box.top + box.height, height) - max(box.top, 0)
    return 1 - max(across, 0) * max(down, 0) / (box.width * box.height)


def find_faces(photo: Image, find_meshes: FindMeshes) -> list[FloatArray]:
    """Return the landmarks (478, 3) of all faces of a photo in its pixels, the largest first.

    The whole photo is searched and, for small faces, its parts. What is found there is looked at again from near, where
    the mesh is more exact; a face that is then no longer there was none, unless it is the only one.
    """
    faces: list[FloatArray] = []
    unsure: list[FloatArray] = []
    for largest_px, found in _places(photo, find_meshes):
        if largest_px < BACKGROUND * max(map(_length, faces), default=0):
            break
        for face in found:
            if any(_is_same(face, other) for other in (*faces, *unsure)):
                continue
            near = _from_near(photo, face, find_meshes)
            if near is None:
                unsure.append(face)
            elif not any(_is_same(near, other) for other in faces):
                faces.append(near)
    faces = [face for face in faces or unsure[:1] if _length(face) >= SMALLEST_FACE_PX]
    return largest_first(faces)


def _places(photo: Image, find_meshes: FindMeshes) -> Iterator[tuple[float, list[FloatArray]]]:
    """Yield the faces of each place that is searched, in pixels of the photo, as they are found.

    Before them comes the length of the largest faces that may have been missed in all larger places.
    """
    shrunk = at_most(photo, SEARCH_PX)
    scale = max(photo.shape[:2]) / max(shrunk.shape[:2])
    for parts, box in _search_boxes(shrunk, scale):
        picture = shrunk if box == whole(shrunk) else crop(shrunk, box, round(max(box.width, box.height)))
        largest_px = SEEN_SHARE * max(photo.shape[:2]) / (parts - 1) if parts > 1 else math.inf
        yield largest_px, [face * np.float32(scale) for face in _found_in(box, find_meshes(picture))]


def _found_in(box: Box, faces: list[FloatArray]) -> list[FloatArray]:
    """Return faces that were found in a box of a photo in the photo's pixels."""
    corner = np.array([box.left, box.top, 0], np.float32)
    return [scaled(face, box.width, box.height) + corner for face in faces]


def _from_near(photo: Image, face: FloatArray, find_meshes: FindMeshes) -> FloatArray | None:
    """Return a face as it is found in a square around it; None if it is not found there again."""
    for _ in range(NEAR_LOOKS):
        box = _around(face)
        picture = crop(photo, box, min(round(box.width), NEAR_PX))
        found = [near for near in _found_in(box, find_meshes(picture)) if _is_same(near, face)]
        if not found:
            return None
        face = min(found, key=lambda near: float(np.linalg.norm(_middle(near) - _middle(face))))
    return face


def _around(face: FloatArray) -> Box:
    """Return where a face is looked at from near, in whole pixels."""
    square = square_around(face)
    side = max(round(NEAR_SHARE * square.width), 1)
    margin = (side - square.width) / 2
    return Box(round(square.left - margin), round(square.top - margin), side, side)


def _is_same(one: FloatArray, other: FloatArray) -> bool:
    distance = float(np.linalg.norm(_middle(one) - _middle(other)))
    return distance < SAME_FACE * max(_length(one), _length(other))


def _middle(face: FloatArray) -> FloatArray:
    points = face[:MESH_POINTS, :2]
    return (points.min(0) + points.max(0)) / 2


def _length(face: FloatArray) -> float:
    """Return the longer side of a face's bounding box."""
    return float(np.ptp(face[:MESH_POINTS, :2], axis=0).max())


def _search_boxes(photo: Image, scale: float) -> Iterator[tuple[int, Box]]:
    """Yield into how many parts a photo is parted, and the places to look at.

    They are the whole photo, the photo with a margin (for a face that fills it), then its parts. Parts, for small
    faces, start at the top middle, where portraits have their face, and get smaller. scale: by which the photo was
    shrunk.
    """
    height, width = photo.shape[:2]
    longer = max(height, width)
    yield 1, whole(photo)
    yield 1, Box((width - 2 * longer) / 2, (height - 2 * longer) / 2, 2 * longer, 2 * longer)
    for parts in SEARCH_PARTS:
        side = math.ceil(longer / parts)
        if scale * side < SMALLEST_PART_PX:
            return
        lefts = sorted(tile_starts(width, side), key=lambda left: abs(left + side / 2 - width / 2))
        for top in tile_starts(height, side):
            for left in lefts:
                yield parts, Box(left, top, side, side)


def tile_starts(length: int, side: int) -> list[int]:
    """Return where tiles of a side start along a length so that they overlap by half or more.

    A single tile that is longer than the length is centred on it.
    """
    count = max(math.ceil(2 * (length - side) / side), 0)
    return [round(index * (length - side) / count) for index in range(count + 1)] if count else [(length - side) // 2]
