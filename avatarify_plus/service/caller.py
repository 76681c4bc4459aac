"""One caller: pictures of a webcam come in, pictures of an avatar go out, and requests change how it moves."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from avatarify_plus.errors import AvatarifyError, SourceError
from avatarify_plus.face.mesh import FaceMesh
from avatarify_plus.preview.keys import Press
from avatarify_plus.remote.peer import Peer, Received
from avatarify_plus.remote.stamp import read_stamp, stamp
from avatarify_plus.service.photos import OfferedPhoto, PhotoChoice
from avatarify_plus.session.key_actions import KeyActions
from avatarify_plus.session.session import Session
from avatarify_plus.session.status_line import StatusLine
from avatarify_plus.sinks import Outputs
from avatarify_plus.types import Frame, Image
from avatarify_plus.web.page_control import PageControl
from avatarify_plus.web.session_page import fixed_state, key_press, moment_of, named_press, values_of, wanted_values

logger = logging.getLogger(__name__)

STATE_S = 0.1
"""So often the caller is told how the session is doing."""

IDLE_S = 0.5
"""After so long without a picture, the newest one is sent again, such as a card that was asked for."""


class PeerSink:
    """Sends pictures to a caller, each with the number of the webcam's picture that it was made of. See `Sink`."""

    name = "caller"

    def __init__(self) -> None:
        """Begin without a connection: pictures are dropped."""
        self.peer: Peer | None = None
        self.number: int | None = None

    def send(self, image: Image, time_s: float) -> None:
        """Send a picture."""
        peer = self.peer
        if peer is not None:
            peer.send(image if self.number is None else stamp(image, self.number), time_s)

    def close(self) -> None:
        """End sending."""
        self.peer = None


class Caller:
    """One caller's session. What `turn` says belongs to the thread of turns; the rest to the connection's.

    control: carries requests and states. skipped_count: pictures that a newer one replaced. frame_count: those that
    were animated. waited_ms: how long the newest waited for its turn. heard_s: when a picture came last, by
    `time.monotonic`.
    """

    def __init__(
        self,
        session: Session,
        outputs: Outputs,
        photos: PhotoChoice,
        engine: str,
        request_turn: Callable[[Callable[[], None]], None],
        mesh: FaceMesh | None,
    ) -> None:
        """Take over a session. engine: what computes, for people. request_turn: has `turn` called. mesh: finds the
        caller's face; stays the service's."""
        self.mesh = mesh
        self.control = PageControl()
        self.photos = photos
        self.skipped_count = 0
        self.frame_count = 0
        self.waited_ms = 0.0
        self.heard_s = time.monotonic()
        self._session = session
        self._sink = PeerSink()
        outputs.is_needed = False
        outputs.add(self._sink)
        self._key_actions = KeyActions(session, threading.Event())
        self._status_line = StatusLine(session.timing, lambda: self.skipped_count, engine, False)
        self._request_turn = request_turn
        self._lock = threading.Lock()
        self._slot: Received | None = None
        self._sent_s = self._told_s = 0.0
        self._photo = session.avatars.path.name
        self.control.publish(
            mode="call",
            phase="idle",
            notice=True,
            photo=self._photo,
            photos=[photo.for_pages for photo in photos.photos],
            values=values_of(session.config),
            **fixed_state(),
        )

    # --- the connection's side ---

    def connect(self, peer: Peer | None) -> None:
        """Send pictures over a connection from now on, or over none."""
        self._sink.peer = peer
        self._request_turn(self.turn)
        self.control.publish(phase="idle" if peer is None else "running")

    def take(self, received: Received) -> None:
        """Take a picture of the webcam; one that waits still is replaced."""
        self.heard_s = time.monotonic()
        with self._lock:
            self.skipped_count += self._slot is not None
            self._slot = received
        self._request_turn(self.turn)

    def ask(self, request: dict[str, Any]) -> None:
        """Have a request obeyed in the next turn."""
        self.control.ask(request)
        self._request_turn(self.turn)

    def tick(self) -> None:
        """Ask for a turn if no picture has come for a moment."""
        if time.monotonic() - self.heard_s > IDLE_S and time.monotonic() - self._sent_s > IDLE_S:
            self._request_turn(self.turn)

    def add_photo(self, photo: OfferedPhoto) -> None:
        """Offer a photo of the caller's own, and show it."""
        self.photos.photos.append(photo)
        self.ask({"added": photo.path.name, "choose": photo.path.name})

    # --- the thread of turns ---

    def turn(self) -> None:
        """Obey what was asked for, and animate the newest picture or send the last one again."""
        with self._lock:
            received, self._slot = self._slot, None
        try:
            has_obeyed = self._obey_all()
            if received is None:
                if not has_obeyed and time.monotonic() - self._sent_s < IDLE_S:
                    return  # the picture that this turn was asked for was taken in the one before
                self._session.idle(time.perf_counter())
            else:
                self.waited_ms = 1000 * (time.perf_counter() - received.arrived_s)
                image, self._sink.number = read_stamp(received.image())
                self._session.turn(Frame(image, self.frame_count, received.arrived_s))
                self.frame_count += 1
        except AvatarifyError as error:
            self.control.publish(error=str(error))
        now_s = self._sent_s = time.monotonic()
        self._status_line.update()
        if now_s - self._told_s >= STATE_S:
            self._told_s = now_s
            moment = moment_of(self._session, self._status_line)
            if self._sink.peer is None:
                moment["phase"] = "idle"
            self.control.publish(**moment, photo=self._photo)

    def _obey_all(self) -> bool:
        """Do what was asked for; return whether anything was."""
        requests = self.control.requests()
        for request in requests:
            for name, value in request.items():
                action = getattr(self, f"_on_{name}", None)
                if action is not None:
                    action(value)
        return bool(requests)

    def _on_added(self, file: object) -> None:
        photo = self.photos.find(file)
        if photo is not None:
            self._session.avatars.add(photo.path)
            self._publish_photos()

    def _on_choose(self, file: object) -> None:
        photo = self.photos.find(file)
        if photo is None:
            return
        try:
            self._session.choose_path(photo.path)
            self._photo = photo.path.name
            self.control.publish(photo=self._photo, photo_error=None)
        except SourceError as error:
            self.control.publish(photo_error=str(error))

    def _on_remove(self, file: object) -> None:
        photo = self.photos.find(file)
        if photo is None or len(self.photos.photos) == 1:
            return
        self.photos.photos.remove(photo)
        self._session.avatars.remove(photo.path)
        if photo.path.name == self._photo:
            self._on_choose(self.photos.photos[0].path.name)
        self._publish_photos()

    def _on_press(self, name: object) -> None:
        self._press(named_press(name))

    def _on_key(self, key: object) -> None:
        self._press(key_press(key))

    def _press(self, press: Press | None) -> None:
        if press is not None:
            self._key_actions.obey(press)
            self._photo = self._session.avatars.path.name

    def _on_set(self, values: object) -> None:
        for name, value in wanted_values(values).items():
            self._key_actions.change(name, value)

    def _publish_photos(self) -> None:
        self.control.publish(photos=[photo.for_pages for photo in self.photos.photos], photo=self._photo)
