"""How it moves: the driver's face becomes the avatar's, by its movement since a neutral face or in its own pose."""

from __future__ import annotations

from collections.abc import Iterable

from avatarify_plus.config import MotionMode
from avatarify_plus.motion.controls import FOLLOW_ALL, Controls
from avatarify_plus.motion.face import Face, FaceReader
from avatarify_plus.motion.face_space import AvatarShape, DriverShape, FaceCarrier
from avatarify_plus.motion.keypoints import blend, movement_scale, transfer
from avatarify_plus.motion.neutral_face import NeutralFaceSearch, Sample
from avatarify_plus.types import Keypoints


class MotionTransfer:
    """Move one avatar at a time.

    Mode "relative" adds the driver's movement since the neutral face to the avatar's own pose; "absolute" takes the
    driver's pose as it is. Of models with a mesh the movement is carried over in space, see `FaceCarrier`; keypoints
    that are learned move by differences in the picture, scaled by the two faces' sizes. controls: how much of each part
    of a mesh is followed; it and `strength` can be set at any time.
    """

    def __init__(
        self, mode: MotionMode, scale: float | None, strength: float, searches: bool, reader: FaceReader | None = None
    ) -> None:
        """scale: the avatar's face over the driver's, None to compare them. strength: factor of all motion, 0 is rest.

        searches: whether a neutral face is looked for, see `offer`; without, the first face is taken. reader: of models
        with a mesh.
        """
        self.strength = strength
        self.controls: Controls = FOLLOW_ALL
        self._is_relative = mode == "relative"
        self._given_scale = scale
        self._reader = reader
        self._scale = 1.0
        self._carrier: FaceCarrier | None = None
        self._avatar: Face | None = None
        self._shape: AvatarShape | None = None
        face_of = None if reader is None else lambda mesh, like: reader.face(mesh, reader.learned(like))
        self._neutral_face = NeutralFaceSearch(searches, face_of)
        self._takes_next = False

    @property
    def searches(self) -> bool:
        """Whether a better neutral face is looked for; can be set at any time."""
        return self._neutral_face.searches

    @searches.setter
    def searches(self, value: bool) -> None:
        self._neutral_face.searches = value

    @property
    def score(self) -> float | None:
        """How good the neutral face is, from 0 to 1; None before there is one, or where motion needs none."""
        return self._neutral_face.score if self._is_relative else None

    @property
    def is_waiting(self) -> bool:
        """Whether the avatar rests until the search has found a neutral face."""
        return self._is_relative and self._neutral_face.initial is None and self.searches and not self._takes_next

    @property
    def will_jump(self) -> bool:
        """Whether the next face replaces the neutral one, so that what is shown does not follow from what was."""
        return self._is_relative and self._takes_next and self._neutral_face.initial is not None

    def set_avatar(self, photo: Sample, shape: AvatarShape | None = None) -> None:
        """Move the avatar of this photo from now on; the neutral face stays. shape: of models with a mesh."""
        self._avatar, self._shape = photo.face, shape
        self._neutral_face.set_reference(photo)
        self._compare()

    def forget_driver(self) -> None:
        """Forget the neutral face."""
        self._neutral_face.forget()

    def doubt_driver(self) -> None:
        """Halve the neutral face's score, since the driver may have changed: the next good face then replaces it."""
        self._neutral_face.doubt()

    def recalibrate(self) -> None:
        """Take the next face as the neutral one."""
        self._takes_next = True

    def study(self, samples: Iterable[tuple[Sample, float]]) -> bool:
        """Take the neutral face of faces, each with its time, before any is moved; return whether there was one."""
        found = self._neutral_face.study(samples)
        self._compare()
        return found

    def move(self, driving: Face, sample: Sample) -> Keypoints:
        """Return what the engine takes of the avatar's face when the driver's is like this.

        driving: in the picture, with what the user shifted and zoomed. sample: the same face as it was found.
        """
        assert self._avatar is not None, "set_avatar comes first"
        has_mesh = self._shape is not None
        if not self._is_relative and not has_mesh:
            return self._with_strength(driving.keypoints)
        if self._neutral_face.initial is None or self._takes_next:
            self._neutral_face.take(sample, is_chosen=self._takes_next)
            self._takes_next = False
            self._compare()
        initial = self._neutral_face.initial
        assert initial is not None, "it was just taken"
        if not has_mesh:
            return self._with_strength(
                transfer(self._avatar.keypoints, driving.keypoints, initial.keypoints, self._scale)
            )
        return self._with_strength(self._carried(driving, initial))

    def offer(self, sample: Sample, time_s: float) -> bool:
        """Consider a face as the neutral one, each in its turn; return whether there is a new one."""
        if not self._is_relative or not self._neutral_face.offer(sample, time_s):
            return False
        self._compare()
        return True

    def _carried(self, driving: Face, initial: Face) -> Keypoints:
        """Carry a face's movement over in space, and that of what is learned beside it in the picture."""
        reader, carrier, avatar = self._reader, self._carrier, self._avatar
        assert reader is not None and carrier is not None and avatar is not None and driving.mesh is not None
        mesh = carrier.carry(driving.mesh, self.controls, is_absolute=not self._is_relative)
        learned = reader.learned(driving)
        if learned is not None:
            own, first = reader.learned(avatar), reader.learned(initial)
            assert own is not None and first is not None, "all faces are one model's"
            if self._is_relative:
                learned = transfer(own, learned, first, carrier.scale)
            learned = blend(own, learned, self.controls.head)
        return reader.shown(reader.face(mesh, learned))

    def _with_strength(self, moved: Keypoints) -> Keypoints:
        assert self._avatar is not None
        if self.strength == 1:
            return moved
        rest = self._avatar.keypoints if self._reader is None else self._reader.shown(self._avatar)
        return blend(rest, moved, self.strength)

    def _compare(self) -> None:
        """Compare the avatar's face with the neutral one."""
        initial = self._neutral_face.initial
        if self._avatar is None or initial is None:
            return
        if self._shape is not None and initial.mesh is not None:
            self._carrier = FaceCarrier(self._shape, DriverShape(initial.mesh), self._given_scale)
        else:
            self._scale = self._given_scale or movement_scale(self._avatar.keypoints, initial.keypoints)
