"""Pairs as pictures: crop, warp, mirror and colour on the device that trains."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from avatarify_plus.motion.keypoints import MIN_AREA_RATIO, MeshLayout
from avatarify_plus.network.blocks import coordinate_grid, invert, resize
from avatarify_plus.types import Keypoints
from training.data.pairs import Batch, BatchChoice, IntArray

SPLINE_NODES = 17
"""A spline is computed on this many nodes a side and interpolated in between."""


class Renderer:
    """Turn chosen frames into a batch; the same on every device except for rounding."""

    def __init__(self, layout: MeshLayout, mirror: IntArray, device: torch.device) -> None:
        self._operator = torch.from_numpy(layout.operator).to(device)
        self._mirror = torch.from_numpy(mirror).to(device)
        line = torch.linspace(-1, 1, 5, device=device)
        self._control = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).flatten(0, 1)  # (25, 2)

    def render(
        self,
        frames: Tensor,
        meshes: Tensor | None,
        choice: BatchChoice,
        size: int,
        reach: float = 0.0,
        photo_size: int | None = None,
    ) -> Batch:
        """Render pairs.

        frames: (2B, S, S, 3) uint8 on the device, the sources and then the driving pictures. meshes: (2B, 478, 2) in
        [0, 1]; without them, the batch has neither mesh nor keypoints. size: side of the batch's pictures in px.
        reach: render the photo around each source's square, of this many sides, and the driving picture in its
        resolution, `photo_size` px a square, a multiple of `size`; 0 leaves both out.
        """
        device, pairs = frames.device, len(choice.rows)
        affine, mirrored, colours = (
            torch.from_numpy(values).to(device, non_blocking=True)
            for values in (_sides(choice.affine), np.tile(choice.is_mirrored, 2), choice.colours)
        )
        photos = np.flatnonzero(np.tile(choice.is_photo, 2))
        warped = torch.from_numpy(photos).to(device, non_blocking=True)
        spline = torch.from_numpy(_sides(choice.spline)[photos]).to(device, non_blocking=True)
        sign = torch.where(mirrored, -1.0, 1.0)
        finest = photo_size or size
        shrunk = _shrunk(frames, finest)
        photo = sharp = None
        if reach:
            is_source = warped < pairs
            sides = (
                (slice(0, pairs), is_source, warped, round(reach * finest), reach),
                (slice(pairs, None), ~is_source, warped - pairs, finest, 1.0),
            )
            photo, sharp = (
                F.grid_sample(
                    shrunk[part],
                    self._grid(affine[part], sign[part], rows[own], spline[own], side, extent),
                    padding_mode="reflection",
                    align_corners=False,
                )
                for part, own, rows, side, extent in sides
            )
            photo, sharp = _coloured(photo, sharp, colours)
            start = (photo.shape[-1] - finest) // 2
            square = photo[..., start : start + finest, start : start + finest]
            source, driving = resize(square, size), resize(sharp, size)
        else:
            grid = self._grid(affine, sign, warped, spline, size)
            pictures = F.grid_sample(shrunk, grid, padding_mode="reflection", align_corners=False)
            source, driving = _coloured(pictures[:pairs], pictures[pairs:], colours)
        source, driving = (side.contiguous(memory_format=torch.channels_last) for side in (source, driving))
        is_photo = torch.from_numpy(choice.is_photo).to(device, non_blocking=True)
        if meshes is None:
            return Batch(source, driving, None, None, None, is_photo, photo=photo, sharp=sharp)
        found = self._moved(meshes * 2 - 1, affine, sign, mirrored, warped, spline)
        keypoints = mesh_keypoints(found, self._operator)
        return Batch(
            source,
            driving,
            Keypoints(*(part[:pairs] for part in keypoints)),
            Keypoints(*(part[pairs:] for part in keypoints)),
            (found[pairs:] + 1) / 2,
            is_photo,
            photo=photo,
            sharp=sharp,
            source_mesh=(found[:pairs] + 1) / 2,
        )

    def _grid(
        self, affine: Tensor, sign: Tensor, warped: Tensor, spline: Tensor, size: int, extent: float = 1.0
    ) -> Tensor:
        """Return the frame's coordinates (N, size, size, 2) of every pixel of a region of `extent` squares."""
        line = extent * coordinate_grid(size, False, affine)[0, :, 0]
        x, y = sign[:, None, None] * line, line[:, None]  # (N, 1, size) and (size, 1)
        grid = affine.new_empty(len(affine), size, size, 2)
        for axis in (0, 1):
            row = affine[:, axis, :, None, None]
            torch.add(row[:, 0] * x, row[:, 1] * y + row[:, 2], out=grid[..., axis])
        if len(warped):
            nodes = coordinate_grid(SPLINE_NODES, True, affine).flatten(0, 1)
            shift = self._spline(nodes.expand(len(warped), -1, -1), spline)
            shift = shift.unflatten(1, (SPLINE_NODES, SPLINE_NODES)).permute(0, 3, 1, 2)  # (n, 2, 17, 17)
            plain = torch.stack(torch.broadcast_tensors(x[warped], y), -1)  # (n, size, size, 2)
            shift = F.grid_sample(shift, plain, padding_mode="border", align_corners=True)
            grid[warped] += shift.permute(0, 2, 3, 1)  # (n, size, size, 2)
        return grid

    def _moved(
        self, points: Tensor, affine: Tensor, sign: Tensor, mirrored: Tensor, warped: Tensor, spline: Tensor
    ) -> Tensor:
        """Return where a frame's mesh (N, 478, 2) in [-1, 1] lies in the new picture: the inverse of the grid's map."""
        linear, shift = affine[:, :, :2], affine[:, None, :, 2]
        inverse = invert(linear)
        moved = (points - shift) @ inverse.mT
        if len(warped):
            target, inner = points[warped] - shift[warped], moved[warped]
            for _ in range(4):  # fixed-point inversion: the spline is a small change of the affine map
                inner = (target - self._spline(inner, spline)) @ inverse[warped].mT
            moved[warped] = inner
        moved = torch.where(mirrored[:, None, None], moved[:, self._mirror], moved)
        return torch.stack([moved[..., 0] * sign[:, None], moved[..., 1]], -1)

    def _spline(self, points: Tensor, weight: Tensor) -> Tensor:
        """Return the displacement of points (N, P, 2) by splines (N, 25, 2) over FOMM's L1 radius."""
        distance = (points[:, :, None] - self._control).abs().sum(-1)  # (N, P, 25)
        return (distance.square() * torch.log(distance + 1e-6)) @ weight


