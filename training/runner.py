"""Run trials through engines of the app and score what comes out; one runner is one process's share of the work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np

from avatarify_plus.bundle import Bundle
from avatarify_plus.config import EngineName, MotionMode, Precision
from avatarify_plus.engines import Engine, Source, open_engine
from avatarify_plus.errors import DataError, SourceError
from avatarify_plus.images import View
from avatarify_plus.mesh import FaceMesh
from avatarify_plus.puppeteer import Puppeteer
from avatarify_plus.types import FloatArray, Image, Keypoints
from training.metrics import AnimationScorer, AnyScores, FaceDescriber, Scorer, Scores, mean_distance_px
from training.trials import Trial

FRAME_RATE_HZ = 25.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What every process needs: the bundles, ours first, the engine that computes them, and which frames to score."""

    bundles: tuple[Bundle, ...]
    engine: EngineName
    threads: int
    stride: int
    precision: Precision = "auto"


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame of a trial, to be looked at.

    predictions: one per bundle. errors: of the first bundle's, this frame's own. The keypoints are the first bundle's:
    `moved_keypoints` is what its engine was asked for, the source's moved as the driver did.
    """

    trial: str
    index: int
    source: Image
    driving: Image
    predictions: tuple[Image, ...]
    truth: Image | None
    errors: Scores
    source_keypoints: Keypoints
    driving_keypoints: Keypoints
    moved_keypoints: Keypoints


@dataclass(frozen=True, slots=True)
class Result:
    """Scores of one trial.

    tables: one row per table of the report; a row has the scores of each performer: the bundles, then the baseline
    where there is a truth. telling: the frame in which the driver is farthest from where it started, if wanted.
    worst: per failure measure the worst frame.
    """

    trial: Trial
    tables: tuple[tuple[AnyScores, ...], ...]
    telling: Moment | None
    worst: dict[str, Moment]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A trial that could not be run, and why."""

    trial: Trial
    reason: str


Outcome = Result | Skipped


@dataclass(frozen=True, slots=True)
class Job:
    """A trial with its place in the list, and whether a picture of it will be shown."""

    index: int
    trial: Trial
    is_shown: bool


def severity(errors: Scores, measure: str) -> float:
    """Return how bad a frame is by a measure: a face that is gone is worst, what was not measured least."""
    if measure != "l1" and errors.mkr == 1:
        return float("inf")
    value = float(getattr(errors, measure))
    return float("-inf") if np.isnan(value) else value


class Witness(Engine):
    """An engine that remembers the keypoints it was last asked to show. See `Engine`.

    `is_idle` True: it does not compute pictures, for when keypoints alone are wanted.
    """

    def __init__(self, engine: Engine, is_idle: bool = False) -> None:
        self.name, self.device, self.config = engine.name, engine.device, engine.config
        self.precision = engine.precision
        self.keypoints: Keypoints | None = None
        self._engine = engine
        self._is_idle = is_idle
        self._picture: Image = np.zeros((0, 0, 3), np.uint8)

    def detect(self, image: Image) -> Keypoints:
        """See `Engine.detect`."""
        return self._engine.detect(image)

    def encode_source(self, image: Image, keypoints: Keypoints) -> Source:
        """See `Engine.encode_source`."""
        self._picture = image
        return Source(keypoints, {}) if self._is_idle else self._engine.encode_source(image, keypoints)

    def animate(self, source: Source, keypoints: Keypoints) -> Image:
        """See `Engine.animate`."""
        self.keypoints = keypoints
        return self._picture if self._is_idle else self._engine.animate(source, keypoints)

    def close(self) -> None:
        """Leave the engine open: it is its opener's."""


class Puppet:
    """One bundle's animation of one source, with its keypoints."""

    def __init__(self, engine: Engine, motion: MotionMode) -> None:
        self._witness, self._idle = Witness(engine), Witness(engine, is_idle=True)
        self._puppeteer = Puppeteer(self._witness, motion)
        self._follower = Puppeteer(self._idle, "absolute")  # tells the driver's own keypoints

    def set_source(self, view: View) -> None:
        """Set the photo. Raises SourceError if it shows no face."""
        self._puppeteer.set_source(view)
        self._follower.set_source(view)

    def animate(self, view: View, time_s: float) -> Image:
        """Return the picture for a view of the driver."""
        return self._puppeteer.animate(view, time_s)

    def keypoints(self, view: View, time_s: float) -> tuple[Keypoints, Keypoints]:
        """Return the driver's keypoints in a view that was just animated, and those that were shown."""
        self._follower.animate(view, time_s)
        assert self._idle.keypoints is not None and self._witness.keypoints is not None, "set_source shows the source"
        return self._idle.keypoints, self._witness.keypoints

    @property
    def source_keypoints(self) -> Keypoints:
        """The source's keypoints; ask before the first view is animated."""
        assert self._idle.keypoints is not None, "set_source shows the source"
        return self._idle.keypoints


@dataclass(frozen=True, slots=True)
class _Take:
    """One scored frame; predictions: one per bundle."""

    index: int
    view: View
    truth: Image | None
    predictions: tuple[Image, ...]

    @property
    def time_s(self) -> float:
        return self.index / FRAME_RATE_HZ


