"""Source and driving pairs: which pictures, and how they are cropped, warped, mirrored and coloured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from avatarify_plus.errors import ConfigError, DataError
from avatarify_plus.motion.keypoints import MeshLayout, load_mean_face
from avatarify_plus.types import FloatArray, Keypoints
from training.data.cache import Cache, Clip
from training.data.contours import BatchContours
from training.data.datasets import Subject, tells_person
from training.data.face_points import openings, require_face
from training.data.flow import Flow

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

CANDIDATES = 8
"""Of this many driving frames a hard pair takes the one that is farthest from its source."""

FACE_ASPECT, MOUTH_ASPECT, EYES_ASPECT = range(3)
ASPECT_SHARES = (0.3, 0.45, 0.25)
"""The shares of hard pairs that differ in the whole face, the mouth and the eyes. Warping cannot show the inside of a
mouth, so mouths have the largest share."""

MOUTH = ("lip", "corner")
"""How the names of a layout's keypoints at the mouth end."""

EYES = ("eyelid", "iris")
"""How the names of a layout's keypoints at the eyes end."""

SPLINE_POINTS = 25
CERTAIN_MIRRORS = {61: 291, 76: 306, 62: 292, 78: 308, 234: 454, 227: 447}
"""Mirror images of mesh points that lie so close to others that the nearest point may be the wrong one."""


@dataclass(frozen=True, slots=True)
class PairOptions:
    """Shares of the kinds of pairs, how identities are balanced, and which squares of the pictures are shown.

    smallest_square: a pair's squares have a random side between this and 1, in sides of its pictures. apart: share of
    pairs whose two squares lie in different places, so that things come in that the source's square does not show.
    """

    photo_share: float = 0.1
    still_share: float = 0.05
    hard_share: float = 0.7
    identity_exponent: float = 0.5
    smallest_square: float = 0.8
    apart: float = 0.0

    def __post_init__(self) -> None:
        if not 0.5 <= self.smallest_square <= 1 or not 0 <= self.apart <= 1:
            raise ConfigError(f"smallest_square must be from 0.5 to 1 and apart from 0 to 1, found {self}")
        if min(self.photo_share, self.still_share) < 0 or self.photo_share + self.still_share > 1:
            raise ConfigError(f"the shares of photos and stills must be from 0 to 1 together, found {self}")
        if not 0 <= self.hard_share <= 1 or not 0 <= self.identity_exponent <= 1:
            raise ConfigError(f"hard_share and identity_exponent must be from 0 to 1, found {self}")


class Batch(NamedTuple):
    """Pairs of pictures (B, 3, S, S) in [0, 1], channels last, as the network trains on them.

    source_keypoints, driving_keypoints: read off the face mesh, value (B, K, 2), jacobian (B, K, 2, 2).
    driving_mesh: (B, 478, 2) in [0, 1] of the driving picture, numbered as if found in the mirrored picture itself.
    These three are None where the subject is not a face.
    is_photo: (B,) True where both pictures are warps of one photo. flow: from driving to source, or None.
    The rest is for networks with `photo_reach` R, otherwise None. photo: the region around the source's square,
    (B, 3, R P, R P). sharp: the driving picture in the photo's resolution, (B, 3, P, P). source_mesh: like
    driving_mesh. contours: drawn from both meshes, for networks that read them.
    """

    source: Tensor
    driving: Tensor
    source_keypoints: Keypoints | None
    driving_keypoints: Keypoints | None
    driving_mesh: Tensor | None
    is_photo: Tensor
    flow: Flow | None = None
    photo: Tensor | None = None
    sharp: Tensor | None = None
    source_mesh: Tensor | None = None
    contours: BatchContours | None = None


class BatchChoice(NamedTuple):
    """Everything random about a batch, in NumPy: the same on every device.

    rows: (B, 2) the pool's rows of source and driving.
    affine: (B, 2, 2, 3) and spline: (B, 2, 25, 2), from the new picture's coordinates in [-1, 1] to the frame's; the
    spline is zero except for photos. is_mirrored: (B,), applied before both. colours: (B, 3) factors of brightness,
    contrast and saturation. is_photo: (B,) see `Batch`.
    """

    rows: IntArray
    affine: FloatArray
    spline: FloatArray
    is_mirrored: BoolArray
    colours: FloatArray
    is_photo: BoolArray

    def part(self, rank: int, ranks: int) -> BatchChoice:
        """Return one rank's equal share."""
        size = len(self.rows) // ranks
        share = slice(rank * size, (rank + 1) * size)
        return BatchChoice._make(values[share] for values in self)


