"""An engine whose calls are timed."""

from __future__ import annotations

from avatarify_plus.engines import Engine, Source
from avatarify_plus.session.timing import Timing, TurnStage
from avatarify_plus.types import Image, Keypoints, PhotoRegion


class TimedEngine(Engine):
    """Another engine whose detecting and animating count as stages of a turn; what came before them composes.

    See `Engine`. The other one stays its owner's: closing this one does not close it.
    """

    def __init__(self, engine: Engine, timing: Timing) -> None:
        self.name, self.device, self.config = engine.name, engine.device, engine.config
        self.precision = engine.precision
        self._engine = engine
        self._timing = timing

    def close(self) -> None:
        """Do nothing."""

    def detect(self, image: Image) -> Keypoints:
        """See `Engine.detect`."""
        self._timing.lap(TurnStage.COMPOSE)
        keypoints = self._engine.detect(image)
        self._timing.lap(TurnStage.DETECT)
        return keypoints

    def encode_source(self, image: Image, keypoints: Keypoints, photo: PhotoRegion | None = None) -> Source:
        """See `Engine.encode_source`."""
        return self._engine.encode_source(image, keypoints, photo)

    def animate(self, source: Source, keypoints: Keypoints) -> Image:
        """See `Engine.animate`."""
        self._timing.lap(TurnStage.COMPOSE)
        picture = self._engine.animate(source, keypoints)
        self._timing.lap(TurnStage.ANIMATE)
        return picture
