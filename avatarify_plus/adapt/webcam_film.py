"""The guided minute before a webcam, recorded into a film."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from avatarify_plus.adapt.expressions import Tally
from avatarify_plus.adapt.guided_minute import GuidedMinute, Moment
from avatarify_plus.camera import CaptureRequest, FrameSource, open_frame_source
from avatarify_plus.errors import CameraError, SinkError
from avatarify_plus.face.driver_framing import FindMesh, scaled
from avatarify_plus.face.mesh import FaceMesh
from avatarify_plus.pictures.images import at_most, mirror
from avatarify_plus.pictures.text import TextWriter
from avatarify_plus.preview.keys import Command
from avatarify_plus.preview.palette import ACCENT, BRIGHT, GROUND, QUIET, WARNING
from avatarify_plus.preview.window import PreviewWindow
from avatarify_plus.sinks.destination import reserve_film
from avatarify_plus.sinks.recorder import Recorder
from avatarify_plus.types import Frame, Image, Size

logger = logging.getLogger(__name__)

CAPTURE = CaptureRequest(Size(1280, 720), 30.0)
"""What the webcam is asked for: the square around a face then has the pixels that a model of 512 is trained with."""

STILLS_FPS = 25.0
"""The frame rate of a folder of pictures that stands for the webcam."""

LOST_S = 20.0
"""How long a webcam that gives no pictures any more is waited for."""

SHOWN_PX, MIN_CARD_PX = 720, 640
"""The longer side of the picture in the window at most, and the least width of the text above it."""

LETTER_PX, SMALL_PX, LINES, PAD_PX = 18, 15, 7, 12
"""The sizes of the letters, how many lines the step's text takes at most, and the space around them."""

Show = Callable[[Image, Moment], bool]
"""Show a camera's picture (H, W, 3) and the moment to the person before it; return whether to go on."""


def record_guided_minute(
    camera: str,
    path: Path,
    stop: threading.Event,
    tell: Callable[[Moment], None],
    has_window: bool = True,
    show: Show | None = None,
) -> Tally:
    """Lead a person through the guided minute and record all that the webcam gives; return what it shows.

    camera: a webcam's number or name, or what else the app takes, such as a film, which is then played in real time.
    path: the film, which is replaced, but only once there is a picture. tell: called with each moment. has_window:
    whether to open a window with the mirrored picture and what to do, where there is a screen; closing it sets `stop`.
    show: is called with each picture instead of a window.
    When `stop` is set, the film ends there and is whole. Raises CameraError if there is no camera or no face, and
    then leaves no film; SinkError if the film cannot be written.
    """
    with contextlib.ExitStack() as stack:
        film = stack.enter_context(_CameraFilm(path))
        source = stack.enter_context(open_frame_source(camera, STILLS_FPS, True, CAPTURE))
        mesh = stack.enter_context(FaceMesh(tracking=True))
        if show is None and has_window:
            show = stack.enter_context(_window())
        return _record(source, mesh.find, film, stop, tell, show)


def _record(
    source: FrameSource,
    find_mesh: FindMesh,
    film: _CameraFilm,
    stop: threading.Event,
    tell: Callable[[Moment], None],
    show: Show | None,
) -> Tally:
    """Record frames until the minute is over, they end, or `stop` is set. Raises CameraError, SinkError."""
    minute = GuidedMinute()
    seen_s = time.perf_counter()
    for frame in source.frames(stop):
        if frame is None:
            if source.trouble is not None and time.perf_counter() - seen_s > LOST_S:
                raise CameraError(f"{source.name} was lost for {LOST_S:.0f} s: connect it and start again")
            continue
        seen_s = time.perf_counter()
        film.add(frame, source)
        height, width = frame.image.shape[:2]
        face = find_mesh(frame.image)
        moment = minute.turn(None if face is None else scaled(face, width, height), frame.captured_at)
        tell(moment)
        if show is not None and not show(frame.image, moment):
            stop.set()
        if moment.is_over:
            break
    if source.skipped_count:
        logger.info("%d pictures of %s were not recorded: this machine is slow", source.skipped_count, source.name)
    return minute.tally


