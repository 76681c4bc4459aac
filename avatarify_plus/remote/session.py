"""A session whose avatar another machine computes: what the loop, the window and the keys see of it."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from types import TracebackType
from typing import Any

from avatarify_plus.camera import FrameSource
from avatarify_plus.config import AppConfig
from avatarify_plus.errors import AvatarifyError
from avatarify_plus.pictures.badge import still_card
from avatarify_plus.pictures.composition import fit_picture
from avatarify_plus.pictures.images import Box, View, at_most, centred_square, crop, load_photo, mirror
from avatarify_plus.remote.link import TOKEN, RemoteLink
from avatarify_plus.session.avatars import photos_in
from avatarify_plus.session.driven import Driven, ShownAvatar
from avatarify_plus.session.session import CALL_SIZE
from avatarify_plus.session.timing import Timing, TurnStage
from avatarify_plus.sinks import Outputs
from avatarify_plus.types import Frame, Image
from avatarify_plus.web.session_page import values_of, wanted_values

logger = logging.getLogger(__name__)

IDLE_S = 0.1
HOLD_S = 2.0
"""So long the last picture is held when none comes; then others see a card."""

VIEW_PX = 256


class RemoteFrames:
    """The avatar's pictures as frames, each captured when the webcam's was that it was made of; see `FrameSource`.

    A thread takes the webcam's frames to the link; newest: the newest of them.
    """

    is_live = True
    count: int | None = None

    def __init__(self, driver: FrameSource, link: RemoteLink) -> None:
        """The driver stays the caller's."""
        self.name = f"{driver.name} by way of {link.host}"
        self.rate: Fraction = driver.rate
        self.newest: Frame | None = None
        self._driver = driver
        self._link = link
        self._failure: AvatarifyError | None = None
        self._has_ended = False

    @property
    def skipped_count(self) -> int:
        """Number of the webcam's frames that were left out here or there."""
        dropped = self._link.state.get("stats", {}).get("dropped", 0)
        return self._driver.skipped_count + (int(dropped) if isinstance(dropped, int | float) else 0)

    @property
    def trouble(self) -> str | None:
        """What is wrong now, in one line for people; None if all is well."""
        return self._driver.trouble or self._link.trouble

    def __enter__(self) -> RemoteFrames:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def frames(self, stop: threading.Event) -> Iterator[Frame | None]:
        """Yield the newest picture each time, or None if none came for a moment. Raises CameraError, RemoteError."""
        ended = threading.Event()
        pump = threading.Thread(target=self._pump, args=(stop, ended), name="pump", daemon=True)
        pump.start()
        last_number: int | None = None
        index = itertools.count()
        try:
            while not stop.is_set():
                picture = self._link.newest(IDLE_S)
                if self._failure is not None:
                    raise self._failure
                if self._has_ended:
                    return
                if picture is None or picture.captured_s is None or picture.number == last_number:
                    yield None
                    continue
                last_number = picture.number
                yield Frame(picture.image, next(index), picture.captured_s)
        finally:
            ended.set()
            pump.join(1.0)

    def _pump(self, stop: threading.Event, ended: threading.Event) -> None:
        try:
            for frame in self._driver.frames(stop):
                if ended.is_set():
                    return
                if frame is not None:
                    self.newest = frame
                    self._link.send(frame)
        except AvatarifyError as error:
            self._failure = error
        self._has_ended = True


