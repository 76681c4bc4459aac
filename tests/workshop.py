"""Stands for what makes a model of a face: an adaptation and a guided minute that go on when a test says so."""

from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from avatarify_plus.adapt import guided_minute
from avatarify_plus.adapt.adaptation import SHARES, STEPS, Outcome, Progress, Step, StoppedError, Wish
from avatarify_plus.adapt.expressions import Need, Tally
from avatarify_plus.adapt.guided_minute import Moment
from avatarify_plus.adapt.own_models import model_folder, work_folder
from avatarify_plus.adapt.verdict import Comparison, judge
from avatarify_plus.bundle import ADAPTED, WEIGHTS, Manifest, graph_file, signatures, write_manifest
from avatarify_plus.errors import AvatarifyError
from avatarify_plus.pictures.decoding import write_png
from avatarify_plus.types import FloatArray
from fakes import FakeEngine

PATIENCE_S = 20.0

BETTER = (
    Comparison("picture", 0.040, 0.031, True),
    Comparison("mouth", 0.060, 0.041, True),
    Comparison("eyes", 0.050, 0.042, True),
    Comparison("landmarks", 2.1, 2.1, True),
    Comparison("identity", 0.30, 0.24, True),
    Comparison("mouth follows", 0.84, 0.91, False),
    Comparison("eyes follow", float("nan"), 0.7, False),
)
NOT_BETTER = (Comparison("picture", 0.040, 0.031, True), Comparison("mouth", 0.060, 0.063, True), *BETTER[2:])


class Workshop:
    """What a test lets happen, in its order: a Moment, a Tally, a Progress, an Outcome, or an error to raise."""

    def __init__(self) -> None:
        self.wishes: list[Wish] = []
        self.cameras: list[str] = []
        self.films: list[Path] = []
        self.problem: AvatarifyError | None = None
        self._script: queue.Queue[Any] = queue.Queue()

    def let(self, *events: object) -> None:
        """Let something happen."""
        for event in events:
            self._script.put(event)

    def outcome(self, name: str, is_better: bool = True, harm: float = 0.01) -> Outcome:
        """Return what comes out, and lay it where an adaptation lays it."""
        sheet = work_folder(name) / "held.png"
        sheet.parent.mkdir(parents=True, exist_ok=True)
        rows, columns = np.mgrid[0:1304, 0:800]
        write_png(sheet, np.stack([rows % 256, columns % 256, rows % 160], axis=2).astype(np.uint8))
        verdict = judge(BETTER if is_better else NOT_BETTER)
        if not is_better:
            return Outcome(verdict, harm, None, sheet)
        folder = model_folder(name)
        write_model(folder, name)
        shutil.copyfile(sheet, folder / "before-after.png")
        shutil.rmtree(work_folder(name))
        return Outcome(verdict, harm, folder, folder / "before-after.png")

    def adaptation(self, wish: Wish, tell: Callable[[Progress], None], stop: threading.Event) -> FakeAdaptation:
        """Stand for `Adaptation`."""
        if self.problem is not None:
            raise self.problem
        return FakeAdaptation(self, wish, tell, stop)

    def record(
        self, camera: str, path: Path, stop: threading.Event, tell: Callable[[Moment], None], **options: Any
    ) -> Tally:
        """Stand for `record_guided_minute`."""
        self.cameras.append(camera)
        self.films.append(path)
        path.write_bytes(b"a film")
        picture = np.full((90, 160, 3), 50, np.uint8)
        picture[:, :40] = 200
        while True:
            event = self.next(stop)
            if event is None:
                return Tally()
            if isinstance(event, Exception):
                raise event
            if isinstance(event, Tally):
                return event
            tell(event)
            assert options["show"](picture, event)

    def next(self, stop: threading.Event) -> Any:
        """Return what happens next; None once `stop` is set."""
        for _ in range(round(PATIENCE_S / 0.01)):
            if stop.is_set():
                return None
            try:
                return self._script.get(timeout=0.01)
            except queue.Empty:
                continue
        raise AssertionError("the test lets nothing happen any more")


class FakeAdaptation:
    """Goes through what a test lets happen, and understands `stop` as the real one does."""

    def __init__(self, workshop: Workshop, wish: Wish, tell: Callable[[Progress], None], stop: threading.Event) -> None:
        self._workshop, self._wish, self._tell, self._stop = workshop, wish, tell, stop

    def run(self) -> Outcome:
        self._workshop.wishes.append(self._wish)
        step = STEPS[0]
        while True:
            event = self._workshop.next(self._stop)
            if event is None and step.name in SHARES:
                self._stop.clear()
                step = step_of("export")
                self._tell(progress("export"))
            elif event is None:
                raise StoppedError("stopped")
            elif isinstance(event, Exception):
                raise event
            elif isinstance(event, Progress):
                step = event.step
                self._tell(event)
            else:
                outcome = event()
                assert isinstance(outcome, Outcome)
                return outcome


def write_model(folder: Path, name: str) -> None:
    """Write a model of the user's own whose graphs are none, which only real engines notice."""
    network = FakeEngine().config
    folder.mkdir(parents=True)
    for file in (WEIGHTS, *map(graph_file, signatures(network))):
        (folder / file).write_bytes(b"")
    about = {"from": "live-512", "on": "2026-01-02", "seconds_of_film": 61.0, "others": 0.08}
    write_manifest(folder, Manifest(name, network, training={ADAPTED: about}))


def step_of(name: str) -> Step:
    """Return an adaptation's step by its name."""
    return next(step for step in STEPS if step.name == name)


def progress(name: str, share: float | None = None, left_s: float = 100.0) -> Progress:
    """Return how far an adaptation is in one of its steps."""
    step = step_of(name)
    return Progress(step, STEPS.index(step) + 1, share, left_s)


class HeldMinute:
    """A guided minute whose steps go on when a test says so. number: of the step."""

    number = 0
    shown: frozenset[Need] = frozenset()

    def __init__(self) -> None:
        self.tally = FullTally()
        type(self).number, type(self).shown = 0, frozenset()

    def turn(self, landmarks: FloatArray | None, time_s: float) -> Moment:
        """See `GuidedMinute.turn`."""
        number = type(self).number
        steps = guided_minute.STEPS
        is_over = number >= len(steps)
        return Moment(steps[min(number, len(steps) - 1)], 3.2, type(self).shown, landmarks is not None, is_over)


class FullTally(Tally):
    """A tally of somebody who showed everything but one thing."""

    @property
    def missing(self) -> tuple[Need, ...]:
        """See `Tally`."""
        return (Need.WIDE_OPEN,)
