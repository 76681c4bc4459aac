"""The face mesh: MediaPipe's 478 landmarks of a face. In the app, MediaPipe is used only here."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import sys
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from avatarify_plus.errors import ModelError
from avatarify_plus.face.landmarks import LANDMARK_COUNT, MESH_POINTS
from avatarify_plus.native_log import hidden_native_messages
from avatarify_plus.program.checkout import checkout
from avatarify_plus.types import FloatArray, Image

if TYPE_CHECKING:
    from typing_extensions import Self

MIN_DETECTION = 0.1
"""Faces that the detector is less sure of do not count at all."""


MODELS = Path(__file__).resolve().parents[1] / "tracker_models"
"""Where installing puts the networks, see `installation/tracker_models.py`."""

FAR_APART_MS = 10_000_000
"""Time between pictures as MediaPipe is told it: so far apart that it does not smooth, which `motion.presence` does."""


class MediaPipeTask:
    """One of MediaPipe's tasks for pictures, from its start to its end. A context manager."""

    def __init__(self, task: str, model: bytes, tracking: bool = False, **options: Any) -> None:
        """Start `mediapipe.tasks.vision.TASK` with a network and its options.

        tracking: True follows what was found in the picture before, False searches each picture from scratch.
        """
        # MediaPipe 0.10.14, on machines that have no other, calls what its protobuf advises against
        warnings.filterwarnings("ignore", "SymbolDatabase.GetPrototype", UserWarning)
        with hidden_native_messages():
            with _without_unused():
                import mediapipe
                from mediapipe.tasks.python import BaseOptions, vision

            self._mediapipe = mediapipe
            self._times_ms = itertools.count(0, FAR_APART_MS) if tracking else None
            mode = vision.RunningMode.VIDEO if tracking else vision.RunningMode.IMAGE
            wanted = getattr(vision, f"{task}Options")(BaseOptions(model_asset_buffer=model), mode, **options)
            self._task = getattr(vision, task).create_from_options(wanted)
            self.process(np.zeros((64, 64, 3), np.uint8))  # its threads write until the first picture is done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the task."""
        self._task.close()

    def process(self, image: Image) -> Any:
        """Return what the task gives for a picture (H, W, 3) uint8 RGB, in MediaPipe's form."""
        picture = self._mediapipe.Image(self._mediapipe.ImageFormat.SRGB, np.ascontiguousarray(image))
        if self._times_ms is None:
            return self._task.detect(picture)
        return self._task.detect_for_video(picture, next(self._times_ms))


def tracker_model(name: str) -> bytes:
    """Return a network that installing made, see MODELS. Raises ModelError if it is missing or damaged."""
    wanted = json.loads((MODELS / "sha256.json").read_text("utf-8"))[name]
    try:
        data = (MODELS / name).read_bytes()
    except OSError:
        raise ModelError(f"the face tracker's network {MODELS / name} is missing: {_remedy()}") from None
    if hashlib.sha256(data).hexdigest() != wanted:
        raise ModelError(f"the face tracker's network {MODELS / name} is damaged: delete it, then {_remedy()}")
    return data


def _remedy() -> str:
    """Return how to get the networks, in words."""
    root = checkout()
    if root is None:
        return "python -m pip install --force-reinstall --no-deps avatarify_plus brings it"
    return f"python -m pip install -r requirements.txt, in {root}, makes it"


def largest_first(meshes: Iterable[FloatArray]) -> list[FloatArray]:
    """Return faces' landmarks by the area that they cover."""
    return sorted(meshes, key=lambda mesh: -float(np.prod(np.ptp(mesh[:, :2], axis=0))))


class FaceMesh(MediaPipeTask):
    """Find the landmarks of faces, picture after picture. A context manager."""

    def __init__(self, tracking: bool, refine: bool = True, max_faces: int = 1) -> None:
        """Start MediaPipe. Raises ModelError, see `tracker_model`.

        tracking: True follows the face of the picture before, which is faster and steadier: for videos. False searches
        each picture from scratch: for photos. refine: False takes the network without attention to lips and eyes,
        which has no irises, for 468 landmarks instead of 478.
        """
        self._count = LANDMARK_COUNT if refine else MESH_POINTS
        name = "face_landmarker.task" if refine else "plain_face_landmarker.task"
        super().__init__("FaceLandmarker", tracker_model(name), tracking, num_faces=max_faces)

    def find(self, image: Image) -> FloatArray | None:
        """Return the largest face's landmarks in an (H, W, 3) uint8 RGB picture, (478, 3) float32, or None.

        x and y are in [0, 1] of the picture's width and height; z has the scale of x and falls towards the camera.
        """
        found = self.find_all(image)
        return found[0] if found else None

    def find_all(self, image: Image) -> list[FloatArray]:
        """Return the landmarks of up to `max_faces` faces, the largest first; see `find`."""
        faces = self.process(image).face_landmarks
        return largest_first(np.array([(p.x, p.y, p.z) for p in face[: self._count]], np.float32) for face in faces)


class FaceDetector(MediaPipeTask):
    """Say how much like an upright face the faces in a picture look. A context manager."""

    def __init__(self) -> None:
        """Start MediaPipe. Raises ModelError, see `tracker_model`."""
        with zipfile.ZipFile(io.BytesIO(tracker_model("face_landmarker.task"))) as networks:
            detector = networks.read("face_detector.tflite")
        super().__init__("FaceDetector", detector, min_detection_confidence=MIN_DETECTION)

    def score(self, image: Image) -> float:
        """Return from 0 (no face) to 1 how sure the detector is of the clearest face in a picture (H, W, 3) uint8."""
        found = self.process(image).detections
        return max((float(detection.categories[0].score) for detection in found), default=0.0)


@contextlib.contextmanager
def _without_unused() -> Iterator[None]:
    """Keep MediaPipe from importing what the app does not use.

    matplotlib, which draws, takes a quarter of a second and leaves a cache in the user's home. sounddevice asks the
    system for its microphones.
    """
    unused: dict[str, ModuleType | None] = {
        "matplotlib": ModuleType("matplotlib"),
        "matplotlib.pyplot": ModuleType("matplotlib.pyplot"),
        "sounddevice": None,
    }
    replaced = {name: module for name, module in unused.items() if name not in sys.modules}
    sys.modules.update(cast(dict[str, ModuleType], replaced))
    try:
        yield
    finally:
        for name in replaced:
            del sys.modules[name]
