"""A wardrobe of tubes and caps, laid out like a folder of assets."""

from pathlib import Path

import cv2
import numpy as np

from training.figures.mesh import Mesh, ellipsoid, plain_texture, tube
from training.figures.skeleton import BUILDS, Skeleton

WHITE = plain_texture((255, 255, 255))


def write_model(folder: Path, mesh: Mesh) -> Path:
    """Write a mesh as an asset's Wavefront file and return it; each corner has a place of its own in the texture."""
    folder.mkdir(parents=True)
    lines = ["# a comment", "", *(f"v {x} {y} {z}" for x, y, z in mesh.points)]
    lines += [f"vt {x} {1 - y}" for x, y in mesh.corners.reshape(-1, 2)]
    for number, face in enumerate(mesh.faces):
        lines.append("f " + " ".join(f"{point + 1}/{3 * number + k + 1}" for k, point in enumerate(face)))
    path = folder / f"{folder.name}.obj"
    path.write_text("\n".join(lines) + "\n")
    return path


def write_assets(folder: Path) -> Path:
    """Write two suits of each build, one of which has a texture, and two heads of hair."""
    for build in BUILDS:
        skeleton = Skeleton(build)
        neck, hip = skeleton.at_rest("neck"), skeleton.at_rest("pelvis")
        line = np.linspace(neck, hip - np.array([0, 2, 0]), 16)
        suit = tube(line, np.tile((1.6, 1.1), (16, 1)), WHITE, 24)
        for name in ("one", "two"):
            write_model(folder / "clothes" / f"{build}_{name}", suit)
        picture = np.zeros((8, 8, 3), np.uint8)
        picture[:, 4:] = (30, 90, 200)
        cv2.imwrite(str(folder / "clothes" / f"{build}_two" / f"{build}_two_diffuse.png"), picture)
    for name in ("long", "short"):
        write_model(folder / "hair" / name, ellipsoid((0, 7, 0), (0.9, 1.1, 1.0), WHITE, 6))
    return folder