class _CameraFilm:
    """The film of all of a camera's pictures, in their own size. A context manager; a CameraError leaves no film."""

    def __init__(self, path: Path) -> None:
        """Raises SinkError unless a film can be written there."""
        self._path = path
        self._file = reserve_film(path, "fast")
        self._size: Size | None = None
        self._recorder: Recorder | None = None

    def __enter__(self) -> _CameraFilm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the film. Raises SinkError if it cannot be finished, unless something else is raised already."""
        if self._recorder is None:
            self._file.close()
            return
        try:
            self._recorder.close()
        except SinkError:
            if error is None:
                raise
        if isinstance(error, CameraError):
            self._path.unlink(missing_ok=True)

    def add(self, frame: Frame, source: FrameSource) -> None:
        """Append a frame, but for an odd last column or row, which films cannot have. Raises CameraError, SinkError."""
        size = Size(frame.image.shape[1], frame.image.shape[0])
        width, height = size.width // 2 * 2, size.height // 2 * 2
        if self._recorder is None:
            self._recorder = Recorder(self._path, Size(width, height), source.rate, file=self._file)
            self._size = size
        if size != self._size:
            raise CameraError(
                f"{source.name} has changed its pictures from {self._size} to {size}, and a film has one size: start "
                "again, and leave the webcam's settings alone meanwhile"
            )
        self._recorder.send(frame.image[:height, :width], frame.captured_at)


def describe(moment: Moment) -> str:
    """Return where the minute stands, in one short line: what to do is `moment.step.text`."""
    if moment.is_over:
        return "done"
    if not moment.has_face:
        return "waiting: no face is seen"
    parts = [f"{moment.step.id}: {math.ceil(moment.seconds_left)} s left"]
    seen = [need.value for need in moment.step.needs if need in moment.shown]
    unseen = [need.value for need in moment.step.needs if need not in moment.shown]
    parts += [f"{heading}: {', '.join(names)}" for heading, names in (("seen", seen), ("not yet", unseen)) if names]
    return "; ".join(parts)


@contextlib.contextmanager
def _window() -> Iterator[Show | None]:
    """Open a window for the person before the webcam; None where there is no screen."""
    try:
        window = PreviewWindow()
    except SinkError as failure:
        logger.debug("the guided minute has no window: %s", failure)
        yield None
        return
    card = _Card()

    def show(image: Image, moment: Moment) -> bool:
        window.show(card.draw(image, moment))
        return all(press.command is not Command.QUIT for press in window.presses())

    try:
        yield show
    finally:
        window.close()


class _Card:
    """Draw what to do, and below it, since eyes that read should be near the camera, its mirrored picture."""

    def __init__(self) -> None:
        self._text, self._small = TextWriter(LETTER_PX), TextWriter(SMALL_PX)

    def draw(self, image: Image, moment: Moment) -> Image:
        """Return the card of a moment, (H, W, 3), for a camera's picture."""
        mirrored = mirror(at_most(image, SHOWN_PX))
        height, width = mirrored.shape[:2]
        card_px = max(width, MIN_CARD_PX)
        band_px = 3 * PAD_PX + LINES * self._text.line_px + self._small.line_px
        card: Image = np.full((band_px + height, card_px, 3), GROUND, np.uint8)
        left = (card_px - width) // 2
        card[band_px:, left : left + width] = mirrored
        self._write_step(card, moment)
        self._write_state(card, band_px - PAD_PX - self._small.line_px, moment)
        return card

    def lines_of(self, text: str, width_px: int) -> list[str]:
        """Return the lines of a step's text on a card of a width."""
        paragraphs = text.split("\n")
        return [line for each in paragraphs for line in self._text.wrapped(each, width_px - 2 * PAD_PX, LINES)]

    def _write_step(self, card: Image, moment: Moment) -> None:
        for index, line in enumerate(self.lines_of(moment.step.text, card.shape[1])):
            self._text.write(card, line, PAD_PX, PAD_PX + index * self._text.line_px, BRIGHT)

    def _write_state(self, card: Image, top: int, moment: Moment) -> None:
        """Write the countdown, and what has been shown and what not; or that no face is seen."""
        left = PAD_PX
        if not moment.has_face:
            self._small.write(card, "no face is seen", left, top, WARNING)
            return
        left = self._small.write(card, f"{math.ceil(moment.seconds_left)} s", left, top, BRIGHT)
        for need in moment.step.needs:
            colour = ACCENT if need in moment.shown else QUIET
            left = self._small.write(card, need.value, left + 2 * PAD_PX, top, colour)
