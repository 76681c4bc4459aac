"""What the app feeds to a model's graphs, gathered from clips: examples to calibrate and judge a quantized graph."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from avatarify_plus.bundle import Bundle
from avatarify_plus.camera import open_frame_source
from avatarify_plus.config import MotionMode
from avatarify_plus.engines import Engine, Source
from avatarify_plus.errors import CameraError, DataError
from avatarify_plus.face.driver_framing import DriverFraming, mesh_finder
from avatarify_plus.network import tensor_names
from avatarify_plus.pictures.images import View
from avatarify_plus.puppeteer import Puppeteer
from avatarify_plus.types import Image, Keypoints

Example = dict[str, Any]
"""Inputs of a graph by name, with their batch of one."""

RATE_FPS = 25.0
"""The rate of folders of pictures, which have none of their own; no example depends on it."""


class Observer(Engine):
    """An engine that paints nothing and keeps the inputs of `animate` and `detect`. See `Engine`."""

    name, device, precision = "observer", "CPU", "fp32"

    def __init__(self, bundle: Bundle) -> None:
        self.config = bundle.config
        self.examples: dict[str, list[Example]] = {tensor_names.DETECT: [], tensor_names.ANIMATE: []}
        self._outputs = {name: signature.outputs for name, signature in tensor_names.signatures(self.config).items()}
        self._sessions = {
            name: onnxruntime.InferenceSession(bundle.graph(name), providers=["CPUExecutionProvider"])
            for name in self._outputs
            if name != tensor_names.ANIMATE
        }
        self._picture: Image = np.zeros((0, 0, 3), np.uint8)

    def detect(self, image: Image) -> Keypoints:
        """See `Engine.detect`."""
        example = {tensor_names.IMAGE: image[None]}
        self.examples[tensor_names.DETECT].append(example)
        found = self._run(tensor_names.DETECT, example)
        return Keypoints(found[tensor_names.VALUE][0], found[tensor_names.JACOBIAN][0])

    def encode_source(self, image: Image, keypoints: Keypoints) -> Source:
        """See `Engine.encode_source`."""
        self._picture = image
        source = {
            tensor_names.SOURCE_VALUE: keypoints.value[None],
            tensor_names.SOURCE_JACOBIAN: keypoints.jacobian[None],
        }
        encoded = self._run(
            tensor_names.ENCODE_SOURCE,
            {tensor_names.IMAGE: image[None], tensor_names.SOURCE_VALUE: source[tensor_names.SOURCE_VALUE]},
        )
        return Source(keypoints, encoded | source)

    def animate(self, source: Source, keypoints: Keypoints) -> Image:
        """See `Engine.animate`; returns the source's picture."""
        driving = {
            tensor_names.DRIVING_VALUE: keypoints.value[None],
            tensor_names.DRIVING_JACOBIAN: keypoints.jacobian[None],
        }
        self.examples[tensor_names.ANIMATE].append(source.tensors | driving)
        return self._picture

    def close(self) -> None:
        """Release the graphs."""
        self._sessions.clear()

    def _run(self, graph: str, inputs: Example) -> Example:
        outputs = self._outputs[graph]
        return dict(zip(outputs, self._sessions[graph].run(outputs, inputs), strict=True))


def gather_examples(bundle: Bundle, clips: Sequence[Path], frames: int) -> dict[str, list[Example]]:
    """Return examples of `detect` and `animate`, in the clips' order.

    Each clip's first picture is animated by `frames` pictures of the clip itself (absolute motion) and of the next
    clip (relative motion, usually another face), spread evenly. Clips are squares around a face, as in training; one
    without a face is left out. Raises DataError if none is left.
    """
    size_px = bundle.config.image_size
    with Observer(bundle) as observer:
        views_by_clip: list[list[tuple[View, float]]] = []
        for clip in clips:
            views = list(_views(clip, frames, size_px, bundle.config.reads_mesh))
            if len(views) > 1:
                views_by_clip.append(views)
        if not views_by_clip:
            raise DataError("none of the clips begins with a face: give videos of faces, framed as for training")
        for own, others in zip(views_by_clip, views_by_clip[1:] + views_by_clip[:1], strict=True):
            _animate(observer, own, own[1:], "absolute")
            _animate(observer, own, others, "relative")
    return observer.examples


def _animate(
    observer: Observer, source: list[tuple[View, float]], driver: list[tuple[View, float]], motion: MotionMode
) -> None:
    puppeteer = Puppeteer(observer, motion)
    puppeteer.set_source(source[0][0])
    for view, time_s in driver:
        puppeteer.animate(view, time_s)


def _views(clip: Path, frames: int, size_px: int, reads_mesh: bool) -> Iterator[tuple[View, float]]:
    """Yield a clip's first view and `frames` more with a face, and their times."""
    try:
        with (
            open_frame_source(str(clip), RATE_FPS, plays_live=False) as frame_source,
            mesh_finder(reads_mesh, True) as find_mesh,
        ):
            framing = DriverFraming(find_mesh, size_px, "none", follows=False)
            shots = list(frame_source.frames(threading.Event()))
            chosen = np.linspace(0, len(shots) - 1, min(frames + 1, len(shots))).round().astype(int)
            for index in chosen:
                view = framing.view(shots[index])
                if view.has_face:
                    yield view, shots[index].captured_at
    except CameraError as error:
        raise DataError(f"cannot use the clip {clip}: {error}") from error
