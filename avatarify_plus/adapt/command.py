"""The command `avatarify adapt`: make a model that knows one face, list such models, delete one."""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
import time
from pathlib import Path

from avatarify_plus.adapt.adaptation import STEPS, Adaptation, Outcome, Progress, StoppedError, Wish
from avatarify_plus.adapt.material import Material, find_material
from avatarify_plus.adapt.own_models import GUIDED_FILM, check_name, delete, film_folder, own_models
from avatarify_plus.adapt.verdict import describe
from avatarify_plus.errors import ConfigError
from avatarify_plus.program.checkout import app_command
from avatarify_plus.program.command_line import ProgramParser, configure_logging, run_program
from avatarify_plus.program.ending import DONE, FAILED, INTERRUPTED, print_error
from avatarify_plus.program.model_option import MODEL_HELP, SHIPPED_MODEL
from avatarify_plus.program.option_fields import parse_number
from avatarify_plus.program.stop import stop_on_signal

DESCRIPTION = """\
Make a model that knows your face: train the shipped one on, for a few minutes, on films of you.

Films may be of any kind in which one face is seen from near, half a minute or more in all; --webcam records one with
you, step by step. Photos of the same person in other clothes or light may be added. Some of the film is held back, the
model is compared there with the one it was made from, and it is kept only if it is better: then `--model NAME` uses it.
Nothing leaves this computer. Ctrl-C while it learns keeps what was learned so far; once more, or at another time, it
stops, and the same command goes on."""

EXAMPLES = (
    "avatarify adapt anna --webcam",
    "avatarify adapt anna holiday.mp4 meeting.mkv portraits/ --minutes 10",
    "avatarify --avatar anna.jpg --model anna",
    "avatarify adapt --list",
    "avatarify adapt --delete anna",
)

CONSENT = """\
Whose face is this? Go on only with films of yourself, or of somebody who agreed to it.
They are worked on on this computer alone. Their pictures are deleted when the model is done."""

AGREE = "yes"
MINUTES = 5.0
"""So long it learns unless another time is asked for."""


