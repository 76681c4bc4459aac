"""A run that explodes ends."""

import pytest

from training.loop.guard import EXPLOSION_STEPS, DivergedError, LossGuard


def test_a_loss_that_explodes_or_is_not_a_number_stops_the_run() -> None:
    guard = LossGuard()
    for step in range(50):
        guard.check(step, 1.0, 1.0, "last")
    for step in range(EXPLOSION_STEPS - 1):
        guard.check(50 + step, 1000.0, 1.0, "last")
    guard.check(60, 1.0, 1.0, "last")  # it was a few bad batches
    with pytest.raises(DivergedError, match=r"step 70.*running median.*last"):
        for _ in range(EXPLOSION_STEPS):
            guard.check(70, 1000.0, 1.0, "last")
    for loss, norm in ((float("nan"), 1.0), (1.0, float("inf"))):
        with pytest.raises(DivergedError, match="step 3"):
            LossGuard().check(3, loss, norm, "last")