class RemoteSession:
    """See `session.driven.Driven`. Hiding and showing oneself work here, whatever the network does."""

    def __init__(self, config: AppConfig, outputs: Outputs, link: RemoteLink, frames: RemoteFrames) -> None:
        """Raises SourceError if the first photo cannot be read."""
        self.config = config
        self.timing = Timing()
        self.size = config.size or CALL_SIZE
        self.faceless_count = 0
        self.is_panicking = self.passes_through = False
        self.captured_at = 0.0
        self._outputs = outputs
        self._link = link
        self._frames = frames
        self._card = still_card(self.size)
        self._still = at_most(load_photo(link.chosen_photo), VIEW_PX)
        self._shown_s = -HOLD_S
        self.sent: Image = self._card

    @property
    def view(self) -> View | None:
        """What the webcam sees; None before its first picture."""
        frame = self._frames.newest
        if frame is None:
            return None
        image = mirror(frame.image) if self.config.mirror else frame.image
        state = self._link.state
        has_face, is_dark = state.get("has_face") is not False, state.get("is_dark") is True
        return View(crop(image, centred_square(image), VIEW_PX, quick=True), None, has_face, is_dark)

    @property
    def badge_box(self) -> Box | None:
        """Where the pictures are marked by this end: nowhere, the other one marks them."""
        return None

    @property
    def is_limited(self) -> bool:
        """Whether the newest motion went beyond what training saw."""
        return self._link.state.get("is_limited") is True

    @property
    def neutral_score(self) -> float | None:
        """How good the neutral face is; the other end knows."""
        return None

    @property
    def shown_avatar(self) -> ShownAvatar:
        """The current avatar."""
        link = self._link
        return ShownAvatar(self._still, link.chosen_photo.stem, link.chosen + 1, link.photo_count)

    def turn(self, frame: Frame) -> None:
        """Send a picture of the avatar. Raises SinkError."""
        self.timing.lap(TurnStage.CAPTURE)
        self.captured_at = frame.captured_at
        self._shown_s = time.monotonic()
        self.sent = self._picture(frame.image)
        self.timing.lap(TurnStage.COMPOSE)
        self._outputs.send(self.sent, frame.captured_at)
        sent_s = self.timing.lap(TurnStage.SEND)
        self.timing.tick(frame.captured_at, sent_s)
        self.faceless_count += self._link.state.get("has_face") is False

    def idle(self, time_s: float) -> None:
        """Send the newest picture again, or, if none has come for long, a card. Raises SinkError."""
        if self.is_panicking or self.passes_through or time.monotonic() - self._shown_s > HOLD_S:
            self.sent = self._picture(None)
        self._outputs.send(self.sent, time_s)

    def _picture(self, avatar: Image | None) -> Image:
        if self.is_panicking:
            return self._card
        newest = self._frames.newest
        if self.passes_through and newest is not None:
            image = fit_picture(newest.image, self.size, self.config.fit)
            return mirror(image) if self.config.mirror_output else image
        return self._card if avatar is None else fit_picture(avatar, self.size, self.config.fit)

    def change(self, **fields: Any) -> None:
        """Change fields of the config, and ask the other end for those that it knows. Raises ConfigError."""
        self.config = replace(self.config, **fields)
        values = wanted_values(fields)
        if values:
            self._link.ask({"set": values})

    def choose(self, number: int) -> None:
        """Show another avatar, by its place, counting from 1; nothing happens if there are fewer."""
        if 1 <= number <= self._link.photo_count:
            self._link.choose(number - 1)
            with contextlib.suppress(AvatarifyError):  # the other end says so
                self._still = at_most(load_photo(self._link.chosen_photo), VIEW_PX)

    def step(self, places: int) -> None:
        """Show the avatar that comes `places` later."""
        self.choose((self._link.chosen + places) % self._link.photo_count + 1)

    def reload_avatars(self) -> None:
        """Say that photos stay as they were sent."""
        logger.warning("photos are sent when a remote call begins: start again to send changed ones")

    def recalibrate(self) -> None:
        """Take the next face as the neutral one."""
        self._link.ask({"press": "recalibrate"})


@contextlib.contextmanager
def open_remote(config: AppConfig, outputs: Outputs, driver: FrameSource) -> Iterator[tuple[Driven, FrameSource]]:
    """Call the machine that the config names; outputs and driver stay the caller's.

    Raises ConfigError, SourceError.
    """
    assert config.remote is not None
    photos = photos_in(config.avatar)
    token = config.token or os.environ.get(TOKEN, "")
    link = RemoteLink(config.remote, token, photos, values_of(config), config.remote_certificate)
    frames = RemoteFrames(driver, link)
    session = RemoteSession(config, outputs, link, frames)
    logger.info(
        "your webcam's pictures and %s go to %s, which computes the avatar and forgets them when the call ends",
        "the photo" if len(photos) == 1 else f"{len(photos)} photos",
        link.host,
    )
    with link:
        yield session, frames