def mesh_keypoints(points: Tensor, operator: Tensor) -> Keypoints:
    """Read keypoints off meshes (N, 478, 2) in [-1, 1]: `motion.keypoints_from_mesh` in torch."""
    rows = (operator.flatten(0, 1) @ points).unflatten(1, operator.shape[:2])  # (N, K + 1, 3, 2)
    value, jacobian = rows[:, :-1, 0], rows[:, :, 1:].mT  # (N, K + 1, 2 [x, y], 2 [d/dx, d/dy])
    local, face = jacobian[:, :-1], jacobian[:, -1:]
    area = jacobian[..., 0, 0] * jacobian[..., 1, 1] - jacobian[..., 0, 1] * jacobian[..., 1, 0]  # (N, K + 1)
    ratio = area[:, :-1] / area[:, -1:].clamp(min=1e-9)
    trust = (ratio / MIN_AREA_RATIO).clamp(0, 1)[..., None, None]
    return Keypoints(value.contiguous(), face + trust * (local - face))


def _sides(values: np.ndarray) -> np.ndarray:
    """Reorder (B, 2, ...) to (2B, ...), the sources and then the driving pictures."""
    return np.ascontiguousarray(values.swapaxes(0, 1)).reshape(-1, *values.shape[2:])


def _shrunk(frames: Tensor, size: int) -> Tensor:
    """Return pictures (N, 3, s, s) in [0, 1], halved by area average while they stay at least `size` wide.

    Warping then aliases little. Whole numbers are added before anything becomes float: a third of the time on a CPU.
    """
    total, scale = frames, 1 / 255
    while total.shape[1] >= 2 * size:
        total = (total if total.dtype == torch.int32 else total.to(torch.int16)).unflatten(1, (-1, 2))
        total = total[:, :, 0] + total[:, :, 1]  # (N, h / 2, w, 3)
        total = total.unflatten(2, (-1, 2))
        total = (total[:, :, :, 0] + total[:, :, :, 1]).to(torch.int32)  # (N, h / 2, w / 2, 3)
        scale /= 4
    return total.permute(0, 3, 1, 2).contiguous().float().mul_(scale)  # (N, 3, h, w)


def _coloured(source: Tensor, driving: Tensor, colours: Tensor) -> tuple[Tensor, Tensor]:
    """Scale brightness, contrast about the pair's mean, and saturation about the grey; (B, 3, h, w) of any sizes."""
    brightness, contrast, saturation = colours.T[:, :, None, None, None]  # (B, 1, 1, 1) each
    greys = [picture.mean(1, keepdim=True) for picture in (source, driving)]
    mean = sum(grey.mean((1, 2, 3), keepdim=True) for grey in greys) / 2  # (B, 1, 1, 1)
    gain = contrast * brightness
    first, second = (
        picture.mul_(saturation * gain)
        .add_((1 - saturation) * gain * grey + (1 - contrast) * brightness * mean)
        .clamp_(0, 1)
        for picture, grey in zip((source, driving), greys, strict=True)
    )
    return first, second
