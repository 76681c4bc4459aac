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
from avatarify_plus.motion.keypoints import first_keypoints
from avatarify_plus.pictures.images import View, resize
from avatarify_plus.pictures.photo_region import surround
from avatarify_plus.puppeteer import Puppeteer
from avatarify_plus.types import FloatArray, Image, Keypoints, PhotoRegion
from training.data.datasets import Subject, clip_identity, clip_name
from training.evaluation.closeups import Closeup, KeptCloseups
from training.evaluation.examiner import FaceExaminer, open_examiner, plain_view
from training.evaluation.expression_tracker import Expression, ExpressionTracker, Sums, sums_of
from training.evaluation.metrics import AnimationScorer, AnyScores, FaceDescription, Scores, mean_distance_px
from training.evaluation.picture_fit import fit
from training.evaluation.trials import Trial

if TYPE_CHECKING:
    from training.evaluation.network_animation import NetworkAnimation

FRAME_RATE_HZ = 25.0
MAX_PHOTO_PX = 512
"""At most so many pixels has the side of what a model animates that shows the photo in its own size."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What every process needs: what is measured; the engine that computes bundles; which frames to score.

    performers: the measured model first; opened bundles, animated as the app does, or paths that
    `read_trained_network` takes, animated as the paper does. truth_px: sources and truths larger than the models'
    pictures keep their own size up to this one; None: they are brought to that of the models' pictures. tracker: the
    model of a tracker that reads the expressions of drivers and pictures; None reads none.
    """

    performers: tuple[Bundle | Path, ...]
    engine: EngineName
    threads: int
    stride: int
    precision: Precision = "auto"
    subject: Subject = "face"
    truth_px: int | None = None
    tracker: Path | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame of a trial, to be shown.

    predictions: one per performer, in the truth's size if there is one. errors: the first performer's scores of this
    frame only. The keypoints are the first performer's; moved_keypoints: what it was asked to show, the source's
    keypoints moved as the driver moved.
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
    worst: per failure measure the worst frame. closeups: per kind of `closeups.CLOSEUP_TITLES` the extreme frame.
    expressions: of an animation, per performer how much of the driver's expression arrived, if a tracker reads it.
    """

    trial: Trial
    tables: tuple[tuple[AnyScores, ...], ...]
    farthest: Moment | None
    worst: dict[str, Moment]
    closeups: dict[str, Closeup] = field(default_factory=dict)
    expressions: tuple[Sums, ...] = ()


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
        self._config = engine.config

    def set_source(
        self,
        view: View,
        square: Image | None = None,
        find: Callable[[Image], FloatArray | None] | None = None,
    ) -> None:
        """Set the photo: what is seen of it, and the same in its own size. Raises SourceError if it shows no face.

        find: finds the face in a picture, see `Puppeteer.encode`.
        """
        if self._config.photo_reach and square is not None:
            view = view._replace(photo=PhotoRegion(surround(square, self._config.photo_reach), goes_on=False))
        self._puppeteer.set_source(view, find)

    def animate(self, view: View, time_s: float) -> Image:
        """Return the picture for a view of the driver."""
        return self._puppeteer.animate(view, time_s)

    def keypoints(self) -> tuple[Keypoints, Keypoints]:
        """Return the driver's keypoints in the view that was just animated, and those that were shown.

        Until the driver shows a face, both are the source's.
        """
        driving, shown = self._puppeteer.driving, self._puppeteer.shown
        assert shown is not None, "set_source comes first"
        driving = shown if driving is None else driving
        return self._own(driving), self._own(shown)

    @property
    def source_keypoints(self) -> Keypoints:
        """The source's keypoints; ask before the first view is animated."""
        shown = self._puppeteer.shown
        assert shown is not None, "set_source comes first"
        return self._own(shown)

    def _own(self, keypoints: Keypoints) -> Keypoints:
        """Return the network's keypoints, without the contour points behind them."""
        return first_keypoints(keypoints, self._config.keypoint_count)


AnyAnimation: TypeAlias = "BundleAnimation | NetworkAnimation"


@dataclass(frozen=True, slots=True)
class _ScoredFrame:
    """One scored frame; driving: as large as it was read; view: as the models see it; predictions: one per bundle."""

    index: int
    driving: Image
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
            driving=frame.driving,
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


def _checked_truth_px(truth_px: int | None, size: int) -> int:
    """Return the largest side at which truths are kept. Raises ConfigError if it is smaller than the models' own."""
    if truth_px is not None and truth_px < size:
        raise ConfigError(f"--truth-px must be at least the models' own {size} px, found {truth_px}")
    return truth_px or size


def _kept_closeups(trial: Trial, source: Image, shown: FaceDescription) -> KeptCloseups:
    """Return what keeps a trial's close-ups; whoever drives it is the person that they are of."""
    return KeptCloseups(trial.name, clip_identity(clip_name(trial.driving)), source, shown.refined)


