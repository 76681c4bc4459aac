"""Measure the app on this machine: frames a second, where a frame's time goes, latency, start-up and memory.

The loop is the app's own. A clip drives the photo over and over: first at full speed, for frames a second and the
stages of a turn; then live at --rate, for the latency from capture to sink. A separate process shows how long the app
takes to its first picture and how much memory it needs. --compare lets engines take turns of half a second in one
process, so that whatever else the machine does slows all of them alike.

An engine is written NAME[:PRECISION][@BUNDLE], such as openvino:int8 or torch@models/mine; @paper and @live are the
paper's network in these sizes with untrained weights (torch only).
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import get_args

from avatarify_plus.bench.contender import FORM, Contender, parse_contender
from avatarify_plus.bench.full_speed import FullSpeedLoop, NullSink, take_turns
from avatarify_plus.bench.machine import this_machine
from avatarify_plus.bench.report import Absence, EngineResult, Latency, Percentiles, Report, Speed, ratios, table
from avatarify_plus.bench.startup import Start, measure_start
from avatarify_plus.camera import FileSource, LiveCamera, LoopedClip
from avatarify_plus.config import AppConfig, EngineName
from avatarify_plus.engines import Engine
from avatarify_plus.errors import ConfigError, EngineError
from avatarify_plus.program.command_line import (
    ProgramParser,
    add_json_option,
    add_model_option,
    configure_logging,
    print_report,
    require_json_file,
    require_writable,
    run_program,
)
from avatarify_plus.program.ending import FAILED, print_error
from avatarify_plus.program.examples import example
from avatarify_plus.program.option_fields import parse_rate
from avatarify_plus.session.avatars import require_photo
from avatarify_plus.session.session import open_session
from avatarify_plus.sinks import Outputs, Sink
from avatarify_plus.sinks.recorder import Recorder
from avatarify_plus.types import Size

EXAMPLES = (
    "avatarify bench                                                  every engine that works here",
    "avatarify bench --compare openvino onnxruntime:fp32 torch@paper  side by side",
    "avatarify bench latency --seconds 30                             how old a picture is when it is sent",
    "avatarify bench soak --minutes 30 -- --avatar face.jpg           memory and speed over a long run",
    "avatarify bench soak --minutes 30 --switch                       the same while everything is switched",
    "avatarify bench callers --callers 1 2 3                          how many callers a service holds",
)


class Bench:
    """Measure contenders as the options say."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Read the photo and look at the clip. Raises SourceError or CameraError."""
        self._options = options
        self._config = AppConfig(avatar=(options.avatar,), camera=str(options.clip))
        require_photo(self._config.avatar)
        self._clip().close()

    def survey(self, contenders: Sequence[Contender]) -> Report:
        """Measure one contender after the other; list those that do not work here.

        Raises AvatarifyError, such as EngineError if none works.
        """
        report = self._report()
        for contender in contenders:
            print(f"measuring {contender.text} ...", file=sys.stderr)
            try:
                report.results.append(self._measure(contender))
            except EngineError as error:
                report.absences.append(Absence(contender.text, str(error)))
        if not report.results:
            reasons = "; ".join(f"{absence.contender}: {absence.reason}" for absence in report.absences)
            raise EngineError(f"no engine works here: {reasons}")
        return report

    def compare(self, contenders: Sequence[Contender]) -> Report:
        """Measure contenders side by side, at full speed. Raises AvatarifyError."""
        options, report = self._options, self._report()
        with ExitStack() as stack:
            engines = [stack.enter_context(contender.open(options.threads)) for contender in contenders]
            loops = [
                stack.enter_context(self._open_loop(contender, engine))
                for contender, engine in zip(contenders, engines, strict=True)
            ]
            print(f"measuring {', '.join(contender.text for contender in contenders)} ...", file=sys.stderr)
            take_turns(loops, options.seconds, options.warm_up)
            for contender, engine, loop in zip(contenders, engines, loops, strict=True):
                report.results.append(self._result(contender, engine, loop, None, None))
        report.ratios.extend(ratios(report.results))
        return report

    def _report(self) -> Report:
        """Begin a report."""
        return Report(this_machine(), str(self._options.clip), str(self._options.avatar), [], [], [])

    def _measure(self, contender: Contender) -> EngineResult:
        """Measure everything, start-up first, while this process rests."""
        options = self._options
        start = None if contender.is_untrained else measure_start(contender, options.avatar, options.clip)
        with contender.open(options.threads) as engine:
            with self._open_loop(contender, engine) as loop:
                take_turns([loop], options.seconds, options.warm_up)
            return self._result(contender, engine, loop, self._follow(engine), start)

    def _result(
        self, contender: Contender, engine: Engine, loop: FullSpeedLoop, latency: Latency | None, start: Start | None
    ) -> EngineResult:
        speed = Speed.of(loop.timing, self._options.warm_up)
        return EngineResult(
            contender.text, contender.model, engine.name, engine.precision, engine.device, speed, latency, start
        )

    @contextlib.contextmanager
    def _open_loop(self, contender: Contender, engine: Engine) -> Iterator[FullSpeedLoop]:
        """Set up the app's loop, every frame in order."""
        with (
            Outputs() as outputs,
            FileSource(self._clip()) as file_source,
            open_session(self._config, engine, outputs, is_live=False) as session,
        ):
            outputs.add(self._sink(contender, session.size, file_source))
            yield FullSpeedLoop(session, file_source.frames(threading.Event()))

    def _follow(self, engine: Engine) -> Latency:
        """Play the clip as a webcam would, newest frame wins, and drop the pictures."""
        options, stop, skipped_count = self._options, threading.Event(), 0
        with Outputs() as outputs, LiveCamera(self._clip()) as camera:
            outputs.add(NullSink())
            with open_session(self._config, engine, outputs, is_live=True) as session:
                for index, frame in enumerate(frame for frame in camera.frames(stop) if frame is not None):
                    if index == options.warm_up:
                        session.timing.clear()
                        skipped_count = camera.skipped_count
                    session.turn(frame)
                    if index >= options.warm_up and session.timing.elapsed_s >= options.seconds:
                        stop.set()
        latency_ms = Percentiles.of(session.timing.latency_ms)
        return Latency(
            session.timing.frame_count, camera.skipped_count - skipped_count, float(options.rate), latency_ms
        )

    def _clip(self) -> LoopedClip:
        return LoopedClip(str(self._options.clip), self._options.rate)

    def _sink(self, contender: Contender, size: Size, file_source: FileSource) -> Sink:
        """Return where pictures go. Raises SinkError."""
        folder: Path | None = self._options.output
        if folder is None:
            return NullSink()
        return Recorder(recording(folder, contender), size, self._options.rate, file_source)


