"""The story of one frame: the avatar is set once; squares of the driver go in, pictures of the avatar come out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from avatarify_plus.config import MotionMode
from avatarify_plus.engines import Engine, Source
from avatarify_plus.errors import ModelError, SourceError
from avatarify_plus.motion.controls import Controls
from avatarify_plus.motion.face import Face, FaceReader, enlarged, mesh_of
from avatarify_plus.motion.face_space import AvatarShape
from avatarify_plus.motion.keypoints import first_keypoints, movement_scale, transfer
from avatarify_plus.motion.limit import MotionLimit
from avatarify_plus.motion.neutral_face import Sample, sample_of
from avatarify_plus.motion.presence import Arrival, Presence
from avatarify_plus.motion.response import Probe, demand_of, probe_of
from avatarify_plus.motion.transfer import MotionTransfer
from avatarify_plus.motion.transition import Transition
from avatarify_plus.pictures.images import AS_FOUND, Adjustment, View
from avatarify_plus.types import FloatArray, Image, Keypoints

HOLD_S = 1.0
"""How long the last picture is held after the face was lost."""

REST_S = 1.0
"""How long the avatar then takes to ease back to rest."""


FindLandmarks = Callable[[Image], FloatArray | None]
"""(P, P, 3) to the landmarks (478, 3) of its face, x and y in [0, 1], z in the scale of x; None without a face."""


class EncodedAvatar(NamedTuple):
    """An avatar, ready to be animated.

    source: what the engine needs. still: its picture at rest, (P, P, 3) uint8 RGB. limit: how far it may move. sample:
    its face as a neutral one. shape: its face in space, of models with a mesh.
    """

    source: Source
    still: Image
    limit: MotionLimit
    sample: Sample
    shape: AvatarShape | None


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
        self._reader = FaceReader(config.mesh_layout, config.reads_contours) if config.reads_mesh else None
        self._count = config.keypoint_count  # contour points may follow
        if self._reader is not None and (own := len(self._reader.names)) != self._count - config.detected_count:
            raise ModelError(
                f"the model takes {self._count - config.detected_count} keypoints from the mesh, and its layout "
                f"{config.mesh_layout} has {own}: export the model again"
            )
        self._presence = Presence(smoothing, self._reader.nearest if self._reader is not None else None)
        self._transfer = MotionTransfer(motion, movement_scale, strength, searches, self._reader)
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
        return self._reader is not None

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
        face = self._presence.driving
        return None if face is None else self._taken(face)

    @property
    def shown(self) -> Keypoints | None:
        """The avatar's keypoints in the newest picture; None before an avatar was set."""
        return self._shown

    def set_strength(self, strength: float) -> None:
        """Multiply all motion by a factor from the next frame on: 0 is rest, 1 as the driver moves."""
        self._transfer.strength = strength

    def set_controls(self, controls: Controls) -> None:
        """Follow parts of the face so much from the next frame on; without effect on models that read no mesh."""
        self._transfer.controls = controls

    def set_smoothing(self, strength: float) -> None:
        """Smooth from the next frame on, from 0 (off) to 1 (sluggish)."""
        self._presence.set_smoothing(strength)

    def encode(self, view: View, find: FindLandmarks | None = None) -> EncodedAvatar:
        """Make an avatar of a photo's view. Raises SourceError if it has no face.

        find: finds the face in a picture, so that it can be measured how much of what is asked for arrives; None takes
        all of it to arrive.
        """
        face = self._detect(view)
        if face is None:
            raise SourceError("the avatar photo shows no face; use a photo that shows one face from the front")
        photo = () if view.photo is None else (view.photo,)
        source = self._engine.encode_source(view.image, self._taken(face), *photo)
        still = self._engine.animate(source, source.keypoints)
        limit = MotionLimit(source.keypoints, self._reader.names if self._reader is not None else (), self._count)
        shape = None
        if face.mesh is not None:
            shape = AvatarShape(face.mesh)
            shape = shape if find is None else self._measured(source, still, face, shape, find)
        return EncodedAvatar(source, still, limit, sample_of(face, view.landmarks), shape)

    def _measured(
        self, source: Source, still: Image, face: Face, shape: AvatarShape, find: FindLandmarks
    ) -> AvatarShape:
        """Return an avatar's shape with what must be asked of it, as known where its face is not found again."""
        assert self._reader is not None, "only models with a mesh have shapes"
        asked, learned = probe_of(shape), self._reader.learned(face)
        pictures = [still]
        for mesh in asked[1:]:
            pictures.append(self._engine.animate(source, self._taken(self._reader.face(mesh, learned))))
        found = [find(picture) for picture in pictures]
        meshes = [mesh_of(landmarks) for landmarks in found if landmarks is not None]
        if len(meshes) < len(pictures):
            return shape
        return AvatarShape(shape.mesh, demand_of(asked, Probe(*meshes)))

    def set_avatar(self, avatar: EncodedAvatar) -> None:
        """Show this avatar from the next frame on, in the current pose."""
        if self._avatar is None or self._shown is None:
            self._shown, self._picture = avatar.source.keypoints, avatar.still  # shown until the driver appears
        else:
            old, new = self._avatar.source.keypoints, avatar.source.keypoints
            scale = movement_scale(*(first_keypoints(face, self._count) for face in (new, old)))
            self._shown = transfer(new, self._shown, old, scale)
            self._picture = None
            if self._transition.start is not None:
                self._transition.start = transfer(new, self._transition.start, old, scale)
        self._avatar = avatar
        self._transfer.set_avatar(avatar.sample, avatar.shape)

    def set_source(self, view: View, find: FindLandmarks | None = None) -> None:
        """Set the only avatar and start afresh, see `encode`. Raises SourceError if its view has no face."""
        avatar = self.encode(view, find)
        self._avatar = self._transition.start = None
        self._transfer.forget_driver()
        self.set_avatar(avatar)

    def study(self, views: Iterable[tuple[View, float]]) -> bool:
        """Find the driver's neutral face in views, each with its time, before they are animated; an avatar is set.

        Return whether any shows a face.
        """

        def samples() -> Iterator[tuple[Sample, float]]:
            for view, time_s in views:
                face = self._detect(view)
                if face is not None:
                    yield sample_of(as_found(face, view.adjustment), view.landmarks), time_s

        return self._transfer.study(samples())

    def recalibrate(self) -> None:
        """Measure relative motion from the next frame that shows a face."""
        self._transfer.recalibrate()

    def animate(self, view: View, time_s: float) -> Image:
        """Return the avatar's (P, P, 3) picture for a view of the driver at a time.

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

    def _notice(self, found: Face, view: View, shown: Keypoints, time_s: float) -> None:
        """Take in the driver's face, with a transition if it did not come here by moving."""
        arrival = self._presence.notice(found, view.has_new_square, time_s)
        if arrival is not Arrival.STAYED:
            if not self._transfer.is_waiting:
                self._transition.begin(shown, time_s)
            if arrival is Arrival.ANOTHER or self._is_away:
                self._transfer.doubt_driver()
        self._is_away = False
        assert self._presence.driving is not None, "it was just noticed"
        self._sample = sample_of(as_found(self._presence.driving, view.adjustment), view.landmarks)

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

    def _detect(self, view: View) -> Face | None:
        """Return a view's face; None if it shows nobody."""
        if not view.has_face:
            return None
        if self._reader is None:
            return Face(self._engine.detect(view.image))
        if view.landmarks is None:
            return None
        learned = self._engine.detect(view.image) if self._engine.config.detected_count else None
        return self._reader.face(mesh_of(view.landmarks), learned)

    def _taken(self, face: Face) -> Keypoints:
        """Return what the engine takes of a face."""
        return face.keypoints if self._reader is None else self._reader.shown(face)


def as_found(face: Face, adjustment: Adjustment) -> Face:
    """Return a face as if the square had not been moved by hand."""
    if adjustment == AS_FOUND:
        return face
    shift = 2 * np.array([adjustment.shift_x, adjustment.shift_y], np.float32)
    return enlarged(face, 1 / adjustment.zoom, shift)
