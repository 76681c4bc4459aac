"""Measure a model bundle as the paper does, through an engine of the app.

    python training/evaluate.py --bundle live-256 --clips clips/val --report report
    python training/evaluate.py --bundle live-256 --puppet puppets
    python training/evaluate.py --bundle live-256 --animate photos clips/val --photos 10 --drivers 3

--clips: reconstruction; source = each clip's first frame, truth = the clip itself.
--puppet: clips of several characters doing the same motion frame by frame; source = first frame of one, driver =
another, truth = the first one's own clip. These two stand beside the trivial baseline that repeats the source.
--animate: every photo follows every driver, by relative motion, as in the app; there is no truth: measured are identity
and how well the driver is followed. Photos and clips should be squares around the head, as the app cuts them.

--subject: what --clips or --puppet show. Faces are compared by their meshes and identities, bodies by AKD and MKR of
their landmarks; of anything else L1 and PSNR alone are measured. Without a face, models must have learned keypoints.
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import os
import shlex
import sys
import time
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from anywhere

from avatarify_plus.bundle import Bundle, open_bundle
from avatarify_plus.config import EngineName, Precision
from avatarify_plus.errors import AvatarifyError, ConfigError, DataError
from training.contact_sheet import contact_sheet, write_picture
from training.data.datasets import Subject
from training.evaluation.findings import BASELINE, Findings
from training.evaluation.report import About, write_report
from training.evaluation.runner import Setup, TrialJob
from training.evaluation.trial_processes import judge
from training.evaluation.trials import Trial, animations, puppet_pairs, self_reenactments, spread

logger = logging.getLogger("evaluate")
OURS = "ours"
SKIPPED_SHOWN = 10


def open_bundles(options: argparse.Namespace) -> tuple[Bundle, ...]:
    """Open the bundle to measure and those to compare it with. Raises ConfigError if their pictures differ in size."""
    bundles = tuple(open_bundle(name) for name in (options.bundle, *options.compare))
    sizes = {bundle.config.image_size for bundle in bundles}
    if len(sizes) > 1:
        raise ConfigError(f"bundles can be compared at one picture size only, found {', '.join(map(str, sizes))} px")
    return bundles


def performer_names(bundles: tuple[Bundle, ...]) -> tuple[str, ...]:
    """Return a name for each bundle: ours, then the others' own, by folder and number where names repeat."""
    names = [OURS]
    for bundle in bundles[1:]:
        candidates = [bundle.manifest.name, bundle.folder.name, f"{bundle.folder.name} ({len(names)})"]
        names.append(next(name for name in candidates if name not in (*names, BASELINE)))
    return tuple(names)


def find_trials(options: argparse.Namespace) -> tuple[str, list[Trial]]:
    """Return the kind of evaluation and its trials. Raises DataError if there are none."""
    if options.clips:
        kind, trials = "self-reenactment", self_reenactments(options.clips)
    elif options.puppet:
        kind, trials = "cross-identity", puppet_pairs(options.puppet)
    else:
        kind = "animation"
        photos, drivers = options.animate
        trials = animations(photos, drivers, options.photos, options.drivers, options.pairs)
    return kind, trials[:: options.every]


