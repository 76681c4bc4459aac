"""The face mesh: MediaPipe's 478 landmarks of the most prominent face. MediaPipe lives only here."""

from __future__ import annotations

import warnings
from types import TracebackType

import numpy as np

from avatarify_plus.native_log import hidden_native_messages
from avatarify_plus.types import FloatArray, Image


class FaceMesh:
    """Find the landmarks of one face, picture after picture.

    `tracking` True follows the face of the picture before, which is faster and steadier: for videos.
    False searches each picture anew: for photos. `refine` False gives the plain 468-point mesh.
    """

    def __init__(self, tracking: bool, refine: bool = True, max_faces: int = 1) -> None:
        with hidden_native_messages():
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
        """Return the largest face's landmarks (478, 3), or None.

        x and y in [0, 1] of the picture's width and height, z in the scale of x, smaller towards the camera.
        """
        found = self.find_all(image)
        return found[0] if found else None

    def find_all(self, image: Image) -> list[FloatArray]:
        """Return every face's landmarks, largest face first."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "SymbolDatabase.GetPrototype", UserWarning)  # MediaPipe's own affair
            faces = self._mesh.process(image).multi_face_landmarks or []
        meshes = [np.array([(p.x, p.y, p.z) for p in face.landmark], np.float32) for face in faces]
        return sorted(meshes, key=lambda mesh: -float(np.prod(np.ptp(mesh[:, :2], axis=0))))
