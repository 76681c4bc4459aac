"""What changes things in a run of the app, one after the other, and times how long pictures stay away after each."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from avatarify_plus.bench.stand_in import StandInCamera, StandInSink
from avatarify_plus.camera import FrameSource, open_clip
from avatarify_plus.config import FILM_SUFFIXES
from avatarify_plus.errors import AvatarifyError
from avatarify_plus.preview.keys import BINDINGS, Binding, Command, Press
from avatarify_plus.session.key_actions import KeyActions
from avatarify_plus.session.session import Session
from avatarify_plus.session.status_line import StatusLine
from avatarify_plus.sinks import Outputs
from avatarify_plus.sinks.recorder import Recorder

logger = logging.getLogger(__name__)

AVATAR_KEYS = (Command.CHOOSE_AVATAR, Command.STEP_AVATAR, Command.RELOAD_AVATARS)

KINDS = ("avatar", "avatar", "avatar", "key", "key", "key", "recording", "recording", "virtual camera", "webcam")
"""What is changed in every run, in an order of its own: so often each."""

FEWEST_FRAMES, MOST_FRAMES = 2, 6
"""So many frames lie between two changes."""

AWAY_S = 1.5
"""So long a webcam is unplugged, or hangs."""

LIMIT_S = 3.0
"""So long pictures may stay away after a change; after one of engine, model or camera, START_LIMIT_S."""

START_LIMIT_S = 20.0

SEARCH_S = 1.0
"""A webcam that is gone is looked for so often."""

LEFT_OVER = 3
"""So many frames of a webcam that is gone may still be on their way."""


class Run(NamedTuple):
    """A run of the app that has begun. ended: ends it. stop: ends everything, from outside."""

    session: Session
    frame_source: FrameSource
    outputs: Outputs
    status_line: StatusLine
    ended: threading.Event
    stop: threading.Event


class Switcher:
    """Change a running session every few frames, until each of KINDS has had its turn. See `Viewer`.

    What it finds is logged: how fast the app is, once a second; how long pictures stayed away after each change; and as
    an error whatever is wrong.
    """

    def __init__(
        self,
        run: Run,
        rng: random.Random,
        folder: Path,
        model: str,
        webcam: StandInCamera | None,
        begun_s: float,
    ) -> None:
        """Take over a run that was begun at a time, on `time.monotonic()`'s clock.

        rng: says what is changed, and how. folder: where recordings go. model: its name, for the log. webcam: the
        driver, if it is one that can be unplugged.
        """
        self._run, self._rng, self._folder, self._model, self._webcam = run, rng, folder, model, webcam
        self._rate = run.frame_source.rate
        self._keys = KeyActions(run.session, run.ended)
        self._kinds = rng.sample(KINDS, len(KINDS))
        self._recording: Recorder | None = None
        self._virtual_camera: StandInSink | None = None
        self._logged = ""
        self._next = 0
        self._change, self._limit_s = "engine and camera", START_LIMIT_S
        self._since_s, self._wanted = begun_s, 1
        avatar_keys = [each for each in BINDINGS if each.command in AVATAR_KEYS]
        other_keys = [each for each in BINDINGS if each.command not in (*AVATAR_KEYS, Command.QUIT)]
        self._actions: dict[str, Callable[[], str]] = {
            "avatar": partial(self._press, avatar_keys, "avatar"),
            "key": partial(self._press, other_keys, "key"),
            "recording": self._record,
            "virtual camera": self._plug,
            "webcam": self._disturb,
        }

    def refresh(self) -> None:
        """Look whether pictures came, and make the next change if it is time."""
        if self._run.stop.is_set():
            self._run.ended.set()
        if self._run.status_line.line != self._logged:
            self._logged = self._run.status_line.line
            logger.info("%s, %s", self._logged, self._model)
        count = self._run.session.timing.frame_count
        if self._change:
            elapsed_s = time.monotonic() - self._since_s
            if count < self._wanted and elapsed_s < self._limit_s:
                return
            if count < self._wanted:
                logger.error("no picture within %.0f s of a change of %s", self._limit_s, self._change)
            else:
                logger.info("switched %s in %.0f ms", self._change, 1000 * elapsed_s)
            self._change = ""
            self._next = count + self._rng.randint(FEWEST_FRAMES, MOST_FRAMES)
        elif count >= self._next:
            self._switch(count)

    def close(self) -> None:
        """Look at the recording that the run's end has finished, if any."""
        if self._recording is not None:
            self._look_at(self._recording.path)

    def _switch(self, count: int) -> None:
        """Make the next change, or end the run."""
        if not self._kinds:
            self._run.ended.set()
            return
        kind = self._kinds.pop()
        self._since_s, self._limit_s, self._wanted = time.monotonic(), LIMIT_S, count + 1
        try:
            self._change = self._actions[kind]()
        except AvatarifyError as error:
            logger.error("%s", error)

    def _press(self, bindings: list[Binding], name: str) -> str:
        """Press one of these keys."""
        binding = self._rng.choice(bindings)
        self._keys.obey(Press(binding.command, self._rng.choice(binding.arguments)))
        return name

    def _record(self) -> str:
        """Begin a recording, or end the one that runs and look at it."""
        if self._recording is None:
            suffix = self._rng.choice(FILM_SUFFIXES)
            self._recording = Recorder(self._folder / f"film{suffix}", self._run.session.size, self._rate)
            self._run.outputs.add(self._recording)
            return "recording begun"
        recording, self._recording = self._recording, None
        self._run.outputs.take_away(recording)
        self._look_at(recording.path)
        return "recording ended"

    def _plug(self) -> str:
        """Plug a virtual camera in, or out: it is looked for then, and found."""
        if self._virtual_camera is not None:
            self._virtual_camera.unplug()
            return "virtual camera unplugged"
        self._virtual_camera = self._open_virtual_camera()
        self._run.outputs.add(self._virtual_camera, self._open_virtual_camera)
        return "virtual camera"

    def _open_virtual_camera(self) -> StandInSink:
        self._virtual_camera = StandInSink()
        return self._virtual_camera

    def _disturb(self) -> str:
        """Unplug the webcam for a while, or let it hang; a driver that is a file goes on."""
        if self._webcam is None:
            return ""
        self._wanted += LEFT_OVER
        self._limit_s += AWAY_S + SEARCH_S
        if self._rng.random() < 0.5:
            self._webcam.unplug(AWAY_S)
            return "webcam unplugged"
        self._webcam.hang(AWAY_S)
        return "webcam hanging"

    def _look_at(self, film: Path) -> None:
        """Log an error if a film does not play, and delete it."""
        try:
            open_clip(str(film), float(self._rate)).close()
        except AvatarifyError as error:
            logger.error("%s", error)
        film.unlink(missing_ok=True)
