"""Easing from what is shown to what should be shown, so that nothing jumps."""

from __future__ import annotations

from avatarify_plus.motion.keypoints import blend
from avatarify_plus.types import Keypoints

TRANSITION_S = 0.4
"""How long a transition takes: long enough not to look like a jump, short enough not to look like a lag."""


class Transition:
    """Lead from the keypoints where it began to those wanted, which may move meanwhile.

    start: where the transition under way began; None when none is.
    """

    def __init__(self) -> None:
        self.start: Keypoints | None = None
        self._begun_s = 0.0
        self._length_s = TRANSITION_S

    def begin(self, shown: Keypoints, time_s: float, length_s: float = TRANSITION_S) -> None:
        """Start from what was shown last."""
        self.start, self._begun_s, self._length_s = shown, time_s, length_s

    def lead(self, wanted: Keypoints, time_s: float) -> Keypoints:
        """Return what to show at a time: `wanted` itself when no transition is under way."""
        if self.start is None:
            return wanted
        share = max(time_s - self._begun_s, 0.0) / self._length_s
        if share >= 1:
            self.start = None
            return wanted
        return blend(self.start, wanted, share * share * (3 - 2 * share))  # smoothstep