def build_parser() -> ProgramParser:
    """Return the command line."""
    parser = ProgramParser(
        prog="avatarify adapt",
        usage="avatarify adapt NAME (FILM ... | --webcam) [OPTIONS]",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help="what the model is to be called")
    add("films", nargs="*", type=Path, metavar="FILM", help="films and photos of the person, or folders of them")
    add(
        "--webcam",
        nargs="?",
        const="0",
        metavar="DRIVER",
        help="record a guided minute first, with the first webcam or another, as of `avatarify --camera`",
    )
    add("--minutes", type=parse_number, default=MINUTES, metavar="MINUTES", help="time to learn (default: %(default)g)")
    add(
        "--model",
        metavar="BUNDLE",
        default=SHIPPED_MODEL,
        help=f"what to start from: {MODEL_HELP} (default: %(default)s)",
    )
    add("--agreed", action="store_true", help="say that it is your own face or that of somebody who agreed")
    add("--anew", action="store_true", help="forget what an earlier call of that name has done")
    add("--list", action="store_true", help="list your own models")
    add("--delete", metavar="NAME", help="delete a model and everything that was made for it")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return the exit code, see `program.command_line`."""
    return run_program(lambda: _main(arguments))


def _main(arguments: list[str] | None) -> int:
    parser = build_parser()
    options = parser.parse_args(arguments)
    configure_logging(options.verbose, ("avatarify_plus.adapt",))
    if options.list:
        return _list()
    if options.delete is not None:
        for path in delete(options.delete):
            print(f"deleted {path}")
        return DONE
    if options.name is None or bool(options.films) == bool(options.webcam):
        parser.error("give a NAME, and either films or --webcam")
    if not options.minutes > 0:
        parser.error(f"--minutes must be above 0, found {options.minutes:g}")
    check_name(options.name)
    _require_consent(options.agreed)
    with stop_on_signal() as stop:
        try:
            material = find_material(options.films) if options.films else _record(options, stop)
            return _adapt(Wish(options.name, material, options.model, options.minutes), options.anew, stop)
        except StoppedError as error:
            print_error(error)
            return INTERRUPTED


def _adapt(wish: Wish, anew: bool, stop: threading.Event) -> int:
    line = _Line()
    adaptation = Adaptation(wish, line.show, stop, anew=anew)
    try:
        outcome = adaptation.run()
    finally:
        line.end()
    print(_told(wish.name, outcome))
    if outcome.folder is not None:
        shutil.rmtree(film_folder(wish.name), ignore_errors=True)
    return DONE if outcome.folder is not None else FAILED


def _record(options: argparse.Namespace, stop: threading.Event) -> Material:
    """Record the guided minute, or take the one of an earlier call. Raises AvatarifyError."""
    from avatarify_plus.adapt.guided_minute import Moment
    from avatarify_plus.adapt.webcam_film import describe as describe_moment
    from avatarify_plus.adapt.webcam_film import record_guided_minute

    film = film_folder(options.name) / GUIDED_FILM
    if film.is_file() and not options.anew:
        print(f"going on with the film {film}; --anew records another")
        return Material((film,), ())
    film.parent.mkdir(parents=True, exist_ok=True)
    line, step = _Line(), ""

    def tell(moment: Moment) -> None:
        nonlocal step
        if moment.step.text != step:
            step = moment.step.text
            line.end()
            print(f"\n{step}", flush=True)
        line.write(describe_moment(moment), moment.step.id)

    try:
        tally = record_guided_minute(options.webcam, film, stop, tell)
    finally:
        line.end()
    if stop.is_set():
        film.unlink(missing_ok=True)
        raise StoppedError("stopped while recording: nothing is kept")
    if tally.missing:
        print(f"not seen in the film: {', '.join(map(str, tally.missing))}; the model will know that less well")
    return Material((film,), ())


def _require_consent(agreed: bool) -> None:
    """Ask whose face it is. Raises ConfigError without a yes."""
    if agreed:
        return
    if not sys.stdin.isatty():
        raise ConfigError("say --agreed if this is your own face, or that of somebody who agreed to it")
    print(CONSENT)
    if input(f"It is my own face, or its owner agreed ({AGREE}/no): ").strip().lower() not in (AGREE, AGREE[0]):
        raise ConfigError("nothing was done: only films of yourself, or of somebody who agreed, may be used")


def _list() -> int:
    models = own_models()
    if not models:
        print("you have no models of your own yet: avatarify adapt NAME FILM ... makes one")
    for model in models:
        about = model.about
        made = f"from {about['from']} on {about['on']}, {about['seconds_of_film']} s of film" if about else ""
        print(f"{model.name}: {model.problem or made}")
    return DONE


def _told(name: str, outcome: Outcome) -> str:
    """Return the closing lines for people."""
    verdict = outcome.verdict
    lines = ["on clips that it was not trained on:"]
    lines += [f"  {found.name:14} {describe(found)}" for found in verdict.comparisons]
    if outcome.folder is None:
        lines += [f"not kept: {verdict.why_not}", f"pictures of both: {outcome.sheet}"]
        lines += ["try a longer film in better light, with the face nearer, or more --minutes"]
        return "\n".join([*lines, f"delete all of it: {app_command()} adapt --delete {name}"])
    lines.append(f"pictures (photo, driver, before, after): {outcome.sheet}")
    if outcome.is_for_one_face:
        lines.append(f"for this face alone: others differ {100 * outcome.harm:.0f} % more than with the shipped model")
    lines.append(f"use it: {app_command()} --avatar PHOTO --model {name}")
    return "\n".join(lines)


class _Line:
    """One line of a terminal that is written again and again; elsewhere, a line whenever it says something new."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._last = ""
        self._width = 0
        self._written_s = 0.0

    def show(self, progress: Progress) -> None:
        """Show how far an adaptation is."""
        share = "" if progress.share is None else f" {100 * progress.share:3.0f} %"
        head = f"{progress.number}/{len(STEPS)} {progress.step.text}"
        left = f", about {max(progress.left_s / 60, 0.5):.1f} min left"
        self.write(f"{head}{share}{left}", head)

    def write(self, text: str, key: str | None = None) -> None:
        """Write a text; where lines stay, only if its key is another than before or ten seconds are over."""
        if self._is_terminal:
            sys.stdout.write(f"\r{text:<{self._width}}")
            sys.stdout.flush()
            self._width = len(text)
            return
        now_s = time.monotonic()
        if (key or text) != self._last or now_s - self._written_s > 10:
            self._last, self._written_s = key or text, now_s
            print(text, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self._is_terminal and self._width:
            sys.stdout.write("\n")
            self._width = 0
