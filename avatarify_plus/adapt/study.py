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

    def __init__(self, case: Case, own: Sequence[Path], held: Sequence[Path], start: str, folder: Path) -> None:
        super().__init__(
            Wish(case.name, Material((), ()), start, case.minutes), lambda progress: None, threading.Event()
        )
        self._given = {OWN: own, "held": held}
        self._work = folder / case.name

    def _cut(self) -> None:
        for name, clips in self._given.items():
            (self._work / name).mkdir(exist_ok=True)
            for number, clip in enumerate(clips):
                shutil.copyfile(clip, self._work / name / f"{OWN}_{number:04d}{clip.suffix}")

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


def table(rows: Iterable[tuple[float, float, list[tuple[tuple[Comparison, ...], float, bool]]]]) -> str:
    """Return the results for docs/adapt.md: mean and spread of the relative changes over people, in per cent."""
    lines: list[str] = []
    for seconds, minutes, people in rows:
        names = [found.name for found in people[0][0]]
        if not lines:
            lines += [f"| s of film | min | people | kept | {' | '.join(names)} | others |"]
            lines += [f"|{'---|' * (5 + len(names))}"]
        cells = [_spread([found[place] for found, _, _ in people]) for place in range(len(names))]
        harm = f"{100 * np.mean([harm for _, harm, _ in people]):+.1f} %"
        kept = sum(is_kept for _, _, is_kept in people)
        lines.append(f"| {seconds:g} | {minutes:g} | {len(people)} | {kept} | {' | '.join(cells)} | {harm} |")
    return "\n".join(lines)


def _spread(found: Sequence[Comparison]) -> str:
    known = [comparison.change for comparison in found if comparison.is_known]
    if not known:
        return "-"
    if found[0].is_error:
        return f"{100 * np.mean(known):+.1f} % ± {100 * np.std(known):.1f}"
    return f"{np.mean(known):+.3f} ± {np.std(known):.3f}"


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
                found.append((outcome.verdict.comparisons, outcome.harm, outcome.verdict.is_better))
                changes = {c.name: c._asdict() for c in outcome.verdict.comparisons}
                reasons = list(outcome.verdict.reasons.values())
                values.append(case._asdict() | {"others": outcome.harm, "reasons": reasons} | changes)
                logger.info("%s: %s", case.name, outcome.verdict.why_not or "better")
            rows.append((seconds, minutes, found))
    print_report(table(rows), values, options.json)


def _outcome(case: Case, clips: Sequence[Path], options: argparse.Namespace) -> Outcome:
    """Adapt, and keep of it the scores and the sheets alone."""
    own, held = divided(clips, case.seconds)
    outcome = _StudyAdaptation(case, own, held, options.model, options.out.absolute()).run()
    folder = options.out / case.name
    for name in ("run", "painters", OWN, "held", "others", "bundle"):
        shutil.rmtree(folder / name, ignore_errors=True)
    write_whole(folder / "reasons.txt", "\n".join(outcome.verdict.reasons.values()))
    return outcome


if __name__ == "__main__":
    sys.exit(main())
