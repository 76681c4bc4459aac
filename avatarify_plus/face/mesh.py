"""The face mesh: MediaPipe's 478 landmarks of a face. In the app, MediaPipe is used only here."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType, TracebackType

import numpy as np

from avatarify_plus.native_log import hidden_native_messages
from avatarify_plus.types import FloatArray, Image


class FaceMesh:
    """Find the landmarks of faces, picture after picture. A context manager."""

    def __init__(self, tracking: bool, refine: bool = True, max_faces: int = 1) -> None:
        """Start MediaPipe.

        tracking: True follows the face of the picture before, which is faster and steadier: for videos. False searches
        each picture from scratch: for photos. refine: False leaves out the irises, for 468 landmarks instead of 478.
        """
        with hidden_native_messages():
            with _without_matplotlib():
                import mediapipe

            self._mesh = mediapipe.solutions.face_mesh.FaceMesh(
                static_image_mode=not tracking,
                max_num_faces=max_faces,
                refine_landmarks=refine,
                min_detection_confidence=0.5,
                min_tracking_confidence=0.5,
            )
            self.find(np.zeros((64, 64, 3), np.uint8))  # the graph's threads write until the first picture is done

    def __enter__(self) -> FaceMesh:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release MediaPipe's graph."""
        self._mesh.close()

    def find(self, image: Image) -> FloatArray | None:
        """Return the largest face's landmarks in an (H, W, 3) uint8 RGB picture, (478, 3) float32, or None.

        x and y are in [0, 1] of the picture's width and height; z has the scale of x and falls towards the camera.
        """
        found = self.find_all(image)
        return found[0] if found else None

    def find_all(self, image: Image) -> list[FloatArray]:
        """Return the landmarks of up to `max_faces` faces, the largest first; see `find`."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "SymbolDatabase.GetPrototype", UserWarning)  # raised within MediaPipe
            faces = self._mesh.process(image).multi_face_landmarks or []
        meshes = [np.array([(p.x, p.y, p.z) for p in face.landmark], np.float32) for face in faces]
        return sorted(meshes, key=lambda mesh: -float(np.prod(np.ptp(mesh[:, :2], axis=0))))


@contextlib.contextmanager
def _without_matplotlib() -> Iterator[None]:
    """Keep MediaPipe from importing matplotlib, which only its drawing functions use.

    matplotlib takes a quarter of a second to import and leaves a cache in the user's home.
    """
    names = () if "matplotlib" in sys.modules else ("matplotlib", "matplotlib.pyplot")
    sys.modules.update({name: ModuleType(name) for name in names})
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
