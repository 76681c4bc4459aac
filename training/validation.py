"""How a run is doing: self-reenactment of a few clips."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatarify_plus.errors import DataError
from avatarify_plus.motion import MeshLayout, keypoints_from_mesh
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.types import Image, Keypoints
from training.cache import Cache
from training.contact_sheet import contact_sheet


class Validation:
    """Self-reenactment of a few clips: L1 at full size and a contact sheet. Source = first frame.

    Driving = the frame whose face differs most from it: the hardest of the clip.
    """

    def __init__(self, cache: Cache, layout: MeshLayout, clips: int) -> None:
        usable = [c for c in cache.clips if c.count > 1 and not np.isnan(cache.landmarks[c.start, 0, 0])]
        if not usable:
            raise DataError("no clip for validation begins with a face: give other --val clips")
        picked = usable[:: max(1, len(usable) // clips)][:clips]
        rows = [(clip.start, _farthest(cache, clip.start, clip.count)) for clip in picked]
        self._layout = layout
        self._pairs = [
            (np.array(cache.frames[a]), np.array(cache.frames[b]), cache.landmarks[a], cache.landmarks[b])
            for a, b in rows
        ]

    def run(self, model: AnimationModel) -> tuple[dict[str, float], Image]:
        """Return the "val L1", a mean over the pairs, and the contact sheet; leaves the model in evaluation mode."""
        model.eval()
        errors, rows = [], []
        device = next(model.parameters()).device
        with torch.no_grad():
            for source, driving, source_mesh, driving_mesh in self._pairs:
                images = torch.from_numpy(np.stack([source, driving])).to(device).permute(0, 3, 1, 2).float() / 255
                keypoints = [
                    model.locate(images[i : i + 1], self._read(mesh, device))
                    for i, mesh in enumerate((source_mesh, driving_mesh))
                ]
                prediction = model(images[:1], keypoints[0], keypoints[1])
                errors.append(float((prediction.image[0] - images[1]).abs().mean()))
                shown = [prediction.image[0]] + [o[0].expand(3, -1, -1) for o in prediction.motion.occlusions[::2]]
                rows.append([source, driving, *map(_picture, shown)])
        labels = ["source", "driving", "ours", "occlusion, coarse", "fine"][: len(rows[0])]
        return {"val L1": float(np.mean(errors))}, contact_sheet(rows, labels)

    def _read(self, mesh: np.ndarray[Any, Any], device: torch.device) -> Keypoints:
        """Return the keypoints of a mesh, with a batch dimension."""
        return Keypoints(*(torch.from_numpy(part)[None].to(device) for part in keypoints_from_mesh(mesh, self._layout)))


def _farthest(cache: Cache, start: int, count: int) -> int:
    """Return the frame whose face differs most from the first's."""
    meshes = cache.landmarks[start : start + count, :468, :2]
    distance = np.abs(meshes - meshes[0]).mean((1, 2))
    return start + int(np.nanargmax(distance))


def _picture(x: Tensor) -> Image:
    return (x.permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)
