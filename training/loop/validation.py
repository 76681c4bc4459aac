"""How a run is doing: self-reenactment of a few clips."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from avatarify_plus.errors import DataError
from avatarify_plus.face.contours import contour_points, draw_contours
from avatarify_plus.face.landmarks import MESH_POINTS
from avatarify_plus.motion.keypoints import MeshLayout, keypoints_from_mesh
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.network.dense_motion import Contours
from avatarify_plus.pictures.images import resize
from avatarify_plus.types import FloatArray, Image, Keypoints
from training.contact_sheet import contact_sheet
from training.data.cache import Cache
from training.data.datasets import Subject
from training.data.face_points import require_face
from training.networks import Network


class Validation:
    """Self-reenactment of a few clips: L1 at the network's size and a contact sheet.

    The source is a clip's first frame, the driving frame the hardest: its face, or the whole picture of other subjects,
    differs most from the source's.
    """

    def __init__(self, cache: Cache, layout: MeshLayout, clips: int, subject: Subject = "face") -> None:
        self._layout = layout if subject == "face" else None
        usable = [clip for clip in cache.clips if clip.count > 1 and self._shows(cache.landmarks[clip.start])]
        if not usable:
            wanted = "begins with a face" if subject == "face" else "has two pictures"
            raise DataError(f"no clip for validation {wanted}: give other --val clips")
        picked = usable[:: max(1, len(usable) // clips)][:clips]
        farthest = _farthest_face if subject == "face" else _farthest_picture
        rows = [(clip.start, farthest(cache, clip.start, clip.count)) for clip in picked]
        if self._layout is not None:
            for row in {row for pair in rows for row in pair}:
                require_face(cache.landmarks[row])
        self._pairs = [(cache.frames[a], cache.frames[b], cache.landmarks[a], cache.landmarks[b]) for a, b in rows]

    def run(self, model: Network) -> tuple[dict[str, float], Image]:
        """Return "val L1", the mean over the pairs, and the contact sheet; leave the model in evaluation mode."""
        model.eval()
        errors, rows = [], []
        device = next(model.parameters()).device
        with torch.no_grad():
            for source, driving, source_mesh, driving_mesh in self._pairs:
                source, driving = (resize(picture, model.config.image_size) for picture in (source, driving))
                images = torch.from_numpy(np.stack([source, driving])).to(device).permute(0, 3, 1, 2).float() / 255
                keypoints = [
                    model.locate(images[i : i + 1], self._read(mesh, device))
                    for i, mesh in enumerate((source_mesh, driving_mesh))
                ]
                prediction = model(
                    images[:1], *keypoints, *self._extras(model.config, images, source_mesh, driving_mesh)
                )
                picture = prediction.image
                assert picture is not None, "the photo is at hand"
                errors.append(float((picture[0] - images[1]).abs().mean()))
                shown = [picture[0]] + [o[0].expand(3, -1, -1) for o in prediction.motion.occlusions[::2]]
                rows.append([source, driving, *map(_picture, shown)])
        labels = ["source", "driving", "ours", "occlusion, coarse", "fine"][: len(rows[0])]
        return {"val L1": float(np.mean(errors))}, contact_sheet(rows, labels)

    def _extras(
        self, config: NetworkConfig, images: Tensor, source_mesh: FloatArray, driving_mesh: FloatArray
    ) -> tuple[Any, ...]:
        """Return what else a network with `photo_reach` takes: window, contours, and the photo, mirrored outwards."""
        if not config.photo_reach:
            return ()
        margin = round((config.photo_reach - 1) / 2 * config.image_size)
        photo = F.pad(images[:1], (margin, margin, margin, margin), mode="reflect")
        if not config.contour_width:
            return None, None, photo
        drawn = [
            draw_contours(contour_points(mesh) * 2 - 1, config.contour_size) for mesh in (source_mesh, driving_mesh)
        ]
        contours = Contours(*(torch.from_numpy(masks)[None].to(images) / 255 for masks in drawn))
        return None, contours, photo

    def _shows(self, mesh: FloatArray) -> bool:
        """Return whether a picture with this mesh (478, 3) can be a source."""
        return self._layout is None or not np.isnan(mesh[0, 0])

    def _read(self, mesh: FloatArray, device: torch.device) -> Keypoints | None:
        """Return the keypoints of a mesh, with a batch dimension; None where the subject has none."""
        if self._layout is None:
            return None
        return Keypoints(*(torch.from_numpy(part)[None].to(device) for part in keypoints_from_mesh(mesh, self._layout)))


def _farthest_face(cache: Cache, start: int, count: int) -> int:
    """Return the frame whose face differs most from the first's."""
    meshes = cache.landmarks[start : start + count][:, :MESH_POINTS, :2]
    distance = np.abs(meshes - meshes[0]).mean((1, 2))
    return start + int(np.nanargmax(distance))


def _farthest_picture(cache: Cache, start: int, count: int) -> int:
    """Return the frame whose colours differ most from the first's."""
    first = cache.frames[start].astype(np.int16)
    return start + int(np.argmax([np.abs(cache.frames[start + i] - first).mean() for i in range(count)]))


def _picture(x: Tensor) -> Image:
    return (x.permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)
