"""What the app feeds to a model's graphs, gathered from clips: examples to calibrate and judge quantized graphs."""

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
from avatarify_plus.engines.engine import Engine, PartSquares, Runtime, Source
from avatarify_plus.engines.keypoint_tensors import animated, driving_tensors, source_tensors
from avatarify_plus.engines.photo_engine import PhotoEngine
from avatarify_plus.errors import CameraError, DataError
from avatarify_plus.face.driver_framing import DriverFraming, mesh_finder
from avatarify_plus.network import tensor_names
from avatarify_plus.pictures.images import View
from avatarify_plus.puppeteer import Puppeteer
from avatarify_plus.types import Image, Keypoints, PhotoRegion

Example = dict[str, Any]
"""Inputs of a graph by name, with their batch; those of `animate`, where the graph leaves out the photo, with the
source's square as "image"."""

RATE_FPS = 25.0
"""The rate of folders of pictures, which have none of their own; no example depends on it."""


class Observer(Runtime):
    """A runtime that keeps the inputs of what is computed every frame. See `Runtime`.

    It computes only what other graphs are fed with: pictures of models without `photo_reach` and parts stay unpainted.
    """

    name, device, precision = "observer", "CPU", "fp32"

    def __init__(self, bundle: Bundle) -> None:
        self.config = bundle.config
        self._signatures = tensor_names.signatures(self.config)
        self.examples: dict[str, list[Example]] = {
            name: [] for name in (tensor_names.DETECT, *self._signatures) if name != tensor_names.ENCODE_SOURCE
        }
        computed = {tensor_names.DETECT, tensor_names.ENCODE_SOURCE}
        if self.config.photo_reach:
            computed.add(tensor_names.ANIMATE)
        self._sessions = {
            name: onnxruntime.InferenceSession(bundle.graph(name), providers=["CPUExecutionProvider"])
            for name in computed & set(self._signatures)
        }
        self._picture: Image = np.zeros((0, 0, 3), np.uint8)

    def detect(self, image: Image) -> Keypoints:
        """See `Engine.detect`."""
        example = {tensor_names.IMAGE: image[None]}
        self.examples[tensor_names.DETECT].append(example)
        found = self._run(tensor_names.DETECT, example)
        return Keypoints(found[tensor_names.VALUE][0], found[tensor_names.JACOBIAN][0])

    def encode_source(self, image: Image, keypoints: Keypoints, photo: PhotoRegion | None = None) -> Source:
        """See `Engine.encode_source`."""
        self._picture = image
        own = _batch(source_tensors(keypoints, self.config))
        encoded = self._run(tensor_names.ENCODE_SOURCE, {tensor_names.IMAGE: image[None]} | own)
        square = {tensor_names.IMAGE: image[None]} if self.config.photo_reach else {}
        return Source(keypoints, encoded | own | square)

    def animate(self, source: Source, keypoints: Keypoints) -> Any:
        """See `Runtime.animate`; returns the source's picture where that is no input of another graph."""
        example = source.tensors | _batch(driving_tensors(keypoints, self.config))
        self.examples[tensor_names.ANIMATE].append(example)
        if not self.config.photo_reach:
            return self._picture
        return animated({name: output[0] for name, output in self._run(tensor_names.ANIMATE, example).items()})

    def paint(self, part: str, squares: PartSquares) -> Any:
        """See `Runtime.paint`; nothing of it is shown."""
        self.examples[tensor_names.paint(part)].append(squares._asdict())
        return np.zeros((*squares.given.shape[:3], 4), np.uint8)

    def close(self) -> None:
        """Release the graphs."""
        self._sessions.clear()

    def _run(self, graph: str, example: Example) -> Example:
        inputs, outputs = self._signatures[graph]
        found = self._sessions[graph].run(outputs, {name: example[name] for name in inputs})
        return dict(zip(outputs, found, strict=True))


def _batch(tensors: Example) -> Example:
    """Return tensors with a leading batch of one."""
    return {name: array[None] for name, array in tensors.items()}


def gather_examples(bundle: Bundle, clips: Sequence[Path], frames: int) -> dict[str, list[Example]]:
    """Return examples of the graphs that are computed every frame, by graph, in the clips' order.

    Each clip's first picture is animated by `frames` pictures of the clip itself (absolute motion) and of the next
    clip (relative motion, usually another face), spread evenly. Clips are squares around a face, as in training; one
    without a face is left out. Raises DataError if none is left.
    """
    size_px = bundle.config.image_size
    with Observer(bundle) as observer:
        engine: Engine = PhotoEngine(observer, always_paints=True) if bundle.config.photo_reach else observer
        views_by_clip: list[list[tuple[View, float]]] = []
        for clip in clips:
            views = list(_views(clip, frames, size_px, bundle.config.reads_mesh))
            if len(views) > 1:
                views_by_clip.append(views)
        if not views_by_clip:
            raise DataError("none of the clips begins with a face: give videos of faces, framed as for training")
        for own, others in zip(views_by_clip, views_by_clip[1:] + views_by_clip[:1], strict=True):
            _animate(engine, own, own[1:], "absolute")
            _animate(engine, own, others, "relative")
    return observer.examples


def _animate(
    engine: Engine, source: list[tuple[View, float]], driver: list[tuple[View, float]], motion: MotionMode
) -> None:
    puppeteer = Puppeteer(engine, motion)
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
