"""How trials against a truth are examined, by their subject: what is found in pictures, shown to models and scored."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from avatarify_plus.errors import ConfigError
from avatarify_plus.face.mesh import FaceMesh
from avatarify_plus.pictures.images import View
from avatarify_plus.types import FloatArray, Image
from training.data.datasets import Subject
from training.evaluation.body_landmarks import BodyLandmarks
from training.evaluation.body_scorer import BodyScorer
from training.evaluation.detail_scorer import DetailScorer
from training.evaluation.metrics import FaceDescriber, FaceDescription, PictureScorer

if TYPE_CHECKING:
    from training.evaluation.perceptual_distance import PerceptualDistance


class Examiner:
    """Examine any subject: nothing is found in pictures, and models find their keypoints themselves.

    measures: what failures are picked by. A trial's farthest frame is where repeating the source is worst by the first.
    """

    measures: tuple[str, ...] = ("l1",)

    def describe(self, image: Image) -> Any:
        """Return what `scorer` needs to know about a picture (H, W, 3)."""
        return None

    def scorer(self, source: Image, shown: Any) -> PictureScorer[Any]:
        """Return a new scorer for one animation of one trial.

        source: the photo (S, S, 3). shown: its description.
        """
        return PictureScorer()

    def view(self, image: Image) -> View:
        """Return a picture as a puppeteer takes it."""
        return plain_view(image)

    def watch(self) -> AbstractContextManager[Callable[[Image], View]]:
        """Give a `view` for the pictures of one clip, all of them in order."""
        return contextlib.nullcontext(self.view)

    def close(self) -> None:
        """Release what `describe` needs."""


class BodyExaminer(Examiner):
    """Examine bodies: their landmarks are compared."""

    measures = ("akd_px", "l1")

    def __init__(self) -> None:
        self._landmarks = BodyLandmarks()

    def describe(self, image: Image) -> FloatArray:
        """Return the landmarks (17, 2); see `BodyLandmarks.find`."""
        return self._landmarks.find(image)

    def scorer(self, source: Image, shown: FloatArray) -> BodyScorer:
        """See `Examiner.scorer`."""
        return BodyScorer()

    def close(self) -> None:
        """See `Examiner.close`."""
        self._landmarks.close()


class FaceExaminer(Examiner):
    """Examine faces: their meshes and identities are compared, and models may read the mesh."""

    measures = ("akd_px", "l1", "aed")

    def __init__(self) -> None:
        self._describer = FaceDescriber()
        self._perceptual: PerceptualDistance | None = None

    def describe(self, image: Image) -> FaceDescription:
        """See `FaceDescriber.describe`."""
        return self._describer.describe(image)

    def find(self, image: Image) -> FloatArray | None:
        """See `FaceDescriber.find`."""
        return self._describer.find(image)

    def scorer(self, source: Image, shown: FaceDescription) -> DetailScorer:
        """See `Examiner.scorer`. Raises ConfigError where torch or the perceptual network's weights are missing."""
        if self._perceptual is None:
            self._perceptual = _open_perceptual()
        return DetailScorer(self._perceptual, source, shown.refined)

    def view(self, image: Image) -> View:
        """See `Examiner.view`."""
        return _view(image, self._describer.find(image))

    @contextlib.contextmanager
    def watch(self) -> Iterator[Callable[[Image], View]]:
        """See `Examiner.watch`; the mesh is tracked from picture to picture."""
        with FaceMesh(tracking=True) as tracker:
            yield lambda image: _view(image, tracker.find(image))

    def close(self) -> None:
        """See `Examiner.close`."""
        self._describer.close()


def open_examiner(subject: Subject) -> Examiner:
    """Return what examines a subject, for the caller to close. Raises ConfigError if something it needs is missing."""
    examiners: dict[Subject, type[Examiner]] = {"face": FaceExaminer, "body": BodyExaminer, "any": Examiner}
    return examiners[subject]()


def _open_perceptual() -> PerceptualDistance:
    try:
        from training.evaluation.perceptual_distance import PerceptualDistance  # torch, which animations do without
    except ImportError as error:
        raise ConfigError("perceptual distances need torch: pip install -r requirements-train.txt") from error
    return PerceptualDistance()


def plain_view(image: Image) -> View:
    """Return the view of a picture for a model that needs nothing but the picture."""
    return View(image, None, has_face=True)


def _view(image: Image, landmarks: FloatArray | None) -> View:
    return View(image, landmarks, has_face=landmarks is not None)
