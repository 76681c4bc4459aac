"""Build a mesh layout: clusters of face-mesh points that serve as keypoints, and the mean face they refer to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.errors import DataError
from avatarify_plus.face.landmarks import FACE_SIDES, LANDMARK_COUNT, MESH_POINTS, NOSE_TIP, OUTER_EYE_CORNERS
from avatarify_plus.program.command_line import ProgramParser, configure_logging, require_place, run_program
from avatarify_plus.program.whole_file import save_result

# isort: split
import numpy as np

from training.data.cache import open_cache

# Points on the subject's right half (the picture's left) or on the middle line; the left half follows by symmetry.
RIGHT = {
    "mouth corner": [61, 76, 185, 146, 191, 95],
    "upper eyelid": [246, 161, 160, 159, 158, 157, 173],
    "lower eyelid": [7, 163, 144, 145, 153, 154, 155],
    "iris": [468, 469, 470, 471, 472],
    "brow": [70, 63, 105, 66, 107, 46, 53, 52, 65, 55],
    "jaw": [172, 136, 150, 58, 132, 149],
    "cheek": [50, 101, 118, 117, 123, 147, 187, 205, 36],
}
MIDDLE = {
    "upper lip": [0, 37, 39, 40, 82, 81, 80, 13],
    "lower lip": [17, 84, 181, 91, 14, 87, 178, 88],
    "nose tip": [1, 4, 19, 94, 2, 98, 48],
    "nose bridge": [6, 168, 197, 195, 5, 122, 193],
    "chin": [152, 148, 176, 175, 199, 200, 18, 83],
    "forehead": [10, 151, 9, 67, 109, 108, 69],
}
IRISES = ([468, 469, 470, 471, 472], [473, 476, 475, 474, 477])  # centre, outer, top, inner, bottom in mirror order


def mean_frontal_face(landmarks: np.ndarray) -> np.ndarray:
    """Return the (478, 2) mean of the straightest fifth of (N, 478, 3) faces, centred, RMS radius 1."""
    faces = landmarks.astype(np.float64)
    (right, left), sides = OUTER_EYE_CORNERS, list(FACE_SIDES)
    eyes = faces[:, left, :2] - faces[:, right, :2]
    turn = np.abs(faces[:, NOSE_TIP, 0] - faces[:, sides, 0].sum(1) / 2) / np.linalg.norm(eyes, axis=1)
    faces = faces[np.argsort(turn)[: max(1, len(faces) // 5)]]
    flat = faces[:, :, :2] - faces[:, :MESH_POINTS, :2].mean(1, keepdims=True)
    angle = -np.arctan2(*(flat[:, left] - flat[:, right]).T[::-1])
    turned = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], 1)
    flat = flat @ turned.transpose(0, 2, 1)
    flat /= np.sqrt((flat[:, :MESH_POINTS] ** 2).sum(-1).mean(1))[:, None, None]
    return flat.mean(0)


def mirror_indices(face: np.ndarray) -> np.ndarray:
    """Return (478,) the index of each point's mirror image: the nearest point across the middle line."""
    mirrored = face * [-1, 1]
    distance = np.linalg.norm(mirrored[:MESH_POINTS, None] - face[None, :MESH_POINTS], axis=-1)
    partner = np.concatenate([distance.argmin(1), np.arange(MESH_POINTS, LANDMARK_COUNT)])
    for right, left in zip(*IRISES, strict=True):
        partner[right], partner[left] = left, right
    return partner


def build_layout(landmarks: np.ndarray) -> dict[str, Any]:
    """Return the clusters, their mirror images and the mean face of the faces (N, 478, 3) that were found.

    Raises DataError if the mean face is so crooked that points of a cluster have no mirror image.
    """
    face = mean_frontal_face(landmarks[~np.isnan(landmarks[:, 0, 0])])
    partner = mirror_indices(face)
    asymmetric = [i for i in range(LANDMARK_COUNT) if partner[partner[i]] != i]
    face = (face + face[partner] * [-1, 1]) / 2
    clusters: dict[str, list[int]] = {}
    mirror: dict[str, str] = {}
    for name, points in RIGHT.items():
        clusters[f"right {name}"] = points
        clusters[f"left {name}"] = [int(partner[p]) for p in points]
        mirror |= {f"right {name}": f"left {name}", f"left {name}": f"right {name}"}
    for name, points in MIDDLE.items():
        clusters[name] = sorted({*points, *(int(partner[p]) for p in points)})
    used = {p for points in clusters.values() for p in points}
    if used & set(asymmetric):
        raise DataError(f"the mean face pairs these points badly: {sorted(used & set(asymmetric))}")
    return {"clusters": clusters, "mirror": mirror, "mean_face": np.round(face, 5).tolist()}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code, see `program.command_line`."""
    parser = ProgramParser(
        prog="python training/mesh_layout.py",
        description="Build a mesh layout: clusters of face-mesh points that serve as keypoints, and the mean face they "
        "refer to.\n\nThe mean face is the average of the nearly frontal faces in a decoded cache, made symmetric.",
    )
    parser.add_argument("cache", type=Path, help="decoded cache of many people's faces")
    parser.add_argument("out", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    configure_logging(options.verbose)

    def work() -> None:
        require_place(options.out, "OUT")
        values = build_layout(open_cache(options.cache).landmarks[:])
        save_result(options.out, json.dumps(values) + "\n")
        print(f"{len(values['clusters'])} keypoints written to {options.out}")

    return run_program(work)


if __name__ == "__main__":
    sys.exit(main())
