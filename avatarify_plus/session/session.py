"""One session: what a frame of the driver goes through until its picture is sent, and what can be changed meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from avatarify_plus.config import AppConfig
from avatarify_plus.engines import Engine
from avatarify_plus.face.driver_framing import DriverFraming, FindMesh, mesh_finder
from avatarify_plus.motion.controls import PARTS, Controls
from avatarify_plus.pictures.badge import Badge, still_card
from avatarify_plus.pictures.composition import fit_picture
from avatarify_plus.pictures.images import Box, View, load_photo, mirror
from avatarify_plus.puppeteer import Puppeteer
from avatarify_plus.session.avatar_maker import AvatarMaker
from avatarify_plus.session.avatars import Avatars
from avatarify_plus.session.driven import ShownAvatar
from avatarify_plus.session.timed_engine import TimedEngine
from avatarify_plus.session.timing import Timing, TurnStage
from avatarify_plus.sinks import Outputs
from avatarify_plus.types import Frame, Image, Size

CALL_SIZE = Size(1280, 720)
"""What call programs expect of a camera."""


class Session:
    """Take frames, one after the other, and send a picture for each. Made by `open_session`.

    config: the options in force; `change` changes them. timing: of all turns. faceless_count: frames without a face.
    view: what the model saw of the newest frame; None before the first. captured_at: when that frame was captured.
    sent: the newest picture, the avatar at rest at first.
    """

    def __init__(
        self,
        config: AppConfig,
        framing: DriverFraming,
        puppeteer: Puppeteer,
        avatars: Avatars,
        outputs: Outputs,
        timing: Timing,
        is_live: bool,
    ) -> None:
        self.config = config
        self.timing = timing
        self.avatars = avatars
        self.puppeteer = puppeteer
        self.size = avatars.avatar.composition.size
        self.faceless_count = 0
        self.is_panicking = False
        self.passes_through = False
        self.view: View | None = None
        self.captured_at = 0.0
        self._framing = framing
        self._outputs = outputs
        self._badge = Badge(self.size)
        self._card = still_card(self.size)
        self._is_live = is_live
        self._take_avatar()
        self.sent = self._dressed(avatars.avatar.encoded.still)

    def turn(self, frame: Frame) -> None:
        """Animate a frame and send the picture. Raises AvatarifyError."""
        taken_s = self.timing.lap(TurnStage.CAPTURE)
        self.captured_at = frame.captured_at
        self.view = self._framing.view(_seen(self.config, frame))
        self.timing.lap(TurnStage.FRAMING)
        self.sent = self._picture(frame, self.view)
        self.timing.lap(TurnStage.COMPOSE)  # what the engine did not count as its own
        self._outputs.send(self.sent, frame.captured_at)
        sent_s = self.timing.lap(TurnStage.SEND)
        self.timing.tick(frame.captured_at if self._is_live else taken_s, sent_s)
        self.faceless_count += not self.view.has_face
        if self._is_live:  # what nobody waits for comes last
            self.puppeteer.search(frame.captured_at)
            self._encode_next()

    def idle(self, time_s: float) -> None:
        """Send the newest picture again, so that a viewer does not lose the camera. Raises SinkError."""
        self.sent = self._card if self.is_panicking else self.sent
        self._outputs.send(self.sent, time_s)
        self._encode_next()

    def _encode_next(self) -> None:
        """Encode the next photo that waits, if any; its time belongs to no frame."""
        if self.avatars.work():
            self.timing.start()

    def _picture(self, frame: Frame, view: View) -> Image:
        """Return what is shown for a frame: the avatar, unless somebody panics or wants to be seen."""
        if self.is_panicking:
            return self._card
        if self.passes_through:
            image = fit_picture(frame.image, self.size, self.config.fit)
            return mirror(image) if self.config.mirror_output else image
        return self._dressed(self.puppeteer.animate(view, frame.captured_at))

    def _dressed(self, picture: Image) -> Image:
        """Put the avatar's square into the picture that is sent."""
        image = self.avatars.avatar.composition.compose(picture)
        image = mirror(image) if self.config.mirror_output else image.copy()  # the composition's own stays clean
        if self.config.badge:
            self._badge.stamp(image)
        return image

    @property
    def badge_box(self) -> Box | None:
        """Where the pictures are marked; None where they are not."""
        is_marked = self.config.badge and not self.is_panicking and not self.passes_through
        return self._badge.box if is_marked else None

    @property
    def is_limited(self) -> bool:
        """Whether the newest motion went beyond what training saw."""
        return self.puppeteer.is_limited

    @property
    def neutral_score(self) -> float | None:
        """How good the neutral face is, from 0 to 1; None before there is one, or where motion needs none."""
        return self.puppeteer.neutral_score

    @property
    def shown_avatar(self) -> ShownAvatar:
        """The current avatar."""
        avatars = self.avatars
        return ShownAvatar(avatars.avatar.encoded.still, avatars.name, avatars.number, avatars.count)

    def reload_avatars(self) -> None:
        """Look which photos there are now, see `Avatars.reload`."""
        self.avatars.reload()

    def recalibrate(self) -> None:
        """Measure relative motion from the next frame that shows a face."""
        self.puppeteer.recalibrate()

    def change(self, **fields: Any) -> None:
        """Change fields of the config; those that a running session does not use have no effect. Raises ConfigError."""
        self.config = replace(self.config, **fields)
        self._framing.adjust(self.config.zoom, self.config.shift_x, self.config.shift_y)
        self.puppeteer.set_strength(self.config.strength)
        self.puppeteer.set_smoothing(self.config.smoothing)
        self.puppeteer.searches = self.config.search
        self.puppeteer.set_controls(controls_of(self.config))

    def choose(self, number: int) -> None:
        """Show another avatar from the next frame on, by its place, counting from 1."""
        self.avatars.choose(number)
        self._take_avatar()

    def choose_path(self, path: Path) -> None:
        """Show the avatar of a photo's file from the next frame on. Raises SourceError if it cannot be used."""
        self.avatars.choose_path(path)
        self._take_avatar()

    def step(self, places: int) -> None:
        """Show the avatar that comes `places` later from the next frame on."""
        self.avatars.step(places)
        self._take_avatar()

    def _take_avatar(self) -> None:
        self.puppeteer.set_avatar(self.avatars.avatar.encoded)
        self.timing.start()  # what encoding took belongs to no frame


