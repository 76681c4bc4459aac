"""Who is there: whether the driver's face stays, comes back, is another's, or is gone; and the face, smoothed."""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import NDArray

from avatarify_plus.motion.face import Face, FaceSmoother, mean_distance

LOOSEST_CUTOFF_HZ = 12.0
"""The cutoff of the smoothing filter for a still face at the lowest strength, where nearly nothing is smoothed."""

TIGHTEST_CUTOFF_HZ = 0.15
"""The cutoff of the smoothing filter for a still face at strength 1. In space, turns and depth tremble more than places
in the picture: with 0.5, as they had it, a still face trembled half as much again."""

SMOOTHING_BETA = 60.0
"""How fast the cutoff rises with a keypoint's speed (hertz per picture half a second), so that blinks are not lost.
Moving keypoints of examples/driver.mp4 with sensor noise lag 0.26 px of 256 on average at a cutoff of 2.4 Hz, and
blinks close the eyes as far as before."""

GAP_S = 0.25
"""The shortest time without a face after which it is back rather than still there."""

GAP_FRAMES = 5
"""A face is back, rather than still there, only after this many usual frame intervals: slow drivers have no gaps."""

SLOWING = 1.2
"""The usual interval between frames shortens at once, and grows by this factor a frame."""

HOP_DISTANCE = 0.3
"""A face whose keypoints move by this much in a single frame, in picture halves, may be another face."""

HOP_SPEED = 7.5
"""A face that moves by HOP_DISTANCE and this fast, in picture halves a second, is another face. In the training clips
one frame in 10,000 moves by more than half of that."""


class Arrival(Enum):
    """How the driver's face came into a frame."""

    STAYED = "it was there before, or is the first"
    BACK = "it was gone for a while"
    ANOTHER = "it is somebody else's"


class Presence:
    """Follow the driver's face from frame to frame.

    driving: the newest face, smoothed; None before the first one. last_seen_s: when that was.
    """

    def __init__(self, smoothing: float, nearest: NDArray[np.intp] | None = None) -> None:
        """smoothing: see `set_smoothing`. nearest: see `FaceSmoother`."""
        self._nearest = nearest
        self.driving: Face | None = None
        self.last_seen_s = 0.0
        self._smoother: FaceSmoother | None = None
        self._seen: Face | None = None  # not smoothed
        self._time_s: float | None = None
        self._usual_s = float("inf")
        self._gap_frames_s = float("inf")
        self.set_smoothing(smoothing)

    def set_smoothing(self, strength: float) -> None:
        """Smooth from the next frame on, from 0 (off) to 1 (sluggish)."""
        if strength == 0:
            self._smoother = None
            return
        cutoff_hz = LOOSEST_CUTOFF_HZ * (TIGHTEST_CUTOFF_HZ / LOOSEST_CUTOFF_HZ) ** strength
        if self._smoother is None:
            self._smoother = FaceSmoother(cutoff_hz, SMOOTHING_BETA, self._nearest)
        else:
            self._smoother.keypoints.min_cutoff_hz = cutoff_hz

    def begin_frame(self, time_s: float) -> None:
        """Note that a frame is looked at, whether or not it shows a face. time_s: never less than before."""
        self._gap_frames_s = GAP_FRAMES * self._usual_s
        if self._time_s is not None:
            self._usual_s = min(max(time_s - self._time_s, 1e-3), SLOWING * self._usual_s)
        self._time_s = time_s

    def notice(self, face: Face, is_new_square: bool, time_s: float) -> Arrival:
        """Take in the face of this frame, as it was found, and return how it came there.

        is_new_square: whether the square around the face was laid afresh.
        """
        arrival = self._arrival(face, is_new_square, time_s)
        if arrival is not Arrival.STAYED and self._smoother is not None:
            self._smoother.reset()
        self._seen, self.last_seen_s = face, time_s
        self.driving = face if self._smoother is None else self._smoother.smooth(face, time_s)
        return arrival

    def _arrival(self, face: Face, is_new_square: bool, time_s: float) -> Arrival:
        if self._seen is None:
            return Arrival.STAYED
        gap_s = time_s - self.last_seen_s
        distance = mean_distance(face, self._seen)
        if is_new_square or distance > max(HOP_DISTANCE, HOP_SPEED * gap_s):
            return Arrival.ANOTHER
        return Arrival.BACK if gap_s > max(GAP_S, self._gap_frames_s) else Arrival.STAYED
