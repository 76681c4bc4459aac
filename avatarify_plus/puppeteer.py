"""The story of one frame: the avatar is set once; squares of the driver go in, pictures of the avatar come out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from avatarify_plus.config import MotionMode
from avatarify_plus.engines import Engine, Source
from avatarify_plus.errors import SourceError
from avatarify_plus.motion.keypoints import (
    KeypointSmoother,
    blend,
    join_keypoints,
    keypoints_from_mesh,
    load_mesh_layout,
    movement_scale,
    transfer,
)
from avatarify_plus.motion.limit import MotionLimit
from avatarify_plus.motion.neutral_face import NeutralFaceSearch, Reading, Sample, read_face
from avatarify_plus.motion.transition import Transition
from avatarify_plus.pictures.images import AS_FOUND, Adjustment, View
from avatarify_plus.types import Image, Keypoints

LOOSEST_CUTOFF_HZ = 12.0
"""Cutoff of the smoothing filter for a still face at the lowest strength: nearly nothing is smoothed."""

TIGHTEST_CUTOFF_HZ = 0.5
"""The same at strength 1."""

SMOOTHING_BETA = 60.0
"""How fast the cutoff rises with a keypoint's speed (hertz per picture half a second), so that blinks are not lost.
Measured on examples/driver.mp4 with sensor noise added: at strength 0.5 a still face's jitter falls from 0.28 to 0.10
px of 256, moving keypoints lag 0.26 px on average, and blinks close the eyes as far as before."""

HOLD_S = 1.0
"""A lost face is waited for so long,"""

REST_S = 1.0
"""then the avatar eases back to rest in this time."""

GAP_S = 0.25
"""A face is back, rather than still there, when this time"""

GAP_FRAMES = 5
"""and so many usual frame intervals have passed since it was seen: slow drivers have no gaps."""

SLOWING = 1.2
"""The usual interval shortens at once, and grows by this factor a frame."""

HOP_WAY = 0.3
"""A face that moves by this in a single frame, in picture halves,"""

HOP_SPEED = 7.5
"""and this fast, in picture halves a second, is another face. In the training clips one frame in 10,000 moves by more
than half of that."""


class EncodedAvatar(NamedTuple):
    """An avatar, encoded. still: its picture at rest. limit: how far it may move. reading: None without a mesh."""

    source: Source
    still: Image
    limit: MotionLimit
    reading: Reading | None


class Puppeteer:
    """Animate one avatar at a time.

    The engine stays the caller's. `motion` relative adds the driver's movement since the initial frame to the avatar's
    own pose, scaled by `movement_scale` (None: by the two faces' sizes); absolute takes the driver's pose as it is.
    `smoothing`: strength from 0 (off) to 1. `strength`: factor of all motion. `searches`: whether the initial frame is
    looked for, by calling `search` after each `animate`; without it, the first face seen is taken, and the same frames
    always give the same pictures.
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
        self._motion = motion
        self._wanted_scale = movement_scale
        self._strength = strength
        self._smoother: KeypointSmoother | None = None
        self.set_smoothing(smoothing)
        self._neutral_face = NeutralFaceSearch(searches)
        self._transition = Transition()
        self._avatar: EncodedAvatar | None = None
        self._scale = 1.0
        self._driving: Keypoints | None = None  # smoothed
        self._sample: Sample | None = None
        self._takes_next = False
        self._is_away = False
        self._is_limited = False
        self._seen: Keypoints | None = None  # the driver's keypoints when a face was last seen,
        self._seen_s = 0.0  # and when that was
        self._time_s: float | None = None
        self._usual_s = float("inf")
        self._shown: Keypoints | None = None
        self._picture: Image | None = None

    @property
    def needs_mesh(self) -> bool:
        """Whether views must carry landmarks: the model reads keypoints off the face mesh."""
        return self._layout is not None

    @property
    def searches(self) -> bool:
        """Whether a better initial frame is looked for; can be set at any time."""
        return self._neutral_face.searches

    @searches.setter
    def searches(self, value: bool) -> None:
        self._neutral_face.searches = value

    @property
    def calibration_score(self) -> float | None:
        """How good the initial frame is, from 0 to 1; None before there is one, or where motion needs none."""
        return self._neutral_face.score if self._motion == "relative" else None

    @property
    def is_limited(self) -> bool:
        """Whether the newest motion went beyond what training saw."""
        return self._is_limited

    @property
    def driving(self) -> Keypoints | None:
        """The driver's own keypoints when a face was last seen, smoothed if that is asked for; None before that."""
        return self._driving

    @property
    def shown(self) -> Keypoints | None:
        """The keypoints of the newest picture; None before there is an avatar."""
        return self._shown

    def set_strength(self, strength: float) -> None:
        """Multiply all motion by a factor from the next frame on: 0 is rest, 1 as the driver moves."""
        self._strength = strength

    def set_smoothing(self, strength: float) -> None:
        """Smooth from the next frame on, from 0 (off) to 1 (sluggish)."""
        if strength == 0:
            self._smoother = None
            return
        cutoff_hz = LOOSEST_CUTOFF_HZ * (TIGHTEST_CUTOFF_HZ / LOOSEST_CUTOFF_HZ) ** strength
        if self._smoother is None:
            self._smoother = KeypointSmoother(cutoff_hz, SMOOTHING_BETA)
        else:
            self._smoother.min_cutoff_hz = cutoff_hz

    def encode(self, view: View) -> EncodedAvatar:
        """Make an avatar of a photo's view. Raises SourceError if it has no face."""
        keypoints = self._detect(view)
        if keypoints is None:
            raise SourceError("the avatar photo shows no face; use a photo that shows one face from the front")
        source = self._engine.encode_source(view.image, keypoints)
        still = self._engine.animate(source, source.keypoints)
        limit = MotionLimit(source.keypoints, self._layout.names if self._layout is not None else ())
        return EncodedAvatar(source, still, limit, _reading(view))

    def take(self, avatar: EncodedAvatar) -> None:
        """Be this avatar from the next frame on, in the same pose; all else goes on as it is."""
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
        self._neutral_face.resemble(Sample(avatar.source.keypoints, avatar.reading))
        self._measure_scale()

    def set_source(self, view: View) -> None:
        """Set the only avatar and begin anew. Raises SourceError if its view has no face."""
        avatar = self.encode(view)
        self._avatar = self._transition.start = None
        self._neutral_face.forget()
        self.take(avatar)

    def recalibrate(self) -> None:
        """Measure relative motion from the next frame that shows a face."""
        self._takes_next = True

    def animate(self, view: View, time_s: float) -> Image:
        """Return the avatar's (S, S, 3) picture for a view of the driver at a time.

        Without a face, the last picture is held for HOLD_S, then the avatar eases to rest. Where motion would jump, it
        glides. Times must not go backwards. Raises SourceError if no avatar was set.
        """
        avatar, shown = self._avatar, self._shown
        if avatar is None or shown is None:
            raise SourceError("no avatar was set: call take or set_source first")
        usual_s = self._tick(time_s)
        driving = self._detect(view)
        if driving is None:
            wanted = self._without_face(avatar, shown, time_s)
        else:
            self._notice(driving, view, shown, time_s, usual_s)
            wanted = self._motion_wanted(avatar, view, shown, time_s)
        if wanted is None and self._picture is not None:
            return self._picture
        self._shown = shown if wanted is None else self._transition.lead(wanted, time_s)
        self._picture = self._engine.animate(avatar.source, self._shown)
        return self._picture

    def search(self, view: View, time_s: float) -> None:
        """Consider the view that was just animated as the initial one, if it was told to search."""
        if not self.searches or self._motion == "absolute" or self._shown is None:
            return
        if self._sample is None or time_s != self._seen_s or self._transition.start is not None:
            return
        if self._neutral_face.offer(self._sample._replace(reading=_reading(view)), time_s):
            self._measure_scale()
            self._transition.begin(self._shown, time_s)

    def _tick(self, time_s: float) -> float:
        """Note the time; return the usual interval between frames until then, endless before there is one."""
        usual_s = self._usual_s
        if self._time_s is not None:
            self._usual_s = min(max(time_s - self._time_s, 1e-3), SLOWING * usual_s)
        self._time_s = time_s
        return usual_s

    @property
    def _is_waiting(self) -> bool:
        """Whether the avatar rests until the search has found an initial frame."""
        return (
            self._motion == "relative" and self._neutral_face.initial is None and self.searches and not self._takes_next
        )

    def _without_face(self, avatar: EncodedAvatar, shown: Keypoints, time_s: float) -> Keypoints | None:
        """Return the keypoints to lead to, or None to hold the picture."""
        if self._seen is None or self._is_waiting or time_s - self._seen_s <= HOLD_S:
            return None
        if not self._is_away:
            self._is_away, self._is_limited = True, False
            self._transition.begin(shown, time_s, REST_S)
        return avatar.source.keypoints if self._transition.start is not None else None

    def _notice(self, driving: Keypoints, view: View, shown: Keypoints, time_s: float, usual_s: float) -> None:
        """Take in the driver's face: smoothed, and with a glide if it did not come here by moving."""
        if self._seen is not None:
            gap_s = time_s - self._seen_s
            way = float(np.linalg.norm(driving.value - self._seen.value, axis=-1).mean())
            is_another = view.is_anew or way > max(HOP_WAY, HOP_SPEED * gap_s)
            if is_another or gap_s > max(GAP_S, GAP_FRAMES * usual_s):
                if self._smoother is not None:
                    self._smoother.reset()
                if not self._is_waiting:
                    self._transition.begin(shown, time_s)
                if is_another or self._is_away:
                    self._neutral_face.doubt()
        self._seen, self._seen_s, self._is_away = driving, time_s, False
        self._driving = driving if self._smoother is None else self._smoother.smooth(driving, time_s)
        self._sample = Sample(_as_found(self._driving, view.adjustment), None)

    def _motion_wanted(self, avatar: EncodedAvatar, view: View, shown: Keypoints, time_s: float) -> Keypoints | None:
        """Return the keypoints to lead to for the face just noticed; None while the avatar rests."""
        assert self._driving is not None and self._sample is not None, "a face is noticed first"
        source = avatar.source.keypoints
        if self._is_waiting:
            return None
        wanted = self._driving
        if self._motion == "relative":
            initial = self._neutral_face.initial
            if initial is None or self._takes_next:
                if initial is not None:
                    self._transition.begin(shown, time_s)
                sample = self._sample._replace(reading=_reading(view))
                self._neutral_face.take(sample, is_chosen=self._takes_next)
                self._takes_next = False
                self._measure_scale()
                initial = sample.keypoints
            wanted = transfer(source, wanted, initial, self._scale)
        if self._strength != 1:
            wanted = blend(source, wanted, self._strength)
        limited = avatar.limit.apply(wanted)
        self._is_limited = limited is not wanted
        return limited

    def _measure_scale(self) -> None:
        """Compare the avatar's face with the initial one."""
        initial = self._neutral_face.initial
        if self._avatar is not None and initial is not None:
            self._scale = self._wanted_scale or movement_scale(self._avatar.source.keypoints, initial)

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


def _reading(view: View) -> Reading | None:
    """Return what the face in a view does, if there is a mesh to tell."""
    return None if view.landmarks is None else read_face(view.landmarks)


def _as_found(keypoints: Keypoints, adjustment: Adjustment) -> Keypoints:
    """Return keypoints as if the square had not been moved by hand."""
    if adjustment == AS_FOUND:
        return keypoints
    shift = 2 * np.array([adjustment.shift_x, adjustment.shift_y], np.float32)
    zoom = np.float32(adjustment.zoom)
    return Keypoints(keypoints.value / zoom + shift, keypoints.jacobian / zoom)