class Pool:
    """The frames and meshes of all caches under one row number.

    has_meshes: whether the subject is a face; if not, the caches' meshes are not used.
    """

    def __init__(self, caches: list[Cache], subject: Subject = "face") -> None:
        self.caches = caches
        self.has_meshes = subject == "face"
        self.starts = np.cumsum([0, *(len(cache.frames) for cache in caches)])
        sides = {cache.frames.shape[1] for cache in caches}
        if len(sides) != 1:
            raise DataError(f"all clips must be decoded at one size, found {sorted(sides)} px: give one --cache folder")
        self.side = sides.pop()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def usable_rows(self, cache: Cache, clip: Clip) -> IntArray:
        """Return the cache's rows of a clip that training may use: those that show a face, or all."""
        rows = np.arange(clip.start, clip.start + clip.count)
        if not self.has_meshes:
            return rows
        return rows[~np.isnan(cache.landmarks[clip.start : clip.start + clip.count][:, 0, 0])]

    def frames(self, rows: IntArray, out: NDArray[np.uint8]) -> None:
        """Copy frames (n, S, S, 3) into `out`."""
        for index, row in enumerate(rows):
            cache = int(np.searchsorted(self.starts, row, "right")) - 1
            out[index] = self.caches[cache].frames[row - self.starts[cache]]

    def meshes(self, rows: IntArray) -> FloatArray:
        """Return meshes (..., 478, 2) in [0, 1] of the frame for rows (...).

        Raises DataError if one is no face's.
        """
        flat = rows.ravel()
        found = np.empty((flat.size, self.caches[0].landmarks.shape[1], 2), np.float32)
        for index, row in enumerate(flat):
            cache = int(np.searchsorted(self.starts, row, "right")) - 1
            found[index] = self.caches[cache].landmarks[row - self.starts[cache]][:, :2]
            require_face(found[index])
        return found.reshape(*rows.shape, *found.shape[1:])


class _Groups:
    """Rows of identities and of the clips in them: draw an identity by weight, a row of it, and others of that clip."""

    def __init__(self, identities: list[list[IntArray]], exponent: float) -> None:
        clips = [rows for identity in identities for rows in identity]
        self.rows = np.concatenate(clips)
        lengths = np.array([len(rows) for rows in clips])
        self._clip_length = np.repeat(lengths, lengths)  # of each row's clip
        self._clip_start = np.repeat(np.cumsum(lengths) - lengths, lengths)
        self._length = np.array([sum(len(rows) for rows in identity) for identity in identities])
        self._start = np.cumsum(self._length) - self._length
        weights = self._length**exponent
        self._upper = np.cumsum(weights) / weights.sum()

    def draw(self, chance: NDArray[np.float64]) -> tuple[IntArray, IntArray]:
        """Turn random numbers (B, 2 + n) in [0, 1) into rows (B,) and n other rows of the same clip (B, n)."""
        identity = np.minimum(np.searchsorted(self._upper, chance[:, 0], "right"), len(self._upper) - 1)
        position = self._start[identity] + (chance[:, 1] * self._length[identity]).astype(np.int64)
        start, length = self._clip_start[position][:, None], self._clip_length[position][:, None]
        step = 1 + (chance[:, 2:] * (length - 1)).astype(np.int64)  # never a whole turn: never the same row
        others = start + (position[:, None] - start + step) % length
        return self.rows[position], self.rows[others]