def build_parser() -> ProgramParser:
    """Return the command line."""
    parser = ProgramParser(prog="avatarify bench", description=__doc__, examples=EXAMPLES)
    engines = parser.add_argument_group("engines")
    which = engines.add_mutually_exclusive_group()
    which.add_argument("--engines", nargs="+", metavar="ENGINE", help=f"{FORM} (default: every one that works here)")
    which.add_argument("--compare", nargs="+", metavar="ENGINE", help="two or more, side by side, and their ratios")
    engines.add_argument("--threads", type=int, help="CPU threads, start-up excepted (default: the engine's choice)")
    pictures = parser.add_argument_group("pictures")
    pictures.add_argument(
        "--avatar", type=Path, metavar="PHOTO", default=example("avatar_2.jpg"), help="photo (default: %(default)s)"
    )
    pictures.add_argument(
        "--clip", type=Path, default=example("driver.mp4"), help="driver, a file or folder (default: %(default)s)"
    )
    pictures.add_argument(
        "--rate", type=parse_rate, metavar="FPS", default=Fraction(30), help="of live play (default: %(default)s)"
    )
    measuring = parser.add_argument_group("measuring")
    measuring.add_argument(
        "--seconds", type=float, default=10.0, help="of work, and of live play, for each engine (default: %(default)s)"
    )
    measuring.add_argument(
        "--warm-up", type=int, metavar="FRAMES", default=10, help="frames that do not count (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="record there, instead of dropping pictures")
    add_model_option(parser, None, ", for engines without an @ (default: the app's)")
    add_json_option(parser)
    return parser


def contenders_of(options: argparse.Namespace) -> list[Contender]:
    """Return what the options ask for. Raises ConfigError for what makes no sense."""
    minima = {"seconds": 0.1, "warm_up": 0, "rate": 1} | ({} if options.threads is None else {"threads": 1})
    for name, minimum in minima.items():
        if not getattr(options, name) >= minimum:
            option = name.replace("_", "-")
            raise ConfigError(f"--{option} must be at least {minimum}, found {getattr(options, name)}")
    if options.compare and len(options.compare) < 2:
        raise ConfigError("--compare wants two or more engines")
    every = [name for name in get_args(EngineName) if name != "auto"]
    model = options.model or AppConfig(avatar=(options.avatar,)).model
    return [parse_contender(text, model) for text in options.compare or options.engines or every]


def recording(folder: Path, contender: Contender) -> Path:
    """Return the file in a folder that a contender's pictures are recorded to."""
    return folder / (re.sub(r"[^\w.-]+", "-", contender.text) + ".mp4")


def main(arguments: list[str] | None = None) -> int:
    """Run the bench, or `latency`, `soak` or `callers` if that is the first argument; return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["latency"]:
        from avatarify_plus.bench.latency import main as latency

        return latency(given[1:])
    if given[:1] == ["soak"]:
        from avatarify_plus.bench.soak import main as soak

        return soak(given[1:])
    if given[:1] == ["callers"]:
        try:
            from avatarify_plus.bench.callers import main as callers
        except ModuleNotFoundError as error:
            print_error(f"bench callers needs the package {error.name}: pip install -r requirements-serve.txt")
            return FAILED
        return callers(given[1:])
    return run_program(lambda: _main(given))


def _main(arguments: list[str]) -> None:
    parser = build_parser()
    options = parser.parse_args(arguments)
    configure_logging(options.verbose)
    try:
        contenders = contenders_of(options)
    except ConfigError as error:
        parser.error(str(error))
    require_json_file(options.json)
    if options.output is not None:
        for contender in contenders:
            require_writable(recording(options.output, contender), "--output")
    bench = Bench(options)
    report = bench.compare(contenders) if options.compare else bench.survey(contenders)
    print_report(table(report), asdict(report), options.json)
