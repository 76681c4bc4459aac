"""The photo in its own resolution under a model's layers, and squares cut out of a picture and put back."""

from __future__ import annotations

import math

import cv2
import numpy as np

from avatarify_plus.types import FloatArray, Image, Mask

MAX_SHRINKING = 8
"""Squares that shrink by more are averaged as if by this much: it takes a face that fills many pictures."""


PHOTO_FROM, PHOTO_FULLY = 0.1, 0.5
"""Where the painting is enlarged and the photo is not, the photo is shown from this share on that the model gives it,
and alone from the other: half of each would look blurred, and the painting is the softer of the two."""

SQUARE_EDGE = 0.03
"""The width, in halves of the square, over which its edge gives way to what lies around it, as in training."""

_DECIDED = np.clip((np.arange(256) / 255 - PHOTO_FROM) / (PHOTO_FULLY - PHOTO_FROM), 0, 1)
_DECIDED_LEVELS = np.rint(255 * _DECIDED).astype(np.uint8)


def warp_photo(photo: Image, deformation: FloatArray, side_px: int, is_fine: bool = False) -> Image:
    """Return the square of a photo as a deformation moves it, (side_px, side_px, 3).

    photo: the region around the square (W, W, 3), in whose middle the square has `side_px` pixels. deformation:
    (m, m, 2), for each place that of the photo, in [-1, 1] of the square. Beyond the region its edge is repeated.
    is_fine: interpolate cubically, which keeps fine detail, instead of linearly as the model was trained.
    """
    places = deformation * np.float32(side_px / 2) + np.float32(photo.shape[0] / 2 - 0.5)
    fine = _enlarged(places, side_px)
    whole, fraction = cv2.convertMaps(fine, None, cv2.CV_16SC2)  # three times as fast as with floats
    method = cv2.INTER_CUBIC if is_fine else cv2.INTER_LINEAR
    warped: Image = cv2.remap(photo, whole, fraction, method, borderMode=cv2.BORDER_REPLICATE)
    return warped


def _enlarged(places: FloatArray, size: int) -> FloatArray:
    """Enlarge places (m, m, 2) to (size, size, 2), going on straight from the outermost cells' middles to the edge.

    Without that, half a cell along each edge would show the same line of the photo over and over.
    """
    fine = cv2.resize(places, (size, size), interpolation=cv2.INTER_LINEAR)
    cells = places.shape[0]
    count = max(math.ceil(size / (2 * cells) - 0.5), 0)
    before = (np.arange(count, dtype=np.float32) + 0.5) * np.float32(cells / size) - 0.5  # cells from the first middle
    for is_column in (True, False):
        lines, target = (places, fine) if is_column else (places.swapaxes(0, 1), fine.swapaxes(0, 1))
        slopes = [np.ascontiguousarray(lines[:, 1] - lines[:, 0]), np.ascontiguousarray(lines[:, -1] - lines[:, -2])]
        first, last = (cv2.resize(slope[:, None], (1, size), interpolation=cv2.INTER_LINEAR) for slope in slopes)
        target[:, :count] += before[:, None] * first
        target[:, size - count :] -= before[::-1, None] * last
    return fine


def beyond_square(kept: Mask, deformation: FloatArray, goes_on: bool) -> Mask:
    """Return a map (S, S) with what lies beyond the source's square settled: the model has seen the square alone.

    kept: (S, S), 255 shows the photo. deformation: see `warp_photo`. goes_on: whether there is a photo around the
    square, which is then shown; otherwise the painting is.
    """
    fine = np.abs(_enlarged(deformation, kept.shape[0])).max(-1)
    beyond = np.clip((fine - (1 - SQUARE_EDGE)) * np.float32(1 / SQUARE_EDGE), 0, 1)
    wanted = np.float32(255 if goes_on else 0)
    settled: Mask = cv2.convertScaleAbs(kept + (wanted - kept) * beyond).astype(np.uint8, copy=False)
    return settled


def lay_over(warped: Image, painted: Image, kept: Mask) -> Image:
    """Return the warped photo (P, P, 3) where it is kept, elsewhere what is painted.

    painted: (S, S, 3). kept: (S, S), 255 shows the photo. Both are enlarged to P; see also PHOTO_FROM.
    """
    size = warped.shape[1], warped.shape[0]
    if painted.shape != warped.shape:
        kept = cv2.LUT(kept, _DECIDED_LEVELS)
        painted, kept = (cv2.resize(layer, size, interpolation=cv2.INTER_LINEAR) for layer in (painted, kept))
    weight = kept.astype(np.float32)
    weight *= np.float32(1 / 255)
    blended: Image = cv2.blendLinear(warped, painted, weight, 1 - weight)
    return blended


def cut_square(picture: Image, matrix: FloatArray, side_px: int, size: int) -> Image:
    """Cut a square out of a picture, (size, size, 3), averaged where it shrinks to half or less.

    picture: (H, W, 3), in whose middle [-1, 1] spans `side_px` pixels. matrix: (2, 3), from the square's coordinates in
    [-1, 1] to those.
    """
    shrinks_by = float(np.linalg.norm(matrix[:, 1])) * side_px / size
    fine = min(max(round(shrinks_by), 1), MAX_SHRINKING) * size
    affine = _pixel_matrix(matrix, fine, side_px, picture.shape)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    square: Image = cv2.warpAffine(picture, affine, (fine, fine), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return square if fine == size else cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)


def paste_square(picture: Image, square: Image, matrix: FloatArray) -> None:
    """Lay a square's colours over a picture (P, P, 3), in place, by the share that comes with them.

    square: (s, s, 4), colours and share. matrix: see `cut_square`.
    """
    height, width = picture.shape[:2]
    size = square.shape[0]
    affine = _pixel_matrix(matrix, size, width, picture.shape)
    corners = np.array([(x, y) for x in (-1, size) for y in (-1, size)], np.float64) @ affine[:, :2].T + affine[:, 2]
    left, top = (max(int(np.floor(low)), 0) for low in corners.min(0))
    right = min(int(np.ceil(corners[:, 0].max())) + 1, width)
    bottom = min(int(np.ceil(corners[:, 1].max())) + 1, height)
    if left >= right or top >= bottom:
        return
    affine[:, 2] -= left, top
    place = right - left, bottom - top
    colours, shares = np.ascontiguousarray(square[..., :3]), np.ascontiguousarray(square[..., 3])
    shown = cv2.warpAffine(colours, affine, place, borderMode=cv2.BORDER_REPLICATE)
    share = cv2.warpAffine(shares, affine, place).astype(np.float32)  # nothing is shown beyond the square
    share *= np.float32(1 / 255)
    target = picture[top:bottom, left:right]
    target[:] = cv2.blendLinear(shown, np.ascontiguousarray(target), share, 1 - share)


def _pixel_matrix(
    matrix: FloatArray, size: int, side_px: int, shape: tuple[int, ...]
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the (2, 3) matrix from a square's pixels to the picture's, both counted from the first one's middle."""
    linear, shift = matrix[:, :2].astype(np.float64), matrix[:, 2].astype(np.float64)
    half = side_px / 2
    middle = np.array([shape[1], shape[0]]) / 2 - 0.5
    start = linear @ np.full(2, 1 / size - 1) + shift
    return np.column_stack([linear * (2 / size) * half, half * start + middle])
