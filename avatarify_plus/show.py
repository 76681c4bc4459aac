"""One avatar on stage: what a frame of the driver goes through until its picture is sent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from avatarify_plus.config import AppConfig
from avatarify_plus.engines import Engine
from avatarify_plus.framing import DriverFraming, frame_photo, mesh_finder
from avatarify_plus.images import mirror
from avatarify_plus.puppeteer import Puppeteer
from avatarify_plus.sinks import Outputs
from avatarify_plus.timed_engine import TimedEngine
from avatarify_plus.timing import Stage, Timing
from avatarify_plus.types import Frame, Image


class Show:
    """Take frames, one after the other, and send a picture for each. Made by `open_show`.

    timing: of all turns so far. faceless_count: frames without a face, which repeat the last picture.
    """

    def __init__(
        self,
        framing: DriverFraming,
        puppeteer: Puppeteer,
        outputs: Outputs,
        timing: Timing,
        mirrors: bool,
        is_live: bool,
    ) -> None:
        self.timing = timing
        self.faceless_count = 0
        self._framing = framing
        self._puppeteer = puppeteer
        self._outputs = outputs
        self._mirrors = mirrors
        self._is_live = is_live

    def turn(self, frame: Frame) -> None:
        """Animate a frame and send the picture. Raises AvatarifyError."""
        taken_s = self.timing.lap(Stage.CAPTURE)
        seen = frame._replace(image=mirror(frame.image)) if self._mirrors else frame
        view = self._framing.view(seen)
        self.timing.lap(Stage.FRAMING)
        picture = self._puppeteer.animate(view, frame.captured_at)
        self.timing.lap(Stage.COMPOSE)  # what the engine did not count as its own
        self._outputs.send(picture, frame.captured_at)
        sent_s = self.timing.lap(Stage.SEND)
        self.timing.tick(frame.captured_at if self._is_live else taken_s, sent_s)
        self.faceless_count += not view.has_face


@contextlib.contextmanager
def open_show(config: AppConfig, engine: Engine, photo: Image, outputs: Outputs, is_live: bool) -> Iterator[Show]:
    """Set the avatar's photo, (H, W, 3), and make ready for the driver; engine and outputs stay the caller's.

    `is_live`: frames tell when they were captured, see `Driver`, and the square follows the head. Of the config count
    framing, motion, movement_scale, smoothing and mirror. Raises SourceError if the photo shows no face.
    """
    timing, size_px = Timing(), engine.config.image_size
    puppeteer = Puppeteer(TimedEngine(engine, timing), config.motion, config.movement_scale, config.smoothing)
    needs_mesh = puppeteer.needs_mesh or config.framing == "auto"
    with mesh_finder(needs_mesh, tracking=False) as find_mesh:
        puppeteer.set_source(frame_photo(photo, find_mesh, size_px, config.framing))
    with mesh_finder(needs_mesh, tracking=True) as find_mesh:
        framing = DriverFraming(find_mesh, size_px, config.framing, follows=is_live)
        yield Show(framing, puppeteer, outputs, timing, config.mirror, is_live)