class PairSampler:
    """Choose pairs: identities with weight pictures ** identity_exponent, then two pictures of one of their clips.

    A `hard_share` of them takes the farthest of CANDIDATES driving frames: by the whole face, the mouth or the eyes. Of
    two frames chosen for their mouths, the more closed one is the source; for their eyes, the more open one: as photos
    are, and the harder way round. Without meshes there are no hard pairs.
    Photos (clips of one picture) give pairs of two random warps of themselves; several photos of one person also give
    pairs of two stills. Both pictures of a pair share crop, mirror and colour jitter. The n-th batch depends only on
    the seed and n.
    """

    def __init__(self, pool: Pool, layout: MeshLayout, options: PairOptions, seed: int) -> None:
        self._pool, self._layout, self._seed, self._options = pool, layout, seed, options
        self._hard_share = options.hard_share if pool.has_meshes else 0.0
        videos: dict[str, list[IntArray]] = {}
        photos: dict[str, list[IntArray]] = {}
        for number, (cache, start) in enumerate(zip(pool.caches, pool.starts[:-1], strict=True)):
            for clip in cache.clips:
                rows = start + pool.usable_rows(cache, clip)
                # A number or a camera's name that two folders share is another person's in each.
                identity = clip.identity if tells_person(clip.identity) else f"{number}/{clip.identity}"
                if len(rows):
                    (videos if len(rows) > 1 else photos).setdefault(identity, []).append(rows)
        if not videos and not photos:
            raise DataError("no face was found in any of the training clips")
        stills = [[np.concatenate(rows)] for rows in photos.values() if len(rows) > 1]
        self._photos = np.concatenate([row for rows in photos.values() for row in rows] or [np.zeros(0, np.int64)])
        self._stills = _Groups(stills, options.identity_exponent) if stills else None
        self._videos = _Groups(list(videos.values()), options.identity_exponent) if videos else None
        self._still_share = options.still_share if stills else 0.0
        self._photo_share = options.photo_share if photos else 0.0
        if not videos:
            self._photo_share = 1 - self._still_share
        self._parts = [_landmarks_of(layout, names) for names in (MOUTH, EYES)]
        self.summary: dict[str, Any] = {
            "identities": len(videos),
            "clips": sum(len(clips) for clips in videos.values()),
            "frames": sum(len(rows) for clips in videos.values() for rows in clips),
            "photos": len(self._photos),
            "photo_share": self._photo_share,
            "still_share": self._still_share,
            "hard_share": self._hard_share,
        }

    def random(self, index: int) -> np.random.Generator:
        """Return a generator for what else is random about the batch of that number, such as its window."""
        return np.random.default_rng([self._seed, 1, index])

    def choose(self, index: int, size: int) -> BatchChoice:
        """Choose the pairs of the batch of that number."""
        random = np.random.default_rng([self._seed, 0, index])
        kind, chance = random.random(size), random.random((size, 2 + CANDIDATES))
        is_photo = kind < self._photo_share
        is_still = ~is_photo & (kind < self._photo_share + self._still_share)
        is_video = ~is_photo & ~is_still
        rows = np.empty((size, 2), np.int64)
        if is_photo.any():
            rows[is_photo] = self._photos[(chance[is_photo, :1] * len(self._photos)).astype(np.int64)]
        is_hard = random.random(size) < self._hard_share
        aspect = random.choice(len(ASPECT_SHARES), size, p=ASPECT_SHARES)
        for groups, mask in ((self._stills, is_still), (self._videos, is_video)):
            if groups is not None and mask.any():
                source, others = groups.draw(chance[mask])
                rows[mask] = self._pairs(source, others, is_hard[mask], aspect[mask])
        affine, spline = self._maps(random, is_photo)
        is_mirrored = random.random(size) < 0.5
        colours = random.uniform(0.85, 1.15, (size, 3)).astype(np.float32)
        return BatchChoice(rows, affine, spline, is_mirrored, colours, is_photo)

    def _maps(self, random: np.random.Generator, is_photo: BoolArray) -> tuple[FloatArray, FloatArray]:
        """Draw a common crop per pair, but a random affine map and spline for each picture of a photo.

        Crops lie inside the picture, some of the driving ones apart from their source's. A photo's warp is the
        equivariance transform of FOMM (affine sigma 0.05, 5 x 5 control points of sigma 0.005 in [-1, 1]), with a zoom.
        """
        size = len(is_photo)
        side, corner = random.uniform(self._options.smallest_square, 1.0, (size, 1)), random.random((size, 2))
        zoom, noise = random.uniform(0.85, 1.05, (size, 2)), random.normal(0, 0.05, (size, 2, 2, 3))
        spline = random.normal(0, 0.005, (size, 2, SPLINE_POINTS, 2))
        crop = np.zeros((size, 2, 2, 3))
        crop[..., 0, 0] = crop[..., 1, 1] = side
        crop[..., 2] = (2 * corner * (1 - side) + side - 1)[:, None]
        if self._options.apart:
            own = np.clip(corner + random.uniform(-0.5, 0.5, (size, 2)), 0, 1)
            is_apart = (random.random(size) < self._options.apart)[:, None]
            crop[:, 1, :, 2] = np.where(is_apart, 2 * own * (1 - side) + side - 1, crop[:, 1, :, 2])
        warp = noise + zoom[..., None, None] * np.eye(2, 3)
        photo = is_photo[:, None, None, None]
        return np.where(photo, warp, crop).astype(np.float32), np.where(photo, spline, 0).astype(np.float32)

    def _pairs(self, source: IntArray, others: IntArray, is_hard: BoolArray, aspect: IntArray) -> IntArray:
        """Return (B, 2): source (B,) with the first of others (B, n) or, where hard, the one that differs most."""
        pairs = np.stack([source, others[:, 0]], 1)
        hard = np.flatnonzero(is_hard)
        if not len(hard):
            return pairs
        rows = np.concatenate([source[hard, None], others[hard]], 1)  # (h, 1 + n)
        meshes = self._pool.meshes(rows)  # (h, 1 + n, 478, 2)
        farthest = 1 + mesh_distances(meshes, aspect[hard], self._layout, self._parts).argmax(1)
        places = np.arange(len(hard))
        mouth, eyes = (opening[places, farthest] - opening[:, 0] for opening in openings(meshes))
        is_reversed = ((aspect[hard] == MOUTH_ASPECT) & (mouth < 0)) | ((aspect[hard] == EYES_ASPECT) & (eyes > 0))
        found = np.stack([rows[:, 0], rows[places, farthest]], 1)
        pairs[hard] = np.where(is_reversed[:, None], found[:, ::-1], found)
        return pairs


