"""Who is there: the same face, one that comes back, or somebody else."""

import numpy as np
import pytest

from avatarify_plus.motion.face import Face
from avatarify_plus.motion.presence import GAP_FRAMES, GAP_S, HOP_DISTANCE, Arrival, Presence
from avatarify_plus.types import Keypoints


def at(x: float) -> Face:
    value = np.array([[x, 0.0], [x + 0.2, 0.1]], np.float32)
    return Face(Keypoints(value, np.tile(np.eye(2, dtype=np.float32), (2, 1, 1))))


def arrivals(presence: Presence, faces: list[tuple[float, float | None]]) -> list[Arrival | None]:
    """Return how each face came; faces: time in seconds, and place or None for nobody."""
    seen: list[Arrival | None] = []
    for time_s, x in faces:
        presence.begin_frame(time_s)
        seen.append(None if x is None else presence.notice(at(x), False, time_s))
    return seen


def test_the_first_face_and_one_that_moves_stay() -> None:
    presence = Presence(0)
    assert presence.driving is None
    assert arrivals(presence, [(0.0, 0.0), (0.04, 0.1), (0.08, 0.2)]) == [Arrival.STAYED] * 3
    assert presence.last_seen_s == 0.08
    assert presence.driving is not None and presence.driving.keypoints.value[0, 0] == np.float32(0.2)


def test_a_face_after_a_gap_is_back_but_a_slow_driver_has_no_gaps() -> None:
    frames = [(index / 25, 0.0) for index in range(5)]
    nobody = [(0.2 + index / 25, None) for index in range(int(25 * GAP_S) + 1)]
    assert arrivals(Presence(0), [*frames, *nobody, (0.2 + 2 * GAP_S, 0.0)])[-1] is Arrival.BACK
    slow = [(float(index), 0.0) for index in range(5)]  # one frame a second
    assert set(arrivals(Presence(0), slow)) == {Arrival.STAYED}
    assert arrivals(Presence(0), [*slow, (4.0 + GAP_FRAMES + 1.5, 0.0)])[-1] is Arrival.BACK


def test_a_face_that_hops_is_another_unless_it_had_the_time() -> None:
    hop = HOP_DISTANCE + 0.1
    assert arrivals(Presence(0), [(0.0, 0.0), (0.04, hop)])[-1] is Arrival.ANOTHER
    assert arrivals(Presence(0), [(0.0, 0.0), (0.2, hop)])[-1] is Arrival.STAYED
    presence = Presence(0)
    arrivals(presence, [(0.0, 0.0)])
    presence.begin_frame(0.04)
    assert presence.notice(at(0.0), True, 0.04) is Arrival.ANOTHER  # the square was laid afresh


@pytest.mark.parametrize("strength", [0.2, 0.9])
def test_smoothing_holds_a_jitter_back_and_forgets_across_people(strength: float) -> None:
    presence = Presence(strength)
    arrivals(presence, [(0.0, 0.0), (0.04, 0.004)])
    assert presence.driving is not None and 0 < presence.driving.keypoints.value[0, 0] < 0.004
    arrivals(presence, [(0.08, 0.9)])
    assert presence.driving.keypoints.value[0, 0] == np.float32(0.9)
    presence.set_smoothing(0)
    arrivals(presence, [(0.12, 0.904)])
    assert presence.driving.keypoints.value[0, 0] == np.float32(0.904)
