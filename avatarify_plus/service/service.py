"""What one process offers: an engine, its thread of turns, and a limited number of callers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from avatarify_plus.config import AppConfig
from avatarify_plus.engines import Engine
from avatarify_plus.errors import AvatarifyError
from avatarify_plus.face.mesh import FaceMesh
from avatarify_plus.program.native_memory import give_back_memory
from avatarify_plus.service.caller import Caller
from avatarify_plus.service.photos import PhotoChoice, offered
from avatarify_plus.service.turns import TurnThread
from avatarify_plus.session.avatar_maker import AvatarMaker
from avatarify_plus.session.avatars import Avatar, Avatars
from avatarify_plus.session.session import make_session, reads_faces
from avatarify_plus.sinks import Outputs
from avatarify_plus.types import Image, Size

logger = logging.getLogger(__name__)

CALL_SIZE = Size(960, 540)
"""The size of the pictures that callers get, unless the config has one: the avatar's 512 pixels, hardly enlarged."""

NOBODY: Image = np.zeros((64, 64, 3), np.uint8)
"""A face mesh that has seen this follows nobody any more."""


class FullError(AvatarifyError):
    """There are as many callers as there may be."""


class Service:
    """Let callers in and give them turns. A context manager; the engine stays the caller's.

    callers: those that are in now. refused_count: of those that were not let in.
    """

    def __init__(self, config: AppConfig, engine: Engine, most_callers: int) -> None:
        """config: the options of every session; its `avatar` are the photos that all may choose from.

        Raises SourceError if one of those cannot be used.
        """
        self._config = config
        self._engine = engine
        self._most_callers = most_callers
        self._offered = offered(config.avatar)
        self.callers: set[Caller] = set()
        self.turns = TurnThread()
        self._ready: dict[Path, Avatar] = {}
        self._meshes: list[FaceMesh] = []
        self._resources = ExitStack()
        self._places = most_callers
        self._past_pictures = self._past_dropped = 0  # of callers who have left
        self._lock = threading.Lock()

    def __enter__(self) -> Service:
        with ExitStack() as stack:
            stack.callback(self._close_meshes)
            self._maker = stack.enter_context(AvatarMaker(self._config, self._engine, self._config.size or CALL_SIZE))
            stack.enter_context(self.turns)
            for photo in self._offered:
                self.turns.call(self._encoder(photo.path, photo.image)).result()
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    @property
    def engine_name(self) -> str:
        """What computes, for people."""
        return f"{self._engine.name} {self._engine.precision}"

    @property
    def free_places(self) -> int:
        """How many more callers may come in."""
        with self._lock:
            return self._places

    @property
    def picture_count(self) -> int:
        """How many pictures were animated so far."""
        return self._past_pictures + sum(caller.frame_count for caller in list(self.callers))

    @property
    def dropped_count(self) -> int:
        """How many pictures of webcams were left out so far for newer ones."""
        return self._past_dropped + sum(caller.skipped_count for caller in list(self.callers))

    async def admit(self) -> Caller:
        """Let a caller in. Raises FullError, or SourceError if there is no photo to begin with."""
        with self._lock:
            if not self._places:
                raise FullError(f"all {self._most_callers} places are taken")
            self._places -= 1
        mesh: FaceMesh | None = None
        try:
            mesh = await asyncio.to_thread(self._take_mesh)
            caller = await asyncio.wrap_future(self.turns.call(lambda: self._open(mesh)))
        except BaseException:
            if mesh is not None:
                self._meshes.append(mesh)
            with self._lock:
                self._places += 1
            raise
        self.callers.add(caller)
        return caller

    async def dismiss(self, caller: Caller) -> None:
        """Let a caller go and forget all about it."""
        self.callers.discard(caller)
        self._past_pictures += caller.frame_count
        self._past_dropped += caller.skipped_count
        await asyncio.wrap_future(self.turns.call(lambda: self._forget(caller)))
        with self._lock:
            self._places += 1
        await asyncio.to_thread(give_back_memory)

    # --- in the thread of turns ---

    def _open(self, mesh: FaceMesh | None) -> Caller:
        photos = PhotoChoice(self._offered)

        def prepare(path: Path) -> Avatar:
            ready = self._ready.get(path)
            return ready if ready is not None else self._maker.make(photos.image(path), f"the photo {path.name}")

        avatars = Avatars([photo.path for photo in photos.photos], prepare)
        outputs = Outputs()
        find = None if mesh is None else mesh.find
        session = make_session(self._config, self._engine, avatars, outputs, find, is_live=True)
        return Caller(session, outputs, photos, self.engine_name, self.turns.request, mesh)

    def _forget(self, caller: Caller) -> None:
        if caller.mesh is not None:
            caller.mesh.find(NOBODY)
            self._meshes.append(caller.mesh)
            caller.mesh = None

    def _encoder(self, path: Path, image: Image) -> Callable[[], None]:
        def encode() -> None:
            self._ready[path] = self._maker.make(image, f"the photo {path}")

        return encode

    # --- face meshes, which are slow to open and are used again ---

    def _take_mesh(self) -> FaceMesh | None:
        if not reads_faces(self._config, self._engine):
            return None
        try:
            return self._meshes.pop()
        except IndexError:
            return FaceMesh(tracking=True)

    def _close_meshes(self) -> None:
        for mesh in self._meshes:
            mesh.close()
        self._meshes.clear()
