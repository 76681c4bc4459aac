"""Run trials through engines of the app and score the pictures; one runner is one process's share of the work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from avatarify_plus.bundle import Bundle
from avatarify_plus.config import EngineName, MotionMode, Precision
from avatarify_plus.engines import Engine, open_engine
from avatarify_plus.errors import ConfigError, DataError, SourceError
from avatarify_plus.pictures.images import View
from avatarify_plus.puppeteer import Puppeteer
from avatarify_plus.types import FloatArray, Image, Keypoints
from training.data.datasets import Subject
from training.evaluation.examiner import FaceExaminer, open_examiner, plain_view
from training.evaluation.metrics import AnimationScorer, AnyScores, Scores, mean_distance_px
from training.evaluation.trials import Trial

if TYPE_CHECKING:
    from training.evaluation.network_animation import NetworkAnimation

FRAME_RATE_HZ = 25.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What every process needs: what is measured; the engine that computes bundles; which frames to score.

    performers: the measured model first; opened bundles, animated as the app does, or paths that
    `read_trained_network` takes, animated as the paper does.
    """

    performers: tuple[Bundle | Path, ...]
    engine: EngineName
    threads: int
    stride: int
    precision: Precision = "auto"
    subject: Subject = "face"


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame of a trial, to be shown.

    predictions: one per performer. errors: the first performer's scores of this frame only. The keypoints are the first
    performer's; moved_keypoints: what it was asked to show, the source's keypoints moved as the driver moved.
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
class TrialResult:
    """Scores of one trial.

    tables: one row per table of the report; a row has the scores of each performer: the bundles, then the baseline
    where there is a truth. farthest: the frame in which the driver is farthest from where it started, if it is shown.
    worst: per failure measure the worst frame.
    """

    trial: Trial
    tables: tuple[tuple[AnyScores, ...], ...]
    farthest: Moment | None
    worst: dict[str, Moment]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A trial that could not be run, and why."""

    trial: Trial
    reason: str


Outcome = TrialResult | Skipped


@dataclass(frozen=True, slots=True)
class TrialJob:
    """A trial with its place in the list, and whether a picture of it will be shown."""

    index: int
    trial: Trial
    is_shown: bool


def severity(errors: Scores, measure: str) -> float:
    """Return how bad a frame is by a measure: infinite if the face is lost, -infinite if nothing was measured."""
    if measure != "l1" and errors.mkr == 1:
        return float("inf")
    value = float(getattr(errors, measure))
    return float("-inf") if np.isnan(value) else value


class BundleAnimation:
    """One bundle's animation of one source, with its keypoints."""

    def __init__(self, engine: Engine, motion: MotionMode) -> None:
        self._puppeteer = Puppeteer(engine, motion)

    def set_source(self, view: View) -> None:
        """Set the photo. Raises SourceError if it shows no face."""
        self._puppeteer.set_source(view)

    def animate(self, view: View, time_s: float) -> Image:
        """Return the picture for a view of the driver."""
        return self._puppeteer.animate(view, time_s)

    def keypoints(self) -> tuple[Keypoints, Keypoints]:
        """Return the driver's keypoints in the view that was just animated, and those that were shown.

        Until the driver shows a face, both are the source's.
        """
        driving, shown = self._puppeteer.driving, self._puppeteer.shown
        assert shown is not None, "set_source comes first"
        return (shown if driving is None else driving), shown

    @property
    def source_keypoints(self) -> Keypoints:
        """The source's keypoints; ask before the first view is animated."""
        shown = self._puppeteer.shown
        assert shown is not None, "set_source comes first"
        return shown


AnyAnimation: TypeAlias = "BundleAnimation | NetworkAnimation"


@dataclass(frozen=True, slots=True)
class _ScoredFrame:
    """One scored frame; predictions: one per bundle."""

    index: int
    view: View
    truth: Image | None
    predictions: tuple[Image, ...]


@dataclass(slots=True)
class _KeptMoments:
    """The frames of a trial that are worth showing; no others are kept."""

    job: TrialJob
    source: Image
    source_keypoints: Keypoints
    measures: tuple[str, ...]
    farthest: Moment | None = None
    worst: dict[str, Moment] = field(default_factory=dict)
    _farthest_travel: float = -1.0

    def look(self, frame: _ScoredFrame, animation: AnyAnimation, errors: Scores, travel: float) -> None:
        """Keep a frame if it is the worst so far, or the one where the driver has travelled farthest."""
        worse = [measure for measure in self.measures if self._is_worst(errors, measure)]
        is_farther = self.job.is_shown and travel > self._farthest_travel
        if not worse and not is_farther:
            return
        driving_keypoints, moved_keypoints = animation.keypoints()
        moment = Moment(
            trial=self.job.trial.name,
            index=frame.index,
            source=self.source,
            driving=frame.view.image,
            predictions=frame.predictions,
            truth=frame.truth,
            errors=errors,
            source_keypoints=self.source_keypoints,
            driving_keypoints=driving_keypoints,
            moved_keypoints=moved_keypoints,
        )
        self.worst |= dict.fromkeys(worse, moment)
        if is_farther:
            self.farthest, self._farthest_travel = moment, travel

    def _is_worst(self, errors: Scores, measure: str) -> bool:
        known = severity(self.worst[measure].errors, measure) if measure in self.worst else float("-inf")
        return severity(errors, measure) > known


