"""Easing to where motion is wanted."""

import numpy as np
import pytest

from avatarify_plus.motion.transition import TRANSITION_S, Transition
from avatarify_plus.types import FloatArray, Keypoints


def at(place: float) -> Keypoints:
    return Keypoints(np.full((3, 2), place, np.float32), np.full((3, 2, 2), 1 + place, np.float32))


def test_nothing_changes_what_is_wanted_unless_a_transition_is_under_way() -> None:
    transition, wanted = Transition(), at(0.3)
    assert transition.lead(wanted, 0.0) is wanted
    transition.begin(at(0.0), 0.0)
    assert transition.lead(wanted, TRANSITION_S) is wanted
    assert transition.start is None


def test_a_transition_starts_where_it_was_and_never_jumps_nor_turns_back() -> None:
    transition, count = Transition(), 50
    transition.begin(at(0.0), 5.0)
    seen: list[FloatArray] = [
        transition.lead(at(1.0), 5.0 + TRANSITION_S * step / count).value for step in range(count + 1)
    ]
    steps = np.diff([value[0, 0] for value in seen])
    assert seen[0][0, 0] == 0 and seen[-1][0, 0] == 1
    assert steps.min() > 0
    assert steps.max() < 1.6 / count  # smoothstep is steepest in its middle, by a half
    assert steps[0] < 0.2 / count and steps[-1] < 0.2 / count


def test_what_is_wanted_may_move_meanwhile() -> None:
    transition = Transition()
    transition.begin(at(0.0), 0.0, length_s=1.0)
    found = [transition.lead(at(wanted), time_s) for wanted, time_s in ((1.0, 0.5), (3.0, 0.5), (3.0, 1.0))]
    assert [float(keypoints.value[0, 0]) for keypoints in found] == pytest.approx([0.5, 1.5, 3.0])
    assert float(found[0].jacobian[0, 0, 0]) == pytest.approx(1.5)


def test_time_before_its_beginning_is_its_beginning() -> None:
    transition = Transition()
    transition.begin(at(0.2), 2.0)
    np.testing.assert_array_equal(transition.lead(at(1.0), 1.0).value, at(0.2).value)
