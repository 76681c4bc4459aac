"""Run the app in one process and switch everything, again and again: what `avatarify bench soak --switch` watches.

Runs follow each other as in the studio, each with another engine, precision, model and camera. Within a run avatars are
chosen, keys pressed, recordings begun and ended, a virtual camera and a webcam unplugged. A round is a run with each
engine and model; after it the process rests a moment, in the state of all rests, so that they can be compared.
"""

from __future__ import annotations

import gc
import itertools
import logging
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from avatarify_plus import live
from avatarify_plus.bench.stand_in import STAND_IN, StandInCamera
from avatarify_plus.bench.switcher import Run, Switcher
from avatarify_plus.camera import FrameSource, LiveCamera, open_frame_source, open_reader
from avatarify_plus.config import AppConfig, EngineName, Precision
from avatarify_plus.errors import AvatarifyError
from avatarify_plus.pictures.images import at_most
from avatarify_plus.program.command_line import ProgramParser, configure_logging, run_program
from avatarify_plus.program.examples import example
from avatarify_plus.program.native_memory import give_back_memory, keep_few_arenas
from avatarify_plus.program.stop import stop_on_signal
from avatarify_plus.session.session import Session
from avatarify_plus.session.status_line import StatusLine
from avatarify_plus.sinks import Outputs
from avatarify_plus.sinks.picture_folder import PictureFolder
from avatarify_plus.studio.model_in_use import ModelInUse
from avatarify_plus.types import Image

logger = logging.getLogger(__name__)

RATE = Fraction(25)
"""Of the cameras, in frames a second."""

MAX_FRAMES = 50
"""So many frames of the example driver the webcam shows, over and over; a folder holds some of them, small."""

SMALL_PX = 240
FOLDER_COUNT = 12
PICTURES = "pictures"
"""The folder's name."""

REST_S = 0.5
"""So long the process rests after a round."""


class Setting(NamedTuple):
    """What computes the pictures of a run."""

    engine: EngineName
    precision: Precision
    model: str


SETTINGS = (
    Setting("openvino", "int8", "live-512"),
    Setting("onnxruntime", "fp32", "live-256"),
    Setting("onnxruntime", "int8", "live-512"),
    Setting("openvino", "fp32", "live-256"),
)
"""One run with each is a round; the process rests with the first."""

CAMERAS = ("film", "webcam", "folder", "webcam", "picture")
"""The drivers, in turn; the webcam more often, because it can be unplugged."""


class Switching:
    """Switch everything, in an order that a seed says."""

    def __init__(self, folder: Path, seed: int, settings: Sequence[Setting] = SETTINGS) -> None:
        """Decode what the webcam shows, and write a folder of pictures. folder: an empty one. Raises AvatarifyError."""
        self._folder, self._settings = folder, settings
        self._rng = random.Random(seed)
        self._cameras = itertools.cycle(CAMERAS)
        self._pictures = _decoded(str(example("driver.mp4")))
        sink = PictureFolder(folder / PICTURES)
        for number in range(FOLDER_COUNT):
            sink.send(at_most(self._pictures[number], SMALL_PX), 0.0)
        sink.close()

    def run(self, stop: threading.Event) -> None:
        """Go through one round after the other until it is to stop. Raises AvatarifyError if nothing can be opened."""
        with ModelInUse(self._config(self._settings[0])) as model:
            for number in itertools.count(1):
                for setting in self._rng.sample(self._settings, len(self._settings)):
                    self._run_once(model, setting, stop)
                    if stop.is_set():
                        return
                model.change(self._config(self._settings[0]))
                gc.collect()
                give_back_memory()
                logger.info("round %d is done", number)
                stop.wait(REST_S)

    def _run_once(self, model: ModelInUse, setting: Setting, stop: threading.Event) -> None:
        """Run the app with a setting and the next camera; what fails is logged as an error."""
        config, begun_s, switcher = self._config(setting), time.monotonic(), None
        webcam = StandInCamera(self._pictures, RATE)
        camera = next(self._cameras)

        def watch(
            session: Session,
            frame_source: FrameSource,
            outputs: Outputs,
            status_line: StatusLine,
            ended: threading.Event,
        ) -> Switcher:
            nonlocal switcher
            run = Run(session, frame_source, outputs, status_line, ended, stop)
            disturbed = webcam if camera == "webcam" else None
            switcher = Switcher(run, self._rng, self._folder, setting.model, disturbed, begun_s)
            return switcher

        try:
            model.change(config)
            with self._open_camera(camera, webcam) as frame_source:
                live.run(config, model.engine, frame_source, threading.Event(), watch=watch)
            if switcher is not None:
                switcher.close()
        except AvatarifyError as error:
            logger.error("%s", error)

    def _open_camera(self, camera: str, webcam: StandInCamera) -> FrameSource:
        """Open one of CAMERAS. Raises CameraError."""
        if camera == "webcam":
            return LiveCamera(webcam.open(), webcam)
        files = {
            "film": example("driver.mp4"),
            "folder": self._folder / PICTURES,
            "picture": example("avatar_1.jpg"),
        }
        return open_frame_source(str(files[camera]), float(RATE), plays_live=True)

    def _config(self, setting: Setting) -> AppConfig:
        return AppConfig(
            avatar=tuple(example(f"avatar_{number}.jpg") for number in (2, 1, 3)),
            engine=setting.engine,
            precision=setting.precision,
            model=setting.model,
            preview=False,
            virtual_camera_device=STAND_IN,  # which no device is called: it is looked for all the time
            config=False,
        )


def _decoded(clip: str) -> list[Image]:
    """Return the first pictures of a clip. Raises CameraError."""
    reader = open_reader(clip, float(RATE))
    pictures = [picture for _ in range(MAX_FRAMES) if (picture := reader.read()) is not None]
    reader.close()
    return pictures


def main(arguments: list[str] | None = None) -> int:
    """Switch until the time is over, and return the exit code."""
    keep_few_arenas()
    with stop_on_signal() as stop:
        return run_program(lambda: _main(arguments, stop))


def _main(arguments: list[str] | None, stop: threading.Event) -> None:
    parser = ProgramParser(prog="python -m avatarify_plus.bench.switching", description=__doc__)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args(arguments)
    configure_logging(options.verbose, (__name__, "avatarify_plus.bench.switcher"))
    timer = threading.Timer(options.seconds, stop.set)
    timer.daemon = True
    timer.start()
    with tempfile.TemporaryDirectory() as folder:
        Switching(Path(folder), options.seed).run(stop)


if __name__ == "__main__":
    sys.exit(main())