class _OpenedPerformer(NamedTuple):
    """A performer, opened: what computes it, its pictures' side in px, and how to give it a source.

    follows_faces: whether it needs to know where the driver's face is.
    """

    device: str
    size: int
    follows_faces: bool
    animation: Callable[[MotionMode], AnyAnimation]


def _open_performer(performer: Bundle | Path, setup: Setup, stack: contextlib.ExitStack) -> _OpenedPerformer:
    """Open a performer until the stack closes. Raises AvatarifyError."""
    if isinstance(performer, Bundle):
        if setup.subject != "face" and performer.config.reads_mesh:
            raise ConfigError(
                f"{performer.manifest.name} reads keypoints off a face mesh; --subject {setup.subject} has none: "
                "measure a model with learned keypoints"
            )
        engine = stack.enter_context(open_engine(performer, setup.engine, setup.threads, setup.precision))
        return _OpenedPerformer(engine.device, engine.config.image_size, True, partial(BundleAnimation, engine))
    from training.evaluation.network_animation import NetworkAnimation
    from training.evaluation.trained_network import read_trained_network  # torch, which bundles do without

    trained = read_trained_network(performer)
    return _OpenedPerformer("CPU (PyTorch, fp32)", trained.config.image_size, False, partial(NetworkAnimation, trained))


class Runner:
    """Opened engines and meshes that run one trial after the other; a context manager."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:  # closes what was opened if the rest fails
            self._performers = [_open_performer(performer, setup, stack) for performer in setup.performers]
            self._size = self._performers[0].size
            self._examiner = open_examiner(setup.subject)
            stack.callback(self._examiner.close)
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
        return self._performers[0].device

    def run(self, job: TrialJob) -> Outcome:
        """Animate a trial and score every `stride`-th frame; skip what cannot be read or shows no face."""
        try:
            return self._judge_against_truth(job) if job.trial.truth else self._judge_animation(job)
        except (DataError, SourceError) as error:
            return Skipped(job.trial, str(error))

    def _judge_against_truth(self, job: TrialJob) -> TrialResult:
        describe, measures = self._examiner.describe, self._examiner.measures
        source, animations, kept = self._prepare(job, measures)
        shown = describe(source)
        scorers = [self._examiner.scorer() for _ in range(len(animations) + 1)]  # the last repeats the source
        for frame in self._scored_frames(job.trial, animations):
            assert frame.truth is not None, "only trials with a truth are judged against it"
            true = describe(frame.truth)
            errors = [
                scorer.add(picture, frame.truth, describe(picture), true)
                for scorer, picture in zip(scorers, frame.predictions, strict=False)
            ]
            travel = float(getattr(scorers[-1].add(source, frame.truth, shown, true), measures[0]))
            kept.look(frame, animations[0], errors[0], travel)
        tables = tuple(zip(*(scorer.tables() for scorer in scorers), strict=True))
        return TrialResult(job.trial, tables, kept.farthest, kept.worst)

    def _judge_animation(self, job: TrialJob) -> TrialResult:
        examiner = self._examiner
        assert isinstance(examiner, FaceExaminer), "an animation without a truth is judged by faces"
        source, animations, kept = self._prepare(job, ("aed",))
        source_face = examiner.describe(source)
        scorers = [AnimationScorer(source_face) for _ in animations]
        first: FloatArray | None = None
        for frame in self._scored_frames(job.trial, animations):
            driver = examiner.find(frame.view.image)
            errors = [
                scorer.add(examiner.describe(picture), driver)
                for scorer, picture in zip(scorers, frame.predictions, strict=True)
            ]
            first = driver if first is None else first
            travel = -1.0 if first is None or driver is None else mean_distance_px(driver, first)
            kept.look(frame, animations[0], errors[0], travel)
        return TrialResult(job.trial, (tuple(s.scores() for s in scorers),), kept.farthest, kept.worst)

    def _prepare(self, job: TrialJob, measures: tuple[str, ...]) -> tuple[Image, list[AnyAnimation], _KeptMoments]:
        """Set the source in every bundle's animation. Raises SourceError if it shows no face."""
        source = job.trial.source_picture(self._size)
        animations = [stage.animation(job.trial.motion) for stage in self._performers]
        view = self._examiner.view(source)
        if not view.has_face:
            raise SourceError(f"no face in the first picture of {job.trial.source}")
        for animation in animations:
            animation.set_source(view)
        return source, animations, _KeptMoments(job, source, animations[0].source_keypoints, measures)

    def _scored_frames(self, trial: Trial, animations: list[AnyAnimation]) -> Iterator[_ScoredFrame]:
        """Animate every `stride`-th frame, as the app would but unsmoothed. Raises DataError for a single picture."""
        count = 0
        follows_faces = any(stage.follows_faces for stage in self._performers)
        if trial.motion == "relative" and trial.initial:
            initial = self._examiner.view(trial.initial_picture(self._size))
            for animation in animations:
                animation.animate(initial, 0.0)
        with self._examiner.watch() if follows_faces else contextlib.nullcontext(plain_view) as see:
            for index, (driving, truth) in enumerate(trial.frames(self._size)):
                view = see(driving)  # a tracker needs every frame
                count += 1
                if index % self._setup.stride:
                    continue
                time_s = index / FRAME_RATE_HZ
                predictions = tuple(animation.animate(view, time_s) for animation in animations)
                yield _ScoredFrame(index, view, truth, predictions)
        if count < 2:
            raise DataError(f"{trial.driving} has one picture only: nothing moves")
