"""From a photo to an avatar that is ready to be shown."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from types import TracebackType

from avatarify_plus.config import AppConfig
from avatarify_plus.engines import Engine
from avatarify_plus.face.photo_framing import (
    Surroundings,
    face_scorer,
    faces_finder,
    frame_photo,
    largest_face,
    upright,
)
from avatarify_plus.pictures.composition import Composition
from avatarify_plus.puppeteer import Puppeteer
from avatarify_plus.session.avatars import Avatar
from avatarify_plus.types import Image, Size


class AvatarMaker:
    """Find the face in photos and encode them; the engine stays the caller's. A context manager.

    All calls belong to one thread, in which the engine computes. Several sessions of one engine may share it.
    """

    def __init__(self, config: AppConfig, engine: Engine, size: Size | None) -> None:
        """size: of the pictures that are sent; None takes that of the avatar's square."""
        self._config = config
        self._size = size
        self._size_px = engine.config.image_size
        self._puppeteer = Puppeteer(engine, config.motion)
        reach = engine.config.photo_reach
        self._surroundings = Surroundings(reach, config.photo_px) if reach else None
        needs_mesh = self._puppeteer.needs_mesh or config.framing == "auto"
        with ExitStack() as stack:
            self._find_faces = stack.enter_context(faces_finder(needs_mesh))
            self._score_face = stack.enter_context(face_scorer(needs_mesh and config.framing == "auto"))
            self._resources = stack.pop_all()

    def __enter__(self) -> AvatarMaker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release what finds faces in photos; may be called again. No avatar can be made afterwards."""
        self._resources.close()

    def make(self, photo: Image, name: str) -> Avatar:
        """Return the avatar of a photo (H, W, 3) uint8 RGB. name: what errors call it. Raises SourceError."""
        config = self._config
        photo = upright(photo, self._find_faces, self._score_face, name)
        portrait = frame_photo(
            photo, self._find_faces, self._size_px, config.framing, name, self._surroundings, config.face
        )
        encoded = self._puppeteer.encode(portrait.view, partial(largest_face, self._find_faces))
        composition = Composition(photo, portrait.box, config.frame, self._size, config.fit, len(encoded.still))
        return Avatar(encoded, composition)
