"""The story of one frame: the avatar is set once; squares of the driver go in, pictures of the avatar come out."""

from __future__ import annotations

from avatarify_plus.config import MotionMode
from avatarify_plus.engines import Engine, Source
from avatarify_plus.errors import SourceError
from avatarify_plus.images import View
from avatarify_plus.motion import (
    KeypointSmoother,
    join_keypoints,
    keypoints_from_mesh,
    load_mesh_layout,
    movement_scale,
    transfer,
)
from avatarify_plus.types import Image, Keypoints

LOOSEST_CUTOFF_HZ = 12.0
"""Cutoff of the smoothing filter for a still face at the lowest strength: nearly nothing is smoothed."""

TIGHTEST_CUTOFF_HZ = 0.5
"""The same at strength 1."""

SMOOTHING_BETA = 60.0
"""How fast the cutoff rises with a keypoint's speed (hertz per picture half a second), so that blinks are not lost.
Measured on examples/driver.mp4 with sensor noise added: at strength 0.5 a still face's jitter falls from 0.28 to 0.10
px of 256, moving keypoints lag 0.26 px on average, and blinks close the eyes as far as before."""


class Puppeteer:
    """Animate one avatar.

    The engine stays the caller's. `motion` relative adds the driver's movement since the initial frame to the avatar's
    own pose, scaled by `movement_scale` (None: by the two faces' sizes); absolute takes the driver's pose as it is.
    `smoothing`: strength from 0 (off) to 1.
    """

    def __init__(
        self,
        engine: Engine,
        motion: MotionMode = "relative",
        movement_scale: float | None = None,
        smoothing: float = 0.0,
    ) -> None:
        config = engine.config
        self._engine = engine
        self._layout = load_mesh_layout(config.mesh_layout) if config.reads_mesh else None
        self._motion = motion
        self._wanted_scale = movement_scale
        self._smoother = _smoother(smoothing)
        self._source: Source | None = None
        self._initial: Keypoints | None = None
        self._scale = 1.0
        self._picture: Image | None = None

    @property
    def needs_mesh(self) -> bool:
        """Whether views must carry landmarks: the model reads keypoints off the face mesh."""
        return self._layout is not None

    def set_source(self, view: View) -> None:
        """Set the avatar. Raises SourceError if its view has no face."""
        keypoints = self._detect(view)
        if keypoints is None:
            raise SourceError("the avatar photo shows no face; use a photo that shows one face from the front")
        self._source = self._engine.encode_source(view.image, keypoints)
        self._picture = self._engine.animate(self._source, self._source.keypoints)  # shown until the driver appears
        self._initial = None

    def recalibrate(self) -> None:
        """Measure relative motion from the next frame that shows a face."""
        self._initial = None

    def animate(self, view: View, time_s: float) -> Image:
        """Return the avatar's (S, S, 3) picture for a view of the driver at a time; without a face, the last picture.

        Times must not go backwards. Raises SourceError if no avatar was set.
        """
        if self._source is None or self._picture is None:
            raise SourceError("no avatar was set: call set_source first")
        driving = self._detect(view)
        if driving is not None:
            driving = self._smoother.smooth(driving, time_s) if self._smoother else driving
            self._picture = self._engine.animate(self._source, self._transfer(self._source.keypoints, driving))
        return self._picture

    def _detect(self, view: View) -> Keypoints | None:
        """Return a view's keypoints, or None if it shows nobody."""
        if not view.has_face:
            return None
        if self._layout is None:
            return self._engine.detect(view.image)
        if view.landmarks is None:
            return None
        keypoints = keypoints_from_mesh(view.landmarks, self._layout)
        if not self._engine.config.detected_count:
            return keypoints
        return join_keypoints(keypoints, self._engine.detect(view.image))

    def _transfer(self, source: Keypoints, driving: Keypoints) -> Keypoints:
        """Return the keypoints to animate; the first driving keypoints become the initial ones."""
        if self._motion == "absolute":
            return driving
        if self._initial is None:
            self._initial = driving
            self._scale = self._wanted_scale or movement_scale(source, driving)
        return transfer(source, driving, self._initial, self._scale)


def _smoother(strength: float) -> KeypointSmoother | None:
    """Return the filter of a strength in [0, 1], or None for none."""
    if strength == 0:
        return None
    return KeypointSmoother(LOOSEST_CUTOFF_HZ * (TIGHTEST_CUTOFF_HZ / LOOSEST_CUTOFF_HZ) ** strength, SMOOTHING_BETA)