class Runner:
    """Opened engines and meshes that run one trial after the other; a context manager."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:  # closes what was opened if the rest fails
            self._performers = [_open_performer(performer, setup, stack) for performer in setup.performers]
            self._size = self._performers[0].size
            self._truth_px = _checked_truth_px(setup.truth_px, self._size)
            self._examiner = open_examiner(setup.subject)
            stack.callback(self._examiner.close)
            tracker = setup.tracker
            self._tracker = None if tracker is None else stack.enter_context(ExpressionTracker(tracker))
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
        scorers = [self._examiner.scorer(source, shown) for _ in range(len(animations) + 1)]  # the last repeats it
        is_face = isinstance(self._examiner, FaceExaminer)
        closeups = _kept_closeups(job.trial, source, shown) if is_face else None
        for frame in self._scored_frames(job.trial, animations):
            assert frame.truth is not None, "only trials with a truth are judged against it"
            side_px = frame.truth.shape[0]
            true = describe(frame.truth)
            errors = [
                scorer.add(picture, frame.truth, describe(picture), true)
                for scorer, picture in zip(scorers, frame.predictions, strict=False)
            ]
            travel = float(getattr(scorers[-1].add(fit(source, side_px), frame.truth, shown, true), measures[0]))
            kept.look(frame, animations[0], errors[0], travel)
            if closeups and true.refined is not None and frame.index:  # the first frame is the source
                driver = true.refined if frame.driving is frame.truth else frame.view.landmarks
                pictures = [(picture, true.refined) for picture in frame.predictions]
                closeups.look(frame.index, true.refined, (frame.driving, driver), pictures)
        tables = tuple(zip(*(scorer.tables() for scorer in scorers), strict=True))
        return TrialResult(job.trial, tables, kept.farthest, kept.worst, closeups.finish() if closeups else {})

    def _judge_animation(self, job: TrialJob) -> TrialResult:
        examiner = self._examiner
        assert isinstance(examiner, FaceExaminer), "an animation without a truth is judged by faces"
        source, animations, kept = self._prepare(job, ("aed",))
        source_face = examiner.describe(source)
        scorers = [AnimationScorer(source_face) for _ in animations]
        closeups = _kept_closeups(job.trial, source, source_face)
        first: FloatArray | None = None
        read = (lambda image: None) if self._tracker is None else self._tracker.read
        seen: list[tuple[Expression | None, ...]] = []  # the driver, then each performer
        for frame in self._scored_frames(job.trial, animations):
            driver = examiner.find(frame.view.image)
            seen.append(tuple(read(image) for image in (frame.driving, *frame.predictions)))
            faces = [examiner.describe(picture) for picture in frame.predictions]
            errors = [scorer.add(face, driver) for scorer, face in zip(scorers, faces, strict=True)]
            first = driver if first is None else first
            travel = -1.0 if first is None or driver is None else mean_distance_px(driver, first)
            kept.look(frame, animations[0], errors[0], travel)
            if driver is not None:
                pictures = [(picture, face.refined) for picture, face in zip(frame.predictions, faces, strict=True)]
                closeups.look(frame.index, driver, (frame.driving, driver), pictures)
        tables = (tuple(s.scores() for s in scorers),)
        played, *shown = zip(*seen, strict=True)
        expressions = tuple(sums_of(played, each) for each in shown) if self._tracker is not None else ()
        return TrialResult(job.trial, tables, kept.farthest, kept.worst, closeups.finish(), expressions)

    def _prepare(self, job: TrialJob, measures: tuple[str, ...]) -> tuple[Image, list[AnyAnimation], _KeptMoments]:
        """Set the source in every bundle's animation and return it as large as it is kept.

        Raises SourceError if it shows no face.
        """
        source = job.trial.source_picture(self._size, self._truth_px)
        animations = [stage.animation(job.trial.motion) for stage in self._performers]
        view = self._examiner.view(resize(source, self._size))
        if not view.has_face:
            raise SourceError(f"no face in the first picture of {job.trial.source}")
        square = job.trial.source_square(self._size, MAX_PHOTO_PX)
        # against a truth the network is measured, with what it is asked for; without one, what arrives
        examiner = self._examiner
        find = examiner.find if job.trial.truth is None and isinstance(examiner, FaceExaminer) else None
        for animation in animations:
            animation.set_source(view, square, find)
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
            for index, (driving, truth) in enumerate(trial.frames(self._size, self._truth_px)):
                view = see(resize(driving, self._size))  # a tracker needs every frame
                count += 1
                if index % self._setup.stride:
                    continue
                time_s = index / FRAME_RATE_HZ
                pictures = [animation.animate(view, time_s) for animation in animations]
                side = self._size if truth is None else truth.shape[0]
                yield _ScoredFrame(index, driving, view, truth, tuple(fit(picture, side) for picture in pictures))
        if count < 2:
            raise DataError(f"{trial.driving} has one picture only: nothing moves")
