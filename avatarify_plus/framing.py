"""Framing: the square around a face that the model was trained to see, cut from a photo or followed in a video."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator

import numpy as np

from avatarify_plus.config import FramingMode
from avatarify_plus.errors import SourceError
from avatarify_plus.images import Box, View, centred_square, crop, whole
from avatarify_plus.mesh import FaceMesh
from avatarify_plus.types import FloatArray, Frame, Image

logger = logging.getLogger(__name__)

FindMesh = Callable[[Image], FloatArray | None]
"""`FaceMesh.find`: (H, W, 3) to (478, 3) landmarks, x and y in [0, 1] of width and height; None without a face."""

SIDE_PER_FACE = 1.96
"""Side of the square over the longer side of the face mesh's bounding box. The training clips are squares of 2.1 times
a detector's face box, which is smaller than the mesh; this is the median of 359 near-frontal frames of them."""

RISE_PER_FACE = 0.043
"""How far the square's centre lies above that of the mesh's bounding box, over the same length. Measured likewise."""

STILL_SHIFT = 0.12
"""The following square stays still while the face is off its middle by less than this share of its side."""

STILL_ZOOM = 0.18
"""It keeps its size while the wanted side differs by less than this (natural logarithm of the ratio)."""

FOLLOW_S = 0.7
"""Time in which the following square closes 63 % of what exceeds the still zone."""

LOST_SHIFT = 0.5
"""A fixed square is laid anew when the face's middle leaves it,"""

LOST_ZOOM = 0.7
"""or when the face has become about twice as large or small."""

INSIDE_SHIFT = 0.1
"""A photo's square may be shifted by this share of its side to stay in the photo; a tenth of the training frames are as
far off their square's middle."""

INSIDE_SHARES = (1.0, 0.95, 0.9)
"""It may also be shrunk to these shares of its side; the first that fits is taken."""

SOFT_FACE_RATIO = 0.5
"""A photo's square smaller than this share of the model's picture is worth a warning."""

MESH_POINTS = 468
"""Landmarks of the mesh proper; the rest are irises."""


@contextlib.contextmanager
def mesh_finder(is_needed: bool, tracking: bool) -> Iterator[FindMesh | None]:
    """Run MediaPipe's face mesh; None where nobody needs a mesh.

    `tracking` True is for videos, False for photos.
    """
    if not is_needed:
        yield None
        return
    with FaceMesh(tracking) as mesh:
        yield mesh.find


def frame_photo(photo: Image, find_mesh: FindMesh | None, size_px: int, mode: FramingMode) -> View:
    """Cut the avatar's square out of a photo.

    photo: (H, W, 3). Returns a view of (size_px, size_px, 3) with its mesh. Mode `none` takes the whole photo, resized;
    only there `find_mesh` may be None, when nobody needs a mesh. Raises SourceError when no face is found.
    """
    if find_mesh is None:
        return View(crop(photo, whole(photo), size_px), None, has_face=True)
    face = _find_in_photo(photo, find_mesh)
    if face is None:
        raise SourceError(
            "no face found in the photo; use a photo that shows one face from the front, unobstructed and not tiny"
        )
    box = whole(photo) if mode == "none" else _moved_inside(square_around(face), photo)
    if box.width < SOFT_FACE_RATIO * size_px:
        logger.warning(
            "the face in the photo is small (its square is %d pixels, the model's %d): the picture will be soft",
            round(box.width),
            size_px,
        )
    return View(crop(photo, box, size_px), _within(box, face), has_face=True)


def square_around(face: FloatArray) -> Box:
    """Return the square that training would have cut around a face mesh: (478, 2 or more) landmarks in pixels."""
    low, high = face[:MESH_POINTS, :2].min(0), face[:MESH_POINTS, :2].max(0)
    length = float(max(high - low))
    side = SIDE_PER_FACE * length
    centre_x, centre_y = (low + high) / 2
    return Box(float(centre_x) - side / 2, float(centre_y) - RISE_PER_FACE * length - side / 2, side, side)


