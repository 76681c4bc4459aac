"""The interface for other programs: a photo is set, a driver's frames go in, pictures of the photo come out."""

from __future__ import annotations

import itertools
import os
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np

from avatarify_plus.bundle import open_bundle
from avatarify_plus.config import EngineName, MotionMode, Precision
from avatarify_plus.engines import Engine, open_engine
from avatarify_plus.errors import SourceError
from avatarify_plus.face.driver_framing import DriverFraming, mesh_finder
from avatarify_plus.face.photo_framing import (
    Surroundings,
    face_scorer,
    faces_finder,
    frame_photo,
    largest_face,
    upright,
)
from avatarify_plus.motion.controls import FOLLOW_ALL, Controls
from avatarify_plus.pictures.images import load_photo
from avatarify_plus.program.model_option import SHIPPED_MODEL
from avatarify_plus.puppeteer import EncodedAvatar, Puppeteer
from avatarify_plus.types import Frame, Image

Photo = str | os.PathLike[str] | Image
"""A file, or a picture (H, W, 3) uint8 RGB."""


class Animator:
    """Animate a photo by the frames of a driver. Made by `load_animator`; a context manager.

    All calls belong to one thread. Two animators may work side by side in two threads.
    """

    def __init__(
        self,
        engine: Engine,
        motion: MotionMode = "relative",
        smoothing: float = 0.5,
        photo_px: int = 512,
        controls: Controls = FOLLOW_ALL,
    ) -> None:
        """Take over an engine; see `load_animator` for the rest."""
        self._size_px = self._shown_px = engine.config.image_size
        reach = engine.config.photo_reach
        self._surroundings = Surroundings(reach, photo_px) if reach else None
        self._puppeteer = Puppeteer(engine, motion, smoothing=smoothing)
        self._puppeteer.set_controls(controls)
        self._has_avatar = False
        self._is_closed = False
        self._next_index = itertools.count().__next__
        with ExitStack() as stack:
            stack.enter_context(engine)
            self._find_faces = stack.enter_context(faces_finder(True))
            self._score_face = stack.enter_context(face_scorer(True))
            find_in_frame = stack.enter_context(mesh_finder(True, tracking=True))
            self._framing = DriverFraming(find_in_frame, self._size_px, "auto", follows=True)
            self._resources = stack.pop_all()

    @property
    def size(self) -> int:
        """The side P of the pictures that `animate` returns, in pixels.

        It is the model's, or, of a model that shows the photo in its own size, the current avatar's.
        """
        return self._shown_px

    def encode_avatar(self, photo: Photo, face: int | None = None) -> EncodedAvatar:
        """Encode a photo, which takes some 100 ms on a CPU, so that `set_avatar` can switch to it within a frame.

        photo: a file, or a picture (H, W, 3) uint8 RGB, of any size and aspect ratio. face: which of several faces, 1
        for the largest, 2 for the second largest and so on; None takes the largest and warns that there are more.
        Raises SourceError if it cannot be read or shows no face, or none of this number.
        """
        self._require_open()
        if isinstance(photo, str | os.PathLike):
            image, name = load_photo(Path(photo)), f"the photo {photo}"
        else:
            image, name = _picture_of(photo, "the photo"), "the photo"
        image = upright(image, self._find_faces, self._score_face, name)
        framed = frame_photo(image, self._find_faces, self._size_px, "auto", name, self._surroundings, face)
        return self._puppeteer.encode(framed.view, partial(largest_face, self._find_faces))

    def set_avatar(self, avatar: Photo | EncodedAvatar) -> None:
        """Be this avatar from the next frame on, in the pose that is shown.

        avatar: a photo, see `encode_avatar`, or one that was encoded by this animator. Raises SourceError.
        """
        encoded = avatar if isinstance(avatar, EncodedAvatar) else self.encode_avatar(avatar)
        self._puppeteer.set_avatar(encoded)
        self._shown_px = len(encoded.still)
        self._has_avatar = True

    def animate(self, frame: Image, time_s: float | None = None) -> Image:
        """Return the avatar in the pose and with the expression of the driver.

        frame: (H, W, 3) uint8 RGB, of any size; the face in it is searched for and followed. time_s: when it was
        captured, in seconds, never less than the time before; None takes now. Returns (P, P, 3) uint8 RGB, see `size`.
        Relative motion is measured from the first frame that shows a face, see `recalibrate`. Without a face the last
        picture is held for a second, then the avatar comes to rest. Raises SourceError if no avatar was set or the
        frame has another shape or type.
        """
        self._require_open()
        if not self._has_avatar:
            raise SourceError("no avatar was set: call set_avatar first")
        frame = _picture_of(frame, "the frame")
        captured_at = time.perf_counter() if time_s is None else time_s
        view = self._framing.view(Frame(frame, self._next_index(), captured_at))
        return self._puppeteer.animate(view, captured_at).copy()  # the caller's to draw on; ours may be held and shown

    def set_controls(self, controls: Controls) -> None:
        """Follow parts of the driver's face so much from the next frame on."""
        self._require_open()
        self._puppeteer.set_controls(controls)

    def recalibrate(self) -> None:
        """Take the face in the next frame as the driver's neutral face, from which relative motion is measured."""
        self._puppeteer.recalibrate()

    def close(self) -> None:
        """Release the engine and the face mesh; may be called again. Nothing can be animated afterwards."""
        self._is_closed = True
        self._resources.close()

    def _require_open(self) -> None:
        if self._is_closed:
            raise SourceError("this animator was closed: load another one")

    def __enter__(self) -> Animator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load_animator(
    model: str = SHIPPED_MODEL,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    threads: int | None = None,
    motion: MotionMode = "relative",
    smoothing: float = 0.5,
    photo_px: int = 512,
    controls: Controls = FOLLOW_ALL,
    gpu: int = 0,
) -> Animator:
    """Load a model and make it ready.

    model: name of a shipped model or of one of your own, or folder of a bundle. engine: what computes; "auto" takes the
    fastest here. precision: what the pictures are computed in. threads: CPU threads of the engine, None for its own
    choice. motion: "relative" moves the avatar by how the driver moves from a neutral face, "absolute" takes the
    driver's pose. smoothing: how much jitter is smoothed away, from 0 (nothing) to 1 (sluggish). photo_px: at most so
    many pixels has the side of the pictures of a model that shows the photo in its own size. controls: how much of each
    part of the face is followed. gpu: which GPU computes, from 0, if there are several. Raises ModelError if the model
    is missing or damaged, EngineError if the engine does not work here. A model that gives no picture for a minute ends
    the program with a line, see `engines.open_engine`.
    """
    return Animator(
        open_engine(open_bundle(model), engine, threads, precision, gpu), motion, smoothing, photo_px, controls
    )


def _picture_of(image: object, name: str) -> Image:
    """Return a picture in one piece of memory. Raises SourceError unless it is an array (H, W, 3) uint8."""
    if not isinstance(image, np.ndarray):
        raise SourceError(f"{name} must be an array (H, W, 3) uint8 RGB, found a {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise SourceError(f"{name} must be (H, W, 3) uint8 RGB, found {image.shape} {image.dtype}")
    return np.ascontiguousarray(image)
