"""The square around a face that the model was trained to see, followed in a video."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

import numpy as np

from avatarify_plus.config import FramingMode
from avatarify_plus.face.landmarks import MESH_POINTS
from avatarify_plus.face.mesh import FaceMesh
from avatarify_plus.pictures.images import AS_FOUND, Adjustment, Box, View, brighten, centred_square, crop, whole
from avatarify_plus.types import FloatArray, Frame, Image

FindMesh = Callable[[Image], FloatArray | None]
"""`FaceMesh.find`: (H, W, 3) to (478, 3) landmarks, x and y in [0, 1] of width and height; None without a face."""

SIDE_PER_FACE = 1.96
"""Side of the square as a multiple of the longer side of the face mesh's bounding box.

The training clips are squares of 2.1 times a detector's face box, which is smaller than the mesh; this is the median of
359 near-frontal frames of them.
"""

RISE_PER_FACE = 0.043
"""How far the square's centre lies above that of the mesh's bounding box, over the longer side of that box.

It is the median of the same frames as SIDE_PER_FACE.
"""

STILL_SHIFT = 0.12
"""A following square stays still while the face is off its middle by less than this share of its side."""

STILL_ZOOM = 0.18
"""A following square keeps its size while the wanted side differs by less than this (logarithm of the ratio)."""

FOLLOW_S = 0.7
"""Time in which a following square makes up 63 % of what exceeds the still zone."""

LOST_SHIFT = 0.5
"""A square is given up for a new one when the face's middle is off the square's by this share of its side."""

LOST_ZOOM = 0.7
"""A square is given up for a new one when the face has become twice as large or small (logarithm of the ratio)."""

HOP_SHIFT = 0.75
"""A face this far from where the followed one just was, in sides of its square, belongs to somebody else.

People side by side are 1 to 1.4 apart.
"""

HOP_ZOOM = 0.5
"""A face whose size differs by this (logarithm of the ratio) belongs to somebody else, farther away or closer."""

LOYALTY_S = 1.0
"""How long a followed face that is lost is waited for before somebody else is followed."""

NEARBY = Adjustment(zoom=0.5)
"""While a lost face is waited for, it is searched for only in a square of twice the side of its last one."""

EASE_S = 0.2
"""Time in which the square makes up 63 % of a move by hand."""

EASED = 1e-3
"""A move by hand is finished when less than this is left, in zoom or in sides."""

DARK_FACE_LEVEL = 20.0
"""Mean level, of 255, below which a square shows hardly anything."""

DIM_LEVEL = 60.0
"""Mean level, of 255, to which a darker following square is brightened, because learned keypoints stray in the dark.

Darkened to a quarter and with sensor noise, examples/driver.mp4 moves them by up to 37 px of 256; brightened again, by
17 px.
"""

LEVEL_STEP = 8
"""The level is measured at every eighth pixel of every eighth row."""


@contextlib.contextmanager
def mesh_finder(is_needed: bool, tracking: bool) -> Iterator[FindMesh | None]:
    """Run MediaPipe's face mesh; give None if a mesh is not needed.

    tracking: True for videos, False for pictures that do not follow each other.
    """
    if not is_needed:
        yield None
        return
    with FaceMesh(tracking) as mesh:
        yield mesh.find


def square_around(face: FloatArray) -> Box:
    """Return the square that training would have cut around a face mesh, (478, 2 or more) landmarks in pixels."""
    low, high = face[:MESH_POINTS, :2].min(0), face[:MESH_POINTS, :2].max(0)
    length = float(max(high - low))
    side = SIDE_PER_FACE * length
    centre_x, centre_y = (low + high) / 2
    return Box(float(centre_x) - side / 2, float(centre_y) - RISE_PER_FACE * length - side / 2, side, side)


class DriverFraming:
    """Cut the driver's square out of each frame, steadily; the face mesh is searched for once in each whole frame.

    The first face decides where the square is. `follows` False keeps it there, so that the head's travel stays in the
    motion; only a head that leaves it gets a new one. True follows the head slowly and ignores small moves: for
    webcams, whose user shifts in the chair; if that head is lost, it is waited for although others are there. Mode
    `none` takes the whole frame, resized. Frames of another size get a new square.
    """

    def __init__(self, find_mesh: FindMesh | None, size_px: int, mode: FramingMode, follows: bool) -> None:
        """find_mesh: None if a mesh is not needed. size_px: side of the views."""
        self._find_mesh = find_mesh
        self._size_px = size_px
        self._mode = mode
        self._follows = follows
        self._shape: tuple[int, ...] | None = None
        self._square: Box | None = None
        self._had_square = False
        self._wanted = AS_FOUND
        self._adjustment: Adjustment | None = None
        self._face: Box | None = None  # the square around the face that was seen last
        self._seen_s = 0.0  # when it was seen
        self._is_lost = False
        self._time_s = 0.0

    def adjust(self, zoom: float, shift_x: float, shift_y: float) -> None:
        """Change the square by hand, see `Adjustment`, on top of following; it moves there over the next frames."""
        self._wanted = Adjustment(zoom, shift_x, shift_y)

    def view(self, frame: Frame) -> View:
        """Return the square of a frame with its mesh; without a face, the square stays where it was."""
        interval_s, self._time_s = max(frame.captured_at - self._time_s, 0.0), frame.captured_at
        is_resized = self._shape not in (None, frame.image.shape)
        self._shape = frame.image.shape
        if is_resized:
            self._square = self._face = None
        face = None if self._find_mesh is None else self._find_followed(frame, self._find_mesh)
        if self._find_mesh is None or self._mode == "none":
            square, has_new_square = whole(frame.image), is_resized
        else:
            has_new_square = self._place(face, interval_s) and self._had_square
            self._had_square = self._had_square or self._square is not None
            square = self._square or centred_square(frame.image)
        adjustment = self._ease(interval_s)
        box = _adjusted(square, adjustment)
        # only the keypoint detector looks at the driver's square, and it blurs it anyway
        image = crop(frame.image, box, self._size_px, quick=True)
        level = float(image[::LEVEL_STEP, ::LEVEL_STEP].mean())
        if self._follows and level < DIM_LEVEL:
            image = brighten(image, DIM_LEVEL / max(level, 1.0))
        return View(
            image,
            None if face is None else within(box, face),
            has_face=face is not None or self._find_mesh is None,
            is_dark=level < DARK_FACE_LEVEL,
            has_new_square=has_new_square,
            adjustment=adjustment,
        )

    def _find_followed(self, frame: Frame, find_mesh: FindMesh) -> FloatArray | None:
        """Return the followed face's landmarks in pixels, or None."""
        known = self._face if self._follows and frame.captured_at - self._seen_s <= LOYALTY_S else None
        image = frame.image if known is None or not self._is_lost else _only(frame.image, _adjusted(known, NEARBY))
        face = _find(image, find_mesh)
        own = None if face is None else square_around(face)
        if own is None or (known is not None and _is_beyond(known, own, HOP_SHIFT, HOP_ZOOM)):
            self._is_lost = True
            return None
        self._face, self._seen_s, self._is_lost = own, frame.captured_at, False
        return face

    def _place(self, face: FloatArray | None, interval_s: float) -> bool:
        """Move the square to where it belongs now, and return whether it is a new one."""
        if face is None:
            return False
        wanted = square_around(face)
        if self._square is None or _is_beyond(self._square, wanted, LOST_SHIFT, LOST_ZOOM):
            self._square = wanted
            return True
        if self._follows:
            self._square = _approach(self._square, wanted, 1 - math.exp(-interval_s / FOLLOW_S))
        return False

    def _ease(self, interval_s: float) -> Adjustment:
        """Return how the square is changed by hand now; what was asked for before the first frame holds at once."""
        if self._adjustment is None:
            self._adjustment = self._wanted
        elif self._adjustment != self._wanted:
            share = 1 - math.exp(-interval_s / EASE_S)
            now = Adjustment(*(a + share * (b - a) for a, b in zip(self._adjustment, self._wanted, strict=True)))
            left = max(abs(a - b) for a, b in zip(now, self._wanted, strict=True))
            self._adjustment = self._wanted if left < EASED else now
        return self._adjustment


