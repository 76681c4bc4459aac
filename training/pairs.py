"""Source and driving pairs drawn from the decoded cache, with their keypoints."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarify_plus.errors import DataError
from avatarify_plus.motion import MeshLayout, keypoints_from_mesh, mirror_keypoints
from avatarify_plus.types import Image, Keypoints
from training.cache import Cache

Rows = NDArray[np.int64]
Points = NDArray[np.floating[Any]]


class Pair(NamedTuple):
    """Two pictures (S, S, 3) of one face, with their keypoints."""

    source: Image
    driving: Image
    source_keypoints: Keypoints
    driving_keypoints: Keypoints


class Batch(NamedTuple):
    """Pairs of pictures (B, 3, S, S) in [0, 1] with keypoints read off the face mesh (value (B, K, 2), ...)."""

    source: Tensor
    driving: Tensor
    source_keypoints: Keypoints
    driving_keypoints: Keypoints


class PairSampler:
    """Draw pairs: identities with weight sqrt(pictures), then a clip by its length, then two of its pictures.

    Photos (clips of one picture) give pairs of two random warps of themselves, a `photo_share` of all pairs.
    Both pictures of a pair share crop, mirror and colour jitter. Seeded: the same seed gives the same pairs.
    """

    def __init__(self, caches: list[Cache], layout: MeshLayout, image_size: int, photo_share: float, seed: int) -> None:
        self._layout = layout
        self._image_size = image_size
        self._random = np.random.default_rng(seed)
        videos: dict[str, list[tuple[Cache, Rows]]] = {}
        self._photos: list[tuple[Cache, Rows]] = []
        for cache in caches:
            for clip in cache.clips:
                seen = ~np.isnan(cache.landmarks[clip.start : clip.start + clip.count, 0, 0])
                rows = clip.start + np.flatnonzero(seen)
                if len(rows) >= 2:
                    videos.setdefault(clip.identity, []).append((cache, rows))
                elif len(rows) == 1:
                    self._photos.append((cache, rows))
        if not videos and not self._photos:
            raise DataError("no face was found in any of the training clips")
        self._videos = list(videos.values())
        self._photo_share = 1.0 if not videos else photo_share if self._photos else 0.0
        weights = np.sqrt([sum(len(rows) for _, rows in clips) for clips in self._videos])
        self._identity_weights = weights / weights.sum() if videos else weights
        self.summary = {
            "identities": len(videos),
            "clips": sum(len(clips) for clips in self._videos),
            "frames": int(sum(len(rows) for clips in self._videos for _, rows in clips)),
            "photos": len(self._photos),
            "photo_share": self._photo_share,
        }

    def batch(self, size: int) -> Batch:
        """Draw `size` pairs."""
        pairs = [
            self._photo_pair() if self._random.random() < self._photo_share else self._video_pair() for _ in range(size)
        ]
        images = np.stack([image for pair in pairs for image in pair[:2]])
        pictures = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255  # (2B, 3, S, S)
        pictures = self._jitter_colours(pictures.unflatten(0, (size, 2)))  # (B, 2, 3, S, S)
        source_keypoints = _stacked([pair.source_keypoints for pair in pairs])
        driving_keypoints = _stacked([pair.driving_keypoints for pair in pairs])
        channels_last = [pictures[:, side].contiguous(memory_format=torch.channels_last) for side in (0, 1)]
        return Batch(channels_last[0], channels_last[1], source_keypoints, driving_keypoints)

    def _video_pair(self) -> Pair:
        clips = self._videos[self._random.choice(len(self._videos), p=self._identity_weights)]
        lengths = np.array([len(rows) for _, rows in clips], np.float64)
        cache, rows = clips[self._random.choice(len(clips), p=lengths / lengths.sum())]
        pair = [int(row) for row in self._random.choice(rows, 2, replace=False)]
        side = cache.frames.shape[1]
        window = side * self._random.uniform(0.8, 1.0)  # a common zoom: nothing outside the picture is needed
        left, top = self._random.uniform(0, side - window, 2)
        zoom = self._image_size / window
        transform = np.array([[zoom, 0, -left * zoom], [0, zoom, -top * zoom]])
        images = [
            cv2.warpAffine(
                _shrunk(cache.frames[row], self._image_size),
                _rescaled(transform, cache.frames, self._image_size),
                (self._image_size, self._image_size),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REFLECT_101,
            )
            for row in pair
        ]
        meshes = [(cache.landmarks[row, :, :2] * side - [left, top]) / window for row in pair]
        return self._mirrored(images, meshes)

    def _photo_pair(self) -> Pair:
        cache, rows = self._photos[self._random.integers(len(self._photos))]
        photo, mesh = cache.frames[int(rows[0])], cache.landmarks[int(rows[0]), :, :2]
        photo = _shrunk(photo, self._image_size)
        warped = [warp_photo(photo, mesh, self._image_size, self._random) for _ in range(2)]
        return self._mirrored([image for image, _ in warped], [landmarks for _, landmarks in warped])

    def _mirrored(self, images: list[Image], meshes: list[Points]) -> Pair:
        keypoints = [keypoints_from_mesh(mesh.astype(np.float32), self._layout) for mesh in meshes]
        if self._random.random() < 0.5:
            images = [image[:, ::-1] for image in images]
            keypoints = [mirror_keypoints(k, self._layout) for k in keypoints]
        return Pair(images[0], images[1], keypoints[0], keypoints[1])

    def _jitter_colours(self, pictures: Tensor) -> Tensor:
        """Vary brightness, contrast and saturation by up to 15 %, a pair alike; (B, 2, 3, S, S)."""
        factor = torch.from_numpy(self._random.uniform(0.85, 1.15, (3, len(pictures), 1, 1, 1, 1))).float()
        brightness, contrast, saturation = factor
        pictures = pictures * brightness
        mean = pictures.mean((1, 2, 3, 4), keepdim=True)
        pictures = mean + contrast * (pictures - mean)
        grey = pictures.mean(2, keepdim=True)
        return (grey + saturation * (pictures - grey)).clamp(0, 1)


def _stacked(keypoints: list[Keypoints]) -> Keypoints:
    """Return torch keypoints with a batch dimension."""
    return Keypoints(*(torch.from_numpy(np.stack(parts)) for parts in zip(*keypoints, strict=True)))


def warp_photo(photo: Image, mesh: Points, size: int, random: np.random.Generator) -> tuple[Image, Points]:
    """Warp a photo by a random affine map and thin-plate spline, its mesh (P, 2) in [0, 1] along with it.

    The equivariance transform of FOMM (affine sigma 0.05, 5 x 5 control points, sigma 0.005 in [-1, 1]), with a zoom.
    """
    affine = np.eye(2) * random.uniform(0.85, 1.05) + random.normal(0, 0.05, (2, 2))
    shift = random.normal(0, 0.05, 2)
    line = np.linspace(-1, 1, 5)
    control = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)  # (25, 2)
    weight = random.normal(0, 0.005, (25, 2))

    def backward(points: Points) -> Points:
        distance = np.abs(points[:, None] - control[None]).sum(-1)  # (P, 25), FOMM's L1 radius
        return points @ affine.T + shift + (distance**2 * np.log(distance + 1e-6)) @ weight

    coarse = np.linspace(-1, 1, 17)
    grid = backward(np.stack(np.meshgrid(coarse, coarse), -1).reshape(-1, 2)).reshape(17, 17, 2)
    fine = cv2.resize(_extended(grid), (size, size), interpolation=cv2.INTER_LINEAR)
    pixels = ((fine + 1) * photo.shape[0] / 2 - 0.5).astype(np.float32)
    image = cv2.remap(photo, pixels[..., 0], pixels[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    target = mesh * 2 - 1
    points = (target - shift) @ np.linalg.inv(affine).T
    for _ in range(4):  # fixed-point inversion: the spline is a small change of the affine map
        points = points - (backward(points) - target) @ np.linalg.inv(affine).T
    return image, (points + 1) / 2


def _extended(grid: Points) -> Points:
    """Resample a corner-aligned 17 x 17 grid so that cv2.resize, which is cell-aligned, meets the corners."""
    line = (np.arange(64) + 0.5) / 64 * 16
    whole = np.clip(line.astype(int), 0, 15)
    part = (line - whole)[:, None]
    rows = grid[whole] * (1 - part[..., None]) + grid[whole + 1] * part[..., None]  # (64, 17, 2)
    return (rows[:, whole] * (1 - part) + rows[:, whole + 1] * part).astype(np.float32)  # (64, 64, 2)


def _shrunk(frame: Image, size: int) -> Image:
    """Halve a picture by area average while it stays at least `size` wide: warping then aliases little."""
    while frame.shape[0] >= 2 * size:
        frame = cv2.resize(frame, (frame.shape[1] // 2, frame.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return frame


def _rescaled(transform: Points, frames: np.ndarray, size: int) -> Points:
    """Adapt a transform of full-size pixels to pictures that `_shrunk` halved; pixel centres at half integers."""
    halvings, side = 0, frames.shape[1]
    while side >= 2 * size:
        side //= 2
        halvings += 1
    linear = transform[:, :2] * 2**halvings
    # A cv2 pixel index i stands for the coordinate i + 0.5.
    offset = transform[:, 2] + linear @ [0.5, 0.5] - 0.5
    return np.concatenate([linear, offset[:, None]], axis=1)
