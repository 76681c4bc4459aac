"""What adapting brings, by seconds of film and minutes of learning: mean and spread over several people."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avatarify_plus.adapt.adaptation import Adaptation, Outcome, Wish
from avatarify_plus.adapt.material import OWN, Material
from avatarify_plus.adapt.verdict import Comparison, compare, harm_to_others, judge
from avatarify_plus.camera import open_clip
from avatarify_plus.errors import DataError
from avatarify_plus.program.command_line import (
    ProgramParser,
    configure_logging,
    print_report,
    require_json_file,
    run_program,
)
from avatarify_plus.program.model_option import SHIPPED_MODEL
from avatarify_plus.program.option_fields import parse_number
from avatarify_plus.program.whole_file import write_whole

logger = logging.getLogger(__name__)

DESCRIPTION = """\
Measure what `avatarify adapt` brings: adapt the model to each of several people, with so many seconds of film and
minutes of learning, and compare on clips of theirs that are held back. Clips are squares around a face, as training
takes them, named by the person up to the first `_`. The same command goes on where it stopped."""

EXAMPLES = ("python -m avatarify_plus.adapt.study clips/val runs/adapt --seconds 15 30 60 --minutes 1 2 5 10",)

HELD_EVERY, FIRST_HELD = 4, 1
"""Every fourth clip of a person is held back, from the second on."""

MIN_CLIPS = 3

SLOPES = "slopes.json"

SLOPE_PHOTOS, SLOPE_DRIVERS = 2, 2
"""So many clips' first pictures follow so many of the clips held back, for the slopes."""

Slopes = dict[str, tuple[float, float]]
"""How much of each channel of a driver's expression arrives, with the shipped model and with the adapted one."""


class Found(NamedTuple):
    """What one adaptation brought. harm: to other people, as a share."""

    comparisons: tuple[Comparison, ...]
    harm: float
    is_kept: bool
    slopes: Slopes


class Case(NamedTuple):
    """One adaptation: to whom, with how much."""

    person: str
    seconds: float
    minutes: float

    @property
    def name(self) -> str:
        """How its folder is called."""
        return f"{self.person}-{self.seconds:g}s-{self.minutes:g}min"


class _StudyAdaptation(Adaptation):
    """An adaptation whose clips are given, and of which only the scores are kept."""

    def __init__(
        self, case: Case, own: Sequence[Path], held: Sequence[Path], options: argparse.Namespace, folder: Path
    ) -> None:
        super().__init__(
            Wish(case.name, Material((), ()), options.model, case.minutes), lambda progress: None, threading.Event()
        )
        self._given = {OWN: own, "held": held}
        self._landmarker = options.face_landmarker
        self._work = folder / case.name

    def _cut(self) -> None:
        for name, clips in self._given.items():
            (self._work / name).mkdir(exist_ok=True)
            for number, clip in enumerate(clips):
                shutil.copyfile(clip, self._work / name / f"{OWN}_{number:04d}{clip.suffix}")

    def _compare(self) -> None:
        super()._compare()
        if self._landmarker:
            options = ["--model", self._work / "bundle", "--compare", self._start.folder]
            options += ["--animate", self._work / OWN, self._work / "held", "--photos", SLOPE_PHOTOS]
            options += ["--drivers", SLOPE_DRIVERS, "--face-landmarker", self._landmarker.absolute()]
            options += ["--processes", self._cores]
            self._child("training.evaluate", *options, "--json", self._work / SLOPES)

    def _conclude(self) -> Outcome:
        found = {name: json.loads((self._work / f"{name}.json").read_text()) for name in ("held", "others")}
        return Outcome(judge(compare(found["held"])), harm_to_others(compare(found["others"])), None, self._work)


def people_of(clips: Path, wanted: Sequence[str]) -> dict[str, list[Path]]:
    """Return the clips of each person who has enough of them. Raises DataError if there is nobody."""
    people: dict[str, list[Path]] = {}
    for path in sorted(clips.glob("*.mp4")):
        people.setdefault(path.name.partition("_")[0], []).append(path)
    chosen = {n: found for n, found in people.items() if len(found) >= MIN_CLIPS and (not wanted or n in wanted)}
    if not chosen:
        raise DataError(f"nobody has {MIN_CLIPS} clips in {clips}")
    return chosen


def divided(clips: Sequence[Path], seconds: float) -> tuple[list[Path], list[Path]]:
    """Return the clips to learn from, of so many seconds in all if there are as many, and those that are held back."""
    held = [clip for number, clip in enumerate(clips) if number % HELD_EVERY == FIRST_HELD]
    own: list[Path] = []
    total_s = 0.0
    for clip in clips:
        if clip not in held and total_s < seconds:
            own.append(clip)
            total_s += seconds_of(clip)
    return own, held


def seconds_of(clip: Path) -> float:
    """Return how long a clip is."""
    reader = open_clip(str(clip), 25)
    try:
        count = 0
        while reader.read() is not None:
            count += 1
        return count / float(reader.rate)
    finally:
        reader.close()