@dataclass(slots=True)
class _Album:
    """The frames of a trial that are worth looking at; no others are kept."""

    job: Job
    source: Image
    source_keypoints: Keypoints
    measures: tuple[str, ...]
    telling: Moment | None = None
    worst: dict[str, Moment] = field(default_factory=dict)
    _farthest: float = -1.0

    def look(self, take: _Take, puppet: Puppet, errors: Scores, travel: float) -> None:
        """Keep a frame if it is the worst so far, or the one where the driver has travelled farthest."""
        worse = [measure for measure in self.measures if self._is_worst(errors, measure)]
        is_farther = self.job.is_shown and travel > self._farthest
        if not worse and not is_farther:
            return
        driving_keypoints, moved_keypoints = puppet.keypoints(take.view, take.time_s)
        moment = Moment(
            trial=self.job.trial.name,
            index=take.index,
            source=self.source,
            driving=take.view.image,
            predictions=take.predictions,
            truth=take.truth,
            errors=errors,
            source_keypoints=self.source_keypoints,
            driving_keypoints=driving_keypoints,
            moved_keypoints=moved_keypoints,
        )
        self.worst |= dict.fromkeys(worse, moment)
        if is_farther:
            self.telling, self._farthest = moment, travel

    def _is_worst(self, errors: Scores, measure: str) -> bool:
        known = severity(self.worst[measure].errors, measure) if measure in self.worst else float("-inf")
        return severity(errors, measure) > known


class Runner:
    """Opened engines and meshes that run one trial after the other; a context manager."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._size = setup.bundles[0].config.image_size
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:  # closes what was opened if the rest fails
            self._engines = [
                stack.enter_context(open_engine(bundle, setup.engine, setup.threads, setup.precision))
                for bundle in setup.bundles
            ]
            self._describer = FaceDescriber()
            stack.callback(self._describer.close)
            self._stack = stack.pop_all()

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def device(self) -> str:
        """What computes, for people."""
        return self._engines[0].device

    def run(self, job: Job) -> Outcome:
        """Animate a trial and score every `stride`-th frame. What cannot be read or shows no face is skipped."""
        try:
            return self._judge_against_truth(job) if job.trial.truth else self._judge_animation(job)
        except (DataError, SourceError) as error:
            return Skipped(job.trial, str(error))

    def _judge_against_truth(self, job: Job) -> Result:
        source, puppets, album = self._prepare(job, ("akd_px", "l1", "aed"))
        source_face = self._describer.describe(source)
        scorers = [Scorer() for _ in (*puppets, "repeat the source")]
        for take in self._takes(job.trial, puppets):
            assert take.truth is not None, "only trials with a truth are judged against it"
            true_face = self._describer.describe(take.truth)
            errors = [
                scorer.add(picture, take.truth, self._describer.describe(picture), true_face)
                for scorer, picture in zip(scorers, take.predictions, strict=False)
            ]
            travel = scorers[-1].add(source, take.truth, source_face, true_face).akd_px
            album.look(take, puppets[0], errors[0], travel)
        tables = tuple(s.scores() for s in scorers), tuple(s.face_scores() for s in scorers)
        return Result(job.trial, tables, album.telling, album.worst)

    def _judge_animation(self, job: Job) -> Result:
        source, puppets, album = self._prepare(job, ("aed",))
        source_face = self._describer.describe(source)
        scorers = [AnimationScorer(source_face) for _ in puppets]
        first: FloatArray | None = None
        for take in self._takes(job.trial, puppets):
            driver = self._describer.find(take.view.image)
            errors = [
                scorer.add(self._describer.describe(picture), driver)
                for scorer, picture in zip(scorers, take.predictions, strict=True)
            ]
            first = driver if first is None else first
            travel = -1.0 if first is None or driver is None else mean_distance_px(driver, first)
            album.look(take, puppets[0], errors[0], travel)
        return Result(job.trial, (tuple(s.scores() for s in scorers),), album.telling, album.worst)

    def _prepare(self, job: Job, measures: tuple[str, ...]) -> tuple[Image, list[Puppet], _Album]:
        """Set the source in every bundle's puppet. Raises SourceError if it shows no face."""
        source = job.trial.source_picture(self._size)
        puppets = [Puppet(engine, job.trial.motion) for engine in self._engines]
        view = self._still_view(source)
        if not view.has_face:
            raise SourceError(f"no face in the first picture of {job.trial.source}")
        for puppet in puppets:
            puppet.set_source(view)
        return source, puppets, _Album(job, source, puppets[0].source_keypoints, measures)

    def _still_view(self, image: Image) -> View:
        landmarks = self._describer.find(image)
        return View(image, landmarks, has_face=landmarks is not None)

    def _takes(self, trial: Trial, puppets: list[Puppet]) -> Iterator[_Take]:
        """Animate every `stride`-th frame, as the app would but unsmoothed. Raises DataError for a single picture."""
        count = 0
        if trial.motion == "relative" and trial.initial:
            initial = self._still_view(trial.initial_picture(self._size))
            for puppet in puppets:
                puppet.animate(initial, 0.0)
        with FaceMesh(tracking=True) as tracker:
            for index, (driving, truth) in enumerate(trial.frames(self._size)):
                landmarks = tracker.find(driving)  # the tracker wants every frame
                count += 1
                if index % self._setup.stride:
                    continue
                view = View(driving, landmarks, has_face=landmarks is not None)
                time_s = index / FRAME_RATE_HZ
                yield _Take(index, view, truth, tuple(puppet.animate(view, time_s) for puppet in puppets))
        if count < 2:
            raise DataError(f"{trial.driving} has one picture only: nothing moves")