def look_ahead(session: Session, size_px: int, frames: Iterable[Frame]) -> bool:
    """Find the driver's neutral face in a file's frames before any is animated; return whether any shows a face.

    size_px: side of the model's views.
    """
    config, puppeteer = session.config, session.puppeteer
    with mesh_finder(puppeteer.needs_mesh or config.framing == "auto", tracking=True) as find_in_frame:
        framing = _framing(config, find_in_frame, size_px)
        return puppeteer.study((framing.view(_seen(config, frame)), frame.captured_at) for frame in frames)


def _framing(config: AppConfig, find_in_frame: FindMesh | None, size_px: int) -> DriverFraming:
    framing = DriverFraming(find_in_frame, size_px, config.framing, follows=not config.travel)
    framing.adjust(config.zoom, config.shift_x, config.shift_y)
    return framing


def _seen(config: AppConfig, frame: Frame) -> Frame:
    """Return a frame of the driver as it is looked at."""
    return frame._replace(image=mirror(frame.image)) if config.mirror else frame


def controls_of(config: AppConfig) -> Controls:
    """Return how much of each part of the face is followed."""
    factors = {name: getattr(config, name) for name in PARTS}
    controls = Controls(**factors, smile=config.smile, locks_gaze=config.lock_gaze)
    return controls.only(config.region)


@contextlib.contextmanager
def open_session(config: AppConfig, engine: Engine, outputs: Outputs, is_live: bool) -> Iterator[Session]:
    """Encode the avatars and make ready for the driver; engine and outputs stay the caller's.

    is_live: frames carry the time of their capture, see `FrameSource`; the square follows the head, a better neutral
    face is searched for, and pictures have the size of call programs unless the config says otherwise. Raises
    SourceError if no photo can be used.
    """
    size = config.size or (CALL_SIZE if is_live else None)
    with AvatarMaker(config, engine, size) as maker:
        avatars = Avatars(config.avatar, lambda path: maker.make(load_photo(path), f"the photo {path}"))
        if not is_live:
            maker.close()
        with mesh_finder(reads_faces(config, engine), tracking=True) as find_in_frame:
            yield make_session(config, engine, avatars, outputs, find_in_frame, is_live)


def reads_faces(config: AppConfig, engine: Engine) -> bool:
    """Return whether the face mesh is searched for in the driver's frames."""
    return engine.config.reads_mesh or config.framing == "auto"


def make_session(
    config: AppConfig,
    engine: Engine,
    avatars: Avatars,
    outputs: Outputs,
    find_in_frame: FindMesh | None,
    is_live: bool,
) -> Session:
    """Return a session of avatars that are encoded; see `open_session`. find_in_frame: of `mesh_finder`, tracking."""
    timing = Timing()
    puppeteer = Puppeteer(
        TimedEngine(engine, timing),
        config.motion,
        config.movement_scale,
        config.smoothing,
        config.strength,
        is_live and config.search,
    )
    puppeteer.set_controls(controls_of(config))
    framing = _framing(config, find_in_frame, engine.config.image_size)
    return Session(config, framing, puppeteer, avatars, outputs, timing, is_live)