def evaluate(options: argparse.Namespace, command: str) -> None:
    """Run all trials, print the tables and write what was asked for."""
    bundles = open_bundles(options)
    names = performer_names(bundles)
    kind, trials = find_trials(options)
    shown = set(spread(range(len(trials)), options.sheet_rows) if options.sheet or options.report else [])
    jobs = [TrialJob(index, trial, index in shown) for index, trial in enumerate(trials)]
    processes = min(options.processes, len(jobs))
    # Threads do not change the numbers, only the time.
    threads = max(1, (os.cpu_count() or 1) // processes)
    setup = Setup(bundles, options.engine, threads, options.stride, options.precision, options.subject)
    findings = Findings(kind, names if kind == "animation" else (*names, BASELINE))
    began = time.monotonic()
    device = judge(setup, jobs, processes, findings, f"{bundles[0].manifest.name}, {processes} process(es)")
    seconds = round(time.monotonic() - began, 1)
    _name_skipped(findings)
    engine = f"{options.engine} ({device})"
    print("\n\n".join(table.to_text() for table in findings.tables()))
    if options.sheet:
        write_sheet(options.sheet, findings, names)
    if options.json:
        about = {"bundle": bundles[0].manifest.name, "engine": engine, "stride": options.stride, "seconds": seconds}
        _write_json(options.json, about | findings.to_dict())
    if options.report:
        about_run = About(command, datetime.datetime.now().isoformat(" ", "seconds"), engine)
        print(f"report: {write_report(options.report, findings, bundles, names, about_run)}")


def _name_skipped(findings: Findings) -> None:
    """Tell what was left out. Raises DataError if that is everything."""
    for skipped in findings.skipped[:SKIPPED_SHOWN]:
        print(f"skipped {skipped.trial.name}: {skipped.reason}", file=sys.stderr)
    more = len(findings.skipped) - SKIPPED_SHOWN
    if more > 0:
        print(f"and {more} more", file=sys.stderr)
    if not findings.count:
        raise DataError(f"none of the {len(findings.skipped)} trials could be run")


def write_sheet(path: Path, findings: Findings, names: tuple[str, ...]) -> None:
    """Write the shown trials as one contact sheet."""
    moments = findings.side_by_side()
    has_truth = all(moment.truth is not None for moment in moments)
    rows = [
        [m.source, m.driving, *m.predictions[1:], m.predictions[0], *([m.truth] if m.truth is not None else [])]
        for m in moments
    ]
    write_picture(path, contact_sheet(rows, ["source", "driving", *names[1:], names[0], *["truth"] * has_truth]))


def _write_json(path: Path, values: dict[str, object]) -> None:
    try:
        path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error}") from error


def _positive(text: str) -> int:
    """Parse an option that counts."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, found {value}")
    return value


def _pairs(text: str) -> int | Path:
    """Parse --pairs: a number or a file."""
    return _positive(text) if text.isdigit() else Path(text)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True, help="bundle folder or name")
    parser.add_argument("--compare", nargs="+", default=[], metavar="BUNDLE", help="bundles to measure beside it")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--clips", type=Path, help="folder of clips for reconstruction")
    kind.add_argument("--puppet", type=Path, help="folder of clips of several characters doing the same motion")
    kind.add_argument(
        "--animate", type=Path, nargs=2, metavar=("PHOTOS", "DRIVERS"), help="folders of photos or clips, and of clips"
    )
    parser.add_argument("--subject", choices=get_args(Subject), default="face", help="what the clips show")
    parser.add_argument("--photos", type=_positive, metavar="N", help="animate: take N photos, evenly spread")
    parser.add_argument("--drivers", type=_positive, metavar="N", help="animate: take N drivers, evenly spread")
    parser.add_argument(
        "--pairs",
        type=_pairs,
        metavar="N|FILE.csv",
        help="animate: take N of the pairs at random, seeded, or those of a file with columns source and driving",
    )
    parser.add_argument("--engine", choices=get_args(EngineName), default="auto")
    parser.add_argument("--precision", choices=get_args(Precision), default="auto")
    parser.add_argument("--stride", type=_positive, default=5, help="score every n-th frame")
    parser.add_argument("--every", type=_positive, default=1, help="take every n-th trial only: a quick look")
    parser.add_argument(
        "--processes", type=_positive, default=os.cpu_count() or 1, help="trials run at a time (default: all cores)"
    )
    parser.add_argument("--json", type=Path, help="write the scores there")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet there (png)")
    parser.add_argument("--sheet-rows", type=_positive, default=8, help="trials to show in the sheet and the report")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="write report.html and its pictures there")
    options = parser.parse_args(arguments)
    if not options.animate and (options.photos or options.drivers or options.pairs):
        parser.error("--photos, --drivers and --pairs belong to --animate")
    if options.animate and options.subject != "face":
        parser.error(f"--animate measures faces alone, found --subject {options.subject}: take --clips or --puppet")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    options = parse_arguments(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        evaluate(options, shlex.join(["python", "training/evaluate.py", *words]))
    except AvatarifyError as error:
        print(f"evaluate: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
