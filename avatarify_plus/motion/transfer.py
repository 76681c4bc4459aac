"""How it moves: the driver's keypoints become the avatar's, by the movement since a neutral face or as they are."""

from __future__ import annotations

from avatarify_plus.config import MotionMode
from avatarify_plus.motion.keypoints import blend, movement_scale, transfer
from avatarify_plus.motion.neutral_face import NeutralFaceSearch, Sample
from avatarify_plus.types import Keypoints


class MotionTransfer:
    """Move one avatar at a time.

    Mode "relative" adds the driver's movement since the neutral face to the avatar's own pose, scaled by the two faces'
    sizes; "absolute" takes the driver's pose as it is.
    """

    def __init__(self, mode: MotionMode, scale: float | None, strength: float, searches: bool) -> None:
        """scale: the avatar's face over the driver's, None to compare them. strength: factor of all motion, 0 is rest.

        searches: whether a neutral face is looked for, see `offer`; without, the first face is taken.
        """
        self.strength = strength
        self._is_relative = mode == "relative"
        self._given_scale = scale
        self._scale = 1.0
        self._avatar: Keypoints | None = None
        self._neutral_face = NeutralFaceSearch(searches)
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

    def set_avatar(self, photo: Sample) -> None:
        """Move the avatar of this photo from now on; the neutral face stays."""
        self._avatar = photo.keypoints
        self._neutral_face.set_reference(photo)
        self._measure_scale()

    def forget_driver(self) -> None:
        """Forget the neutral face."""
        self._neutral_face.forget()

    def doubt_driver(self) -> None:
        """Halve the neutral face's score, since the driver may have changed: the next good face then replaces it."""
        self._neutral_face.doubt()

    def recalibrate(self) -> None:
        """Take the next face as the neutral one."""
        self._takes_next = True

    def move(self, driving: Keypoints, sample: Sample) -> Keypoints:
        """Return the avatar's keypoints, (K, 2) and (K, 2, 2), for the driver's.

        driving: in the picture, with what the user shifted and zoomed. sample: the same face as it was found.
        """
        assert self._avatar is not None, "set_avatar comes first"
        moved = driving
        if self._is_relative:
            initial = self._neutral_face.initial
            if initial is None or self._takes_next:
                self._neutral_face.take(sample, is_chosen=self._takes_next)
                self._takes_next = False
                self._measure_scale()
                initial = sample.keypoints
            moved = transfer(self._avatar, driving, initial, self._scale)
        return moved if self.strength == 1 else blend(self._avatar, moved, self.strength)

    def offer(self, sample: Sample, time_s: float) -> bool:
        """Consider a face as the neutral one, each in its turn; return whether there is a new one."""
        if not self._is_relative or not self._neutral_face.offer(sample, time_s):
            return False
        self._measure_scale()
        return True

    def _measure_scale(self) -> None:
        """Compare the avatar's face with the neutral one."""
        initial = self._neutral_face.initial
        if self._avatar is not None and initial is not None:
            self._scale = self._given_scale or movement_scale(self._avatar, initial)