def _moved_inside(square: Box, photo: Image) -> Box:
    """Shift and shrink a square a little, where that spares it from reaching out of the photo.

    Both stay within what training saw; beyond that the photo's edge is repeated.
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
    """Return where a stretch of a side starts if it is moved towards [0, length] by at most INSIDE_SHIFT sides."""
    wanted = min(max(start, 0.0), max(length - side, 0.0))
    return start + min(max(wanted - start, -INSIDE_SHIFT * side), INSIDE_SHIFT * side)


class DriverFraming:
    """Cut the driver's square out of each frame, steadily; the face mesh is searched once a frame, in the whole frame.

    The first face seen lays the square. `follows` False keeps it fixed, so that the head's travel stays in the motion;
    it is laid anew only when the head leaves it. True follows the head slowly and ignores small moves: for webcams,
    whose user settles in the chair. Mode `none` takes the whole frame, resized.
    """

    def __init__(self, find_mesh: FindMesh | None, size_px: int, mode: FramingMode, follows: bool) -> None:
        self._find_mesh = find_mesh
        self._size_px = size_px
        self._mode = mode
        self._follows = follows
        self._square: Box | None = None
        self._time_s = 0.0

    def view(self, frame: Frame) -> View:
        """Return the square of a frame with its mesh; without a face, the square stays where it was."""
        if self._find_mesh is None:
            return View(crop(frame.image, whole(frame.image), self._size_px, quick=True), None, has_face=True)
        face = _find(frame.image, self._find_mesh)
        box = whole(frame.image) if self._mode == "none" else self._place(face, frame)
        landmarks = None if face is None else _within(box, face)
        # The driver's square is looked at by the keypoint detector alone, which blurs it anyway.
        image = crop(frame.image, box, self._size_px, quick=True)
        return View(image, landmarks, has_face=face is not None)

    def _place(self, face: FloatArray | None, frame: Frame) -> Box:
        """Return where the square is now."""
        interval_s, self._time_s = max(frame.captured_at - self._time_s, 0.0), frame.captured_at
        if face is None:
            return self._square or centred_square(frame.image)
        wanted = square_around(face)
        if self._square is None or _has_left(self._square, wanted):
            self._square = wanted
        elif self._follows:
            self._square = _approach(self._square, wanted, 1 - math.exp(-interval_s / FOLLOW_S))
        return self._square


def _offset(square: Box, wanted: Box) -> tuple[float, float, float]:
    """Return how far the wanted square's middle is off, in sides (x, y), and the logarithm of the sides' ratio."""
    shift_x = (wanted.left + wanted.width / 2 - square.left - square.width / 2) / square.width
    shift_y = (wanted.top + wanted.height / 2 - square.top - square.height / 2) / square.height
    return shift_x, shift_y, math.log(wanted.width / square.width)


def _has_left(square: Box, wanted: Box) -> bool:
    shift_x, shift_y, zoom = _offset(square, wanted)
    return max(abs(shift_x), abs(shift_y)) > LOST_SHIFT or abs(zoom) > LOST_ZOOM


def _approach(square: Box, wanted: Box, share: float) -> Box:
    """Move a square by a share of what the wanted one exceeds the still zone."""
    shift_x, shift_y, zoom = _offset(square, wanted)
    side = square.width * math.exp(share * _excess(zoom, STILL_ZOOM))
    centre_x = square.left + square.width * (0.5 + share * _excess(shift_x, STILL_SHIFT))
    centre_y = square.top + square.height * (0.5 + share * _excess(shift_y, STILL_SHIFT))
    return Box(centre_x - side / 2, centre_y - side / 2, side, side)


def _excess(value: float, zone: float) -> float:
    """Return what is left of a value beyond a zone around zero."""
    return math.copysign(max(abs(value) - zone, 0.0), value)


def _within(box: Box, face: FloatArray) -> FloatArray:
    """Turn landmarks in pixels into a box's [0, 1] coordinates; z keeps the scale of x."""
    origin = np.array([box.left, box.top, 0], np.float32)
    return _scaled(face - origin, 1 / box.width, 1 / box.height)


def _find(image: Image, find_mesh: FindMesh) -> FloatArray | None:
    """Return the face's landmarks in pixels, or None."""
    found = find_mesh(image)
    height, width = image.shape[:2]
    return None if found is None else _scaled(found, width, height)


def _scaled(landmarks: FloatArray, width: float, height: float) -> FloatArray:
    """Stretch landmarks; z has the scale of x."""
    return landmarks * np.array([width, height, width], np.float32)


def _find_in_photo(photo: Image, find_mesh: FindMesh) -> FloatArray | None:
    """Return the face's landmarks in pixels; a face too large or too small for the detector is searched for again."""
    for box in _search_boxes(photo):
        size_px = round(max(box.width, box.height))
        face = find_mesh(photo) if box == whole(photo) else find_mesh(crop(photo, box, size_px))
        if face is not None:
            return _scaled(face, box.width, box.height) + np.array([box.left, box.top, 0], np.float32)
    return None


def _search_boxes(photo: Image) -> Iterator[Box]:
    """Yield where to look: everywhere, with a margin (the face fills the photo), then closer and closer (it is small).

    Closer looks start at the top middle, where portraits have their face.
    """
    height, width = photo.shape[:2]
    longer = max(height, width)
    yield whole(photo)
    yield Box((width - 2 * longer) / 2, (height - 2 * longer) / 2, 2 * longer, 2 * longer)
    for parts in (2, 3):
        side = math.ceil(longer / parts)
        lefts = sorted(_starts(width, side), key=lambda left: abs(left + side / 2 - width / 2))
        for top in _starts(height, side):
            for left in lefts:
                yield Box(left, top, side, side)


def _starts(length: int, side: int) -> list[int]:
    """Return where tiles of a side start along a length so that they overlap by half."""
    count = max(math.ceil(2 * (length - side) / side), 0)
    return [round(index * (length - side) / count) for index in range(count + 1)] if count else [(length - side) // 2]
