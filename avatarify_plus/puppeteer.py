"""The story of one frame: the avatar is set once; squares of the driver go in, pictures of the avatar come out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from avatarify_plus.config import MotionMode
from avatarify_plus.engines import Engine, Source
from avatarify_plus.errors import SourceError
from avatarify_plus.motion.keypoints import (
    join_keypoints,
    keypoints_from_mesh,
    load_mesh_layout,
    movement_scale,
    transfer,
)
from avatarify_plus.motion.limit import MotionLimit
from avatarify_plus.motion.neutral_face import Sample, sample_of
from avatarify_plus.motion.presence import Arrival, Presence
from avatarify_plus.motion.transfer import MotionTransfer
from avatarify_plus.motion.transition import Transition
from avatarify_plus.pictures.images import AS_FOUND, Adjustment, View
from avatarify_plus.types import Image, Keypoints

HOLD_S = 1.0
"""How long the last picture is held after the face was lost."""

REST_S = 1.0
"""How long the avatar then takes to ease back to rest."""


class EncodedAvatar(NamedTuple):
    """An avatar, ready to be animated.

    source: what the engine needs. still: its picture at rest, (S, S, 3) uint8 RGB. limit: how far it may move. sample:
    its face as a neutral one.
    """

    source: Source
    still: Image
    limit: MotionLimit
    sample: Sample


class Puppeteer:
    """Animate one avatar at a time: `Presence` says who is there, `MotionTransfer` how it moves.

    The engine stays the caller's. motion, movement_scale, strength, searches: see `MotionTransfer`; with a search, call
    `search` after each `animate`; without, the same frames always give the same pictures. smoothing: see `Presence`.
    """

    def __init__(
        self,
        engine: Engine,
        motion: MotionMode = "relative",
        movement_scale: float | None = None,
        smoothing: float = 0.0,
        strength: float = 1.0,
        searches: bool = False,
    ) -> None:
        config = engine.config
        self._engine = engine
        self._layout = load_mesh_layout(config.mesh_layout) if config.reads_mesh else None
        self._presence = Presence(smoothing)
        self._transfer = MotionTransfer(motion, movement_scale, strength, searches)
        self._transition = Transition()
        self._avatar: EncodedAvatar | None = None
        self._sample: Sample | None = None  # the driver's newest face
        self._is_away = False
        self._is_limited = False
        self._shown: Keypoints | None = None
        self._picture: Image | None = None

    @property
    def needs_mesh(self) -> bool:
        """Whether views must carry landmarks: the model reads keypoints off the face mesh."""
        return self._layout is not None

    @property
    def searches(self) -> bool:
        """Whether a better neutral face is looked for; can be set at any time."""
        return self._transfer.searches

    @searches.setter
    def searches(self, value: bool) -> None:
        self._transfer.searches = value

    @property
    def neutral_score(self) -> float | None:
        """How good the neutral face is, from 0 to 1; None before there is one, or where motion needs none."""
        return self._transfer.score

    @property
    def is_limited(self) -> bool:
        """Whether the newest motion went beyond what training saw."""
        return self._is_limited

    @property
    def driving(self) -> Keypoints | None:
        """The driver's newest keypoints, smoothed; None before the first face."""
        return self._presence.driving

    @property
    def shown(self) -> Keypoints | None:
        """The avatar's keypoints in the newest picture; None before an avatar was set."""
        return self._shown

    def set_strength(self, strength: float) -> None:
        """Multiply all motion by a factor from the next frame on: 0 is rest, 1 as the driver moves."""
        self._transfer.strength = strength

    def set_smoothing(self, strength: float) -> None:
        """Smooth from the next frame on, from 0 (off) to 1 (sluggish)."""
        self._presence.set_smoothing(strength)

    def encode(self, view: View) -> EncodedAvatar:
        """Make an avatar of a photo's view. Raises SourceError if it has no face."""
        keypoints = self._detect(view)
        if keypoints is None:
            raise SourceError("the avatar photo shows no face; use a photo that shows one face from the front")
        source = self._engine.encode_source(view.image, keypoints)
        still = self._engine.animate(source, source.keypoints)
        limit = MotionLimit(source.keypoints, self._layout.names if self._layout is not None else ())
        return EncodedAvatar(source, still, limit, sample_of(source.keypoints, view.landmarks))

    def set_avatar(self, avatar: EncodedAvatar) -> None:
        """Show this avatar from the next frame on, in the current pose."""
        if self._avatar is None or self._shown is None:
            self._shown, self._picture = avatar.source.keypoints, avatar.still  # shown until the driver appears
        else:
            old, new = self._avatar.source.keypoints, avatar.source.keypoints
            scale = movement_scale(new, old)
            self._shown = transfer(new, self._shown, old, scale)
            self._picture = None
            if self._transition.start is not None:
                self._transition.start = transfer(new, self._transition.start, old, scale)
        self._avatar = avatar
        self._transfer.set_avatar(avatar.sample)

    def set_source(self, view: View) -> None:
        """Set the only avatar and start afresh. Raises SourceError if its view has no face."""
        avatar = self.encode(view)
        self._avatar = self._transition.start = None
        self._transfer.forget_driver()
        self.set_avatar(avatar)

    def recalibrate(self) -> None:
        """Measure relative motion from the next frame that shows a face."""
        self._transfer.recalibrate()

    def animate(self, view: View, time_s: float) -> Image:
        """Return the avatar's (S, S, 3) picture for a view of the driver at a time.

        Without a face, the last picture is held for HOLD_S, then the avatar eases to rest. Where motion would jump,
        there is a transition. Times must not go backwards. Raises SourceError if no avatar was set.
        """
        avatar, shown = self._avatar, self._shown
        if avatar is None or shown is None:
            raise SourceError("no avatar was set: call set_avatar or set_source first")
        self._presence.begin_frame(time_s)
        found = self._detect(view)
        if found is None:
            wanted = self._without_face(avatar, shown, time_s)
        else:
            self._notice(found, view, shown, time_s)
            wanted = self._moved(avatar, shown, time_s)
        if wanted is None and self._picture is not None:
            return self._picture
        self._shown = shown if wanted is None else self._transition.lead(wanted, time_s)
        self._picture = self._engine.animate(avatar.source, self._shown)
        return self._picture

    def search(self, time_s: float) -> None:
        """Consider the face that was just animated as the neutral one, if a search is on."""
        if not self.searches or self._sample is None or self._shown is None:
            return
        if time_s != self._presence.last_seen_s or self._transition.start is not None:
            return
        if self._transfer.offer(self._sample, time_s):
            self._transition.begin(self._shown, time_s)

    def _without_face(self, avatar: EncodedAvatar, shown: Keypoints, time_s: float) -> Keypoints | None:
        """Return the keypoints to lead to, or None to hold the picture."""
        presence = self._presence
        if presence.driving is None or self._transfer.is_waiting or time_s - presence.last_seen_s <= HOLD_S:
            return None
        if not self._is_away:
            self._is_away, self._is_limited = True, False
            self._transition.begin(shown, time_s, REST_S)
        return avatar.source.keypoints if self._transition.start is not None else None

    def _notice(self, found: Keypoints, view: View, shown: Keypoints, time_s: float) -> None:
        """Take in the driver's face, with a transition if it did not come here by moving."""
        arrival = self._presence.notice(found, view.has_new_square, time_s)
        if arrival is not Arrival.STAYED:
            if not self._transfer.is_waiting:
                self._transition.begin(shown, time_s)
            if arrival is Arrival.ANOTHER or self._is_away:
                self._transfer.doubt_driver()
        self._is_away = False
        assert self._presence.driving is not None, "it was just noticed"
        self._sample = sample_of(_as_found(self._presence.driving, view.adjustment), view.landmarks)

    def _moved(self, avatar: EncodedAvatar, shown: Keypoints, time_s: float) -> Keypoints | None:
        """Return the keypoints to lead to for the face just noticed; None while the avatar rests."""
        driving, sample = self._presence.driving, self._sample
        assert driving is not None and sample is not None, "a face is noticed first"
        if self._transfer.is_waiting:
            return None
        if self._transfer.will_jump:
            self._transition.begin(shown, time_s)
        wanted = self._transfer.move(driving, sample)
        limited = avatar.limit.apply(wanted)
        self._is_limited = limited is not wanted
        return limited

    def _detect(self, view: View) -> Keypoints | None:
        """Return a view's keypoints, or None if it shows nobody."""
        if not view.has_face:
            return None
        if self._layout is None:
            return self._engine.detect(view.image)
        if view.landmarks is None:
            return None
        keypoints = keypoints_from_mesh(view.landmarks, self._layout)
        if not self._engine.config.detected_count:
            return keypoints
        return join_keypoints(keypoints, self._engine.detect(view.image))


def _as_found(keypoints: Keypoints, adjustment: Adjustment) -> Keypoints:
    """Return keypoints as if the square had not been moved by hand."""
    if adjustment == AS_FOUND:
        return keypoints
    shift = 2 * np.array([adjustment.shift_x, adjustment.shift_y], np.float32)
    zoom = np.float32(adjustment.zoom)
    return Keypoints(keypoints.value / zoom + shift, keypoints.jacobian / zoom)