def mesh_distances(
    meshes: FloatArray, aspect: IntArray, layout: MeshLayout, parts: list[IntArray]
) -> NDArray[np.floating[Any]]:
    """Return (B, n): how far the meshes (B, 1 + n, 478, 2) are from the first, by each pair's aspect (B,).

    The whole face is compared as it lies in the picture, in sizes of the face. Of mouth and eyes, the landmarks are
    compared after the affine map that takes the face to the mean face, so that the pose does not count.
    """
    face = layout.operator[-1] @ meshes  # (B, 1 + n, 3, 2): centre, d/dx, d/dy of the mean face's affine map
    centred = meshes - face[..., :1, :]
    size = np.sqrt(np.square(centred[:, :1]).sum(-1, keepdims=True).mean(-2, keepdims=True))  # (B, 1, 1, 1)
    shape = centred @ np.linalg.inv(face[..., 1:, :])  # points = shape @ [d/dx, d/dy]
    found = np.empty((len(meshes), meshes.shape[1] - 1))
    for index, (values, points) in enumerate([(meshes / size, slice(None)), *((shape, part) for part in parts)]):
        own = aspect == index
        chosen = values[own][:, :, points]
        found[own] = np.linalg.norm(chosen[:, 1:] - chosen[:, :1], axis=-1).mean(-1)
    return found


def _landmarks_of(layout: MeshLayout, endings: tuple[str, ...]) -> IntArray:
    """Return the mesh points of the keypoints whose names have one of the endings; all points if there are none."""
    keypoints = [index for index, name in enumerate(layout.names) if name.endswith(endings)]
    points = np.flatnonzero(np.abs(layout.operator[keypoints, 0]).sum(0))
    return points if len(points) else np.arange(layout.operator.shape[-1])


def mesh_mirror(layout_name: str) -> IntArray:
    """Return (478,) the index of each mesh point's mirror image, by the mean face of a layout.

    Closest pairs first, so that the result is its own inverse.
    """
    face = load_mean_face(layout_name)
    count = len(face)
    distance = np.linalg.norm((face * [-1, 1])[:, None] - face, axis=-1)
    mirror = np.full(count, -1, np.int64)
    for left, right in CERTAIN_MIRRORS.items():
        mirror[left], mirror[right] = right, left
    for left, right in zip(
        *np.unravel_index(np.argsort(distance, axis=None, kind="stable"), distance.shape), strict=True
    ):
        if mirror[left] < 0 and mirror[right] < 0:
            mirror[left], mirror[right] = right, left
    return mirror