def _offset(square: Box, wanted: Box) -> tuple[float, float, float]:
    """Return how far the wanted square's middle is off, in sides (x, y), and the logarithm of the sides' ratio."""
    shift_x = (wanted.left + wanted.width / 2 - square.left - square.width / 2) / square.width
    shift_y = (wanted.top + wanted.height / 2 - square.top - square.height / 2) / square.height
    return shift_x, shift_y, math.log(wanted.width / square.width)


def _is_beyond(square: Box, wanted: Box, max_shift: float, max_zoom: float) -> bool:
    """Return whether the wanted square is farther off, or its size differs by more, than that."""
    shift_x, shift_y, zoom = _offset(square, wanted)
    return max(abs(shift_x), abs(shift_y)) > max_shift or abs(zoom) > max_zoom


def _adjusted(box: Box, adjustment: Adjustment) -> Box:
    """Return a box that is changed by hand."""
    if adjustment == AS_FOUND:
        return box
    width, height = box.width / adjustment.zoom, box.height / adjustment.zoom
    left = box.left + (0.5 + adjustment.shift_x) * box.width - width / 2
    top = box.top + (0.5 + adjustment.shift_y) * box.height - height / 2
    return Box(left, top, width, height)


def _only(image: Image, box: Box) -> Image:
    """Return a picture that is black outside a box."""
    left, top = max(round(box.left), 0), max(round(box.top), 0)
    right, bottom = max(round(box.left + box.width), left), max(round(box.top + box.height), top)
    masked = np.zeros_like(image)
    masked[top:bottom, left:right] = image[top:bottom, left:right]
    return masked


def _approach(square: Box, wanted: Box, share: float) -> Box:
    """Move a square by a share of what the wanted one is beyond the still zone."""
    shift_x, shift_y, zoom = _offset(square, wanted)
    side = square.width * math.exp(share * _excess(zoom, STILL_ZOOM))
    centre_x = square.left + square.width * (0.5 + share * _excess(shift_x, STILL_SHIFT))
    centre_y = square.top + square.height * (0.5 + share * _excess(shift_y, STILL_SHIFT))
    return Box(centre_x - side / 2, centre_y - side / 2, side, side)


def _excess(value: float, zone: float) -> float:
    """Return what is left of a value beyond a zone around zero."""
    return math.copysign(max(abs(value) - zone, 0.0), value)


def within(box: Box, face: FloatArray) -> FloatArray:
    """Turn landmarks in pixels, (478, 3), into [0, 1] of a box; z keeps the scale of x."""
    corner = np.array([box.left, box.top, 0], np.float32)
    return scaled(face - corner, 1 / box.width, 1 / box.height)


def _find(image: Image, find_mesh: FindMesh) -> FloatArray | None:
    """Return the face's landmarks in pixels, or None."""
    found = find_mesh(image)
    height, width = image.shape[:2]
    return None if found is None else scaled(found, width, height)


def scaled(landmarks: FloatArray, width: float, height: float) -> FloatArray:
    """Multiply landmarks, (478, 3), by a width and a height; z keeps the scale of x."""
    return landmarks * np.array([width, height, width], np.float32)
