"""How it moves: relative to a neutral face or as the driver is."""

import numpy as np

from avatarify_plus.motion.face import Face
from avatarify_plus.motion.neutral_face import Sample
from avatarify_plus.motion.transfer import MotionTransfer
from avatarify_plus.types import Keypoints


def face(x: float, size: float = 1.0) -> Face:
    value = size * np.array([[-0.1, -0.1], [0.1, -0.1], [0.0, 0.1]], np.float32) + np.array([x, 0], np.float32)
    return Face(Keypoints(value, np.tile(size * np.eye(2, dtype=np.float32), (3, 1, 1))))


def moved(transfer: MotionTransfer, x: float) -> float:
    """Return where the avatar's first keypoint goes for a driver at x."""
    return float(transfer.move(face(x), Sample(face(x), None)).value[0, 0])


def of_avatar(mode: str = "relative", scale: float | None = None, strength: float = 1.0) -> MotionTransfer:
    transfer = MotionTransfer(mode, scale, strength, searches=False)  # type: ignore[arg-type]
    transfer.set_avatar(Sample(face(0.5, size=2.0), None))
    return transfer


def test_relative_motion_starts_at_the_avatar_and_scales_with_the_faces() -> None:
    transfer, rest = of_avatar(), 0.5 - 0.2
    assert moved(transfer, -0.3) == np.float32(rest)
    np.testing.assert_allclose(moved(transfer, -0.2), rest + 2 * 0.1, atol=1e-6)
    fixed = of_avatar(scale=1.0)
    moved(fixed, -0.3)
    np.testing.assert_allclose(moved(fixed, -0.2), rest + 0.1, atol=1e-6)


def test_absolute_motion_is_the_drivers() -> None:
    transfer = of_avatar("absolute")
    assert transfer.score is None and not transfer.is_waiting
    assert [moved(transfer, x) for x in (-0.3, 0.2)] == [float(face(x).keypoints.value[0, 0]) for x in (-0.3, 0.2)]


def test_recalibrating_takes_the_next_face_and_says_that_it_will_jump() -> None:
    transfer = of_avatar()
    assert not transfer.will_jump
    at_rest = moved(transfer, -0.3)
    assert moved(transfer, 0.1) != at_rest
    transfer.recalibrate()
    assert transfer.will_jump
    assert moved(transfer, 0.1) == at_rest
    assert not transfer.will_jump


def test_strength_lies_between_rest_and_motion() -> None:
    still, half, full = (of_avatar(strength=strength) for strength in (0.0, 0.5, 1.0))
    rest = {moved(transfer, -0.3) for transfer in (still, half, full)}
    assert len(rest) == 1
    ends = [moved(transfer, 0.0) for transfer in (still, half, full)]
    assert ends[0] in rest
    np.testing.assert_allclose(ends[1], (ends[0] + ends[2]) / 2, atol=1e-6)


def test_with_a_search_the_avatar_waits_until_a_face_is_taken() -> None:
    transfer = MotionTransfer("relative", None, 1.0, searches=True)
    transfer.set_avatar(Sample(face(0.5), None))
    assert transfer.is_waiting and transfer.score is None
    assert transfer.offer(Sample(face(0.5), None), 0.0)  # as like the avatar as can be
    assert not transfer.is_waiting and transfer.score == 1.0
    transfer.forget_driver()
    assert transfer.is_waiting
    transfer.searches = False
    assert not transfer.is_waiting
