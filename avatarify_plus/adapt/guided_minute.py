"""A minute in which a person is guided to show all that a model must see of him: its course, without any camera."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from avatarify_plus.adapt.expressions import Need, Tally
from avatarify_plus.errors import CameraError
from avatarify_plus.types import FloatArray

SENTENCES = (
    "Few people believe that whales sing, but they do, with voices that carry over a hundred miles of ocean.",
    "My father put both pairs of blue shoes by the window, where the morning sun would slowly warm them up.",
    "We enjoy rich vegetable soup, fresh bread and good cheese, though nobody here chooses the same thing twice.",
)
"""What is read aloud. Lips close, round, spread, and touch the teeth in them, and the jaw opens far."""

EARLIEST = 1 / 3
"""The share of a step's time that passes at least before it ends early."""

AGAIN_S = 30.0
"""How long what is still missing is asked for again, all together."""

MIN_AGAIN_S = 4.0
"""How long a step is asked again at least: for less time nothing is asked."""

PATIENCE_S = 60.0
"""For how long, all together, a face that is not seen is waited for."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is asked for at one time.

    id: a word for it; "more" for what is asked again. text: what to do, in a few short lines. seconds: how long it
    takes, of the time in which a face is seen. needs: what it is to show. may_end_early: whether it ends once that is
    shown.
    """

    id: str
    text: str
    seconds: float
    needs: tuple[Need, ...]
    may_end_early: bool = True


STEPS = (
    Step("straight", "Look straight into the camera, calmly, with your mouth closed.", 4.0, (Need.NEUTRAL,)),
    Step(
        "turn",
        "Turn your head slowly: far to the left, far to the right, up, and down.",
        16.0,
        (Need.LEFT, Need.RIGHT, Need.UP, Need.DOWN),
    ),
    Step("read", "\n".join(("Read this aloud:", *SENTENCES)), 22.0, (Need.TALKING,), may_end_early=False),
    Step("smile", "Smile broadly, so that your teeth show.", 5.0, (Need.SMILE,)),
    Step("close", "Close your eyes, count to two, and open them again.", 5.0, (Need.EYES_CLOSED,)),
    Step("wide", "Open your mouth as wide as you can.", 5.0, (Need.WIDE_OPEN,)),
)
"""The minute, in its order."""

MORE: dict[Need, str] = {
    Need.NEUTRAL: "look straight into the camera, calmly, with your mouth closed",
    Need.LEFT: "turn your head far to the left",
    Need.RIGHT: "turn your head far to the right",
    Need.UP: "raise your head, as if you looked at the ceiling",
    Need.DOWN: "lower your head, as if you looked at the floor",
    Need.TALKING: "talk about anything, loud and clear",
    Need.SMILE: "smile more broadly, so that your teeth show",
    Need.EYES_CLOSED: "close your eyes tightly, count to two, and open them again",
    Need.WIDE_OPEN: "open your mouth as wide as you can, as if you yawned",
}
"""How what is still missing is asked for again."""


class Moment(NamedTuple):
    """Where a guided minute stands.

    seconds_left: of the step, while a face is seen. shown: which of the step's needs have been shown until now.
    """

    step: Step
    seconds_left: float
    shown: frozenset[Need]
    has_face: bool
    is_over: bool


class GuidedMinute:
    """Lead a person through the steps, and ask again for what was not shown. tally: what has been shown.

    A step ends when its time is over, or once all that it asks for is shown, but not before EARLIEST of its time. Time
    counts only while a face is seen.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self._steps = self._course()
        self._step = next(self._steps)
        self._step_from_s = 0.0
        self._from_s: float | None = None
        self._is_over = False

    def turn(self, landmarks: FloatArray | None, time_s: float) -> Moment:
        """Take the newest face, see `Tally.add`, and return where the minute stands now; after its end, nothing counts.

        Raises CameraError if for PATIENCE_S, all together, no face was seen.
        """
        if not self._is_over:
            self.tally.add(landmarks, time_s)
            self._from_s = time_s if self._from_s is None else self._from_s
            if time_s - self._from_s - self.tally.seconds > PATIENCE_S:
                raise CameraError(
                    f"no face was seen for {PATIENCE_S:.0f} s: sit down before the camera, in good light, so that your "
                    "whole face is in the picture, and start again"
                )
            self._go_on()
        shown = self.tally.shown.intersection(self._step.needs)
        left_s = 0.0 if self._is_over else max(self._left_s, 0.0)
        return Moment(self._step, left_s, shown, landmarks is not None, self._is_over)

    @property
    def _left_s(self) -> float:
        return self._step_from_s + self._step.seconds - self.tally.seconds

    def _go_on(self) -> None:
        """Begin the next step if this one has ended."""
        step = self._step
        is_early = self._left_s > (1 - EARLIEST) * step.seconds or not step.may_end_early
        if self._left_s > 0 and (is_early or not self.tally.shown.issuperset(step.needs)):
            return
        following = next(self._steps, None)
        if following is None:
            self._is_over = True
        else:
            self._step, self._step_from_s = following, self.tally.seconds

    def _course(self) -> Iterator[Step]:
        """Yield the steps, each when the one before has ended."""
        yield from STEPS
        until_s = self.tally.seconds + AGAIN_S
        for step in STEPS:
            missing = tuple(need for need in self.tally.missing if need in step.needs)
            left_s = until_s - self.tally.seconds
            if missing and left_s >= MIN_AGAIN_S:
                yield Step("more", _again(missing), min(step.seconds, left_s), missing)


def _again(missing: tuple[Need, ...]) -> str:
    """Return how what is missing is asked for again."""
    return f"Once more: {'; '.join(MORE[need] for need in missing)}."
