"""Face meshes in a 640x480 picture."""

from avatarify_plus.types import FloatArray
from fakes import oval_mesh

WIDTH, HEIGHT = 640, 480


def at(x: float, y: float, height_px: float = 150.0) -> FloatArray:
    """Return a mesh around a place."""
    return oval_mesh((x, y), height_px, WIDTH, HEIGHT)


def centre(landmarks: FloatArray) -> FloatArray:
    """Return the middle of a mesh's bounding box."""
    low, high = landmarks[:468, :2].min(0), landmarks[:468, :2].max(0)
    return (low + high) / 2