def slopes_of(path: Path) -> Slopes:
    """Return the slopes of a file that training/evaluate.py wrote of two models; none where it is missing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["expression"]
    except (OSError, ValueError, KeyError, RecursionError):
        return {}
    after, before = (values for name, values in found.items() if name.endswith(": slope"))
    both = {channel: (before[channel], after[channel]) for channel in after}
    return {name: pair for name, pair in both.items() if None not in pair}


def slope_table(rows: Iterable[tuple[float, float, Sequence[Found]]]) -> str:
    """Return how much of each channel arrives before and after, means over the people who show it; empty without."""
    lines: list[str] = []
    for seconds, minutes, people in rows:
        channels = list(dict.fromkeys(name for found in people for name in found.slopes))
        if not channels:
            continue
        if lines:
            lines.append("")
        lines += [f"| {seconds:g} s, {minutes:g} min | people | before | after | change |", f"|{'---|' * 5}"]
        for channel in channels:
            pairs = np.array([found.slopes[channel] for found in people if channel in found.slopes])  # (P, 2)
            before, after = pairs.mean(0)
            change = _mean_and_spread(pairs[:, 1] - pairs[:, 0], "+.2f")
            lines.append(f"| {channel} | {len(pairs)} | {before:.2f} | {after:.2f} | {change} |")
    return "\n".join(lines)


def table(rows: Iterable[tuple[float, float, Sequence[Found]]]) -> str:
    """Return the results for docs/adapt.md: mean and spread of the relative changes over people, in per cent."""
    lines: list[str] = []
    for seconds, minutes, people in rows:
        names = [comparison.name for comparison in people[0].comparisons]
        if not lines:
            lines += [f"| s of film | min | people | kept | {' | '.join(names)} | others |"]
            lines += [f"|{'---|' * (5 + len(names))}"]
        cells = [_spread([found.comparisons[place] for found in people]) for place in range(len(names))]
        harm = f"{100 * np.mean([found.harm for found in people]):+.1f} %"
        kept = sum(found.is_kept for found in people)
        lines.append(f"| {seconds:g} | {minutes:g} | {len(people)} | {kept} | {' | '.join(cells)} | {harm} |")
    return "\n".join(lines)


def _spread(found: Sequence[Comparison]) -> str:
    known = [comparison.change for comparison in found if comparison.is_known]
    if not known:
        return "-"
    if found[0].is_error:
        return _mean_and_spread(100 * np.array(known), "+.1f", " %")
    return _mean_and_spread(known, "+.3f")


def _mean_and_spread(values: Iterable[float], form: str, unit: str = "") -> str:
    known = np.array(list(values))
    return f"{known.mean():{form}}{unit} ± {known.std():{form.lstrip('+')}}"


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = ProgramParser(prog="python -m avatarify_plus.adapt.study", description=DESCRIPTION, examples=EXAMPLES)
    add = parser.add_argument
    add("clips", type=Path, help="folder of clips of people whom the model has never seen")
    add("out", type=Path, help="folder to work in")
    add("--people", nargs="+", default=[], metavar="NAME", help="whom (default: everybody with three clips)")
    add("--seconds", type=parse_number, nargs="+", default=[60], metavar="N", help="seconds of film (default: 60)")
    add("--minutes", type=parse_number, nargs="+", default=[5], metavar="N", help="minutes of learning (default: 5)")
    add("--model", default=SHIPPED_MODEL, help="what to start from")
    add(
        "--face-landmarker",
        type=Path,
        metavar="FILE.task",
        help="the model of a tracker that reads how much of an expression arrives, see training/evaluate.py",
    )
    add("--json", metavar="FILE", help="write everything there as JSON too")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code, see `program.command_line`."""
    options = build_parser().parse_args(arguments)
    configure_logging(options.verbose, (__name__,))
    return run_program(lambda: _study(options))


def _study(options: argparse.Namespace) -> None:
    require_json_file(options.json)
    people = people_of(options.clips, options.people)
    options.out.mkdir(parents=True, exist_ok=True)
    rows, values = [], []
    for seconds in options.seconds:
        for minutes in options.minutes:
            found = []
            for person, clips in people.items():
                case = Case(person, seconds, minutes)
                outcome = _outcome(case, clips, options)
                slopes = slopes_of(options.out / case.name / SLOPES)
                found.append(Found(outcome.verdict.comparisons, outcome.harm, outcome.verdict.is_better, slopes))
                changes = {c.name: c._asdict() for c in outcome.verdict.comparisons}
                reasons = list(outcome.verdict.reasons.values())
                values.append(case._asdict() | {"others": outcome.harm, "reasons": reasons, "slopes": slopes} | changes)
                logger.info("%s: %s", case.name, outcome.verdict.why_not or "better")
            rows.append((seconds, minutes, found))
    print_report("\n\n".join(filter(None, (table(rows), slope_table(rows)))), values, options.json)


def _outcome(case: Case, clips: Sequence[Path], options: argparse.Namespace) -> Outcome:
    """Adapt, and keep of it the scores and the sheets alone."""
    own, held = divided(clips, case.seconds)
    outcome = _StudyAdaptation(case, own, held, options, options.out.absolute()).run()
    folder = options.out / case.name
    for name in ("run", "painters", OWN, "held", "others", "bundle"):
        shutil.rmtree(folder / name, ignore_errors=True)
    write_whole(folder / "reasons.txt", "\n".join(outcome.verdict.reasons.values()))
    return outcome


if __name__ == "__main__":
    sys.exit(main())
