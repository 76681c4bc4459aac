"""Train and measure the rows of a comparison under one budget, as the paper's Tables 1 and 2 do, and write the page."""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.errors import ConfigError, DataError, SinkError
from avatarify_plus.network.checkpoint import read_checkpoint
from avatarify_plus.program.command_line import ProgramParser, configure_logging, require_place, run_program
from avatarify_plus.program.option_fields import positive
from avatarify_plus.program.whole_file import save_result, write_whole
from training import train
from training.config import TrainingConfig
from training.data.cache import build_cache, is_cache
from training.data.datasets import Split
from training.evaluation.evaluation_result import REPEAT_SOURCE, EvaluationResult
from training.evaluation.metrics import scores_to_dict
from training.evaluation.runner import Setup, TrialJob
from training.evaluation.score_table import ScoreTable
from training.evaluation.studies import STUDIES, Study, find_study
from training.evaluation.study_page import PAPER_MEASURES, Measured, read_measured, write_tables
from training.evaluation.trained_network import (
    SUFFIX,
    TrainedNetwork,
    read_trained_network,
    write_trained_network,
)
from training.evaluation.trial_processes import run_trials, threads_per_process
from training.evaluation.trials import self_reenactments
from training.loop.checkpoint import CHECKPOINT

DESCRIPTION = """\
Train and measure the rows of a comparison under one budget, as the paper's Tables 1 and 2 do, and write the page.

run trains one row after the other (or --parallel of them at a time), measures each as soon as it is trained, and writes
the tables again after each. It can be stopped at any time; the same command goes on. evaluate measures trained
networks: run folders, checkpoints or what store wrote. page writes the tables from what was measured."""

EXAMPLES = (
    "python training/ablation.py run faces --data clips/train --val clips/val --out runs/table2 --parallel 2",
    "python training/ablation.py run taichihd --data taichi --out runs/taichi --page taichi.md",
    "python training/ablation.py evaluate runs/table2/ours-seed0 --val clips/val",
    "python training/ablation.py store runs/table2/*-seed0 --to rows",
    "python training/ablation.py page faces --out rows runs/table2 --page results.md",
)

TRAIN = Path(__file__).resolve().parent / "train.py"
SCORES = "scores.json"


@dataclass(frozen=True, slots=True)
class StudyRun:
    """One row of a study, to be trained with one seed into a folder. command: the arguments of training/train.py."""

    row: str
    config: TrainingConfig
    command: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where its checkpoint and its scores lie."""
        return self.config.out


def make_run(study: Study, row: str, seed: int, options: argparse.Namespace) -> StudyRun:
    """Return a run of a study. Ends as for wrong usage if the options after --train are wrong."""
    command = (
        *study.arguments(row, seed),
        *("--out", str(options.out / f"{row}-seed{seed}")),
        *("--data", *map(str, options.data), "--val", str(options.val), *options.train),
        *("--cache", str(options.out / "cache")),
    )
    config, _ = train.read_command(list(command))
    return StudyRun(row, config, command)


def run_study(options: argparse.Namespace) -> None:
    """Train and measure what is not yet trained and measured. Raises AvatarifyError where a row fails."""
    study = find_study(options.study)
    options.val = options.val or options.data[0]
    rows, seeds = chosen_rows(study, options.rows), options.seeds or study.seeds
    runs = [make_run(study, row, seed, options) for seed, row in itertools.product(seeds, rows)]
    for run in runs:
        require_same_run(run)
    if options.page:
        require_place(options.page, "--page")
    if any(steps_done(run.folder) < study.steps for run in runs):
        decode(runs[0].config, options)
    measuring = threading.Lock()  # one at a time: it takes all processes

    def make(run: StudyRun) -> None:
        if steps_done(run.folder) < study.steps:
            train_row(study, run, options.parallel)
        with measuring:
            trained = [run.folder for run in runs if steps_done(run.folder) >= study.steps]
            measure([folder for folder in trained if not (folder / SCORES).exists()], study, options)
            if options.page:
                write_page(study, [options.out, *options.stored], options.page)

    with concurrent.futures.ThreadPoolExecutor(options.parallel) as pool:
        jobs = [pool.submit(make, run) for run in runs]
        try:
            for job in concurrent.futures.as_completed(jobs):
                job.result()
        finally:
            for job in jobs:
                job.cancel()
    print(f"{len(runs)} runs of {study.name} trained and measured in {options.out}")


def decode(config: TrainingConfig, options: argparse.Namespace) -> None:
    """Decode all clips, as one of the rows wants them, before the rows share them."""
    size = config.network().image_size
    folders: list[tuple[Path, Split]] = [*((folder, "train") for folder in options.data), (options.val, "val")]
    for folder, split in folders:
        if not is_cache(folder):
            build_cache(folder, options.out / "cache", size, os.cpu_count() or 1, split, config.subject)


def chosen_rows(study: Study, names: list[str] | None) -> tuple[str, ...]:
    """Return the rows to run, in the study's order. Raises ConfigError for one that it does not have."""
    unknown = sorted(set(names or ()) - set(study.rows))
    if unknown:
        raise ConfigError(f"{study.name} has no row {', '.join(unknown)}: choose some of {', '.join(study.rows)}")
    return tuple(row for row in study.rows if not names or row in names)


def steps_done(folder: Path) -> int:
    """Return how many steps a run has made, 0 before its first checkpoint."""
    path = folder / CHECKPOINT
    return read_checkpoint(path).step if path.exists() else 0


def require_same_run(run: StudyRun) -> None:
    """Raise ConfigError if a folder holds another run: rows are only comparable under one budget."""
    path = run.folder / CHECKPOINT
    if not path.exists():
        return
    saved, wanted = read_checkpoint(path), run.config
    pairs = {
        "preset": (saved.config.preset, wanted.preset),
        "size": (saved.config.size, wanted.size),
        "seed": (saved.training.get("seed"), wanted.seed),
        "stages": (saved.training.get("stages"), wanted.stages),
        "rate": (saved.training.get("peak_rate"), wanted.rate),
    }
    wrong = [f"{name} {found} instead of {asked}" for name, (found, asked) in pairs.items() if found != asked]
    if wanted.steps is not None and saved.step > wanted.steps:
        wrong = wrong or [f"{saved.step} steps instead of {wanted.steps}"]
    if wrong:
        raise ConfigError(f"{run.folder} was trained with {', '.join(wrong)}: choose another --out")


def train_row(study: Study, run: StudyRun, parallel: int) -> None:
    """Train one row to its end, in a process of its own that writes to train.log.

    Raises DataError if it ends before that.
    """
    log_file = run.folder / "train.log"
    run.folder.mkdir(parents=True, exist_ok=True)
    threads = threads_per_process(parallel)
    name = f"{run.row}, seed {run.config.seed}"
    print(f"training {name}: {study.steps} steps; see {log_file}", flush=True)
    with open(log_file, "a", encoding="utf-8") as log:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, str(TRAIN), *run.command]
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False).returncode
    done = steps_done(run.folder)
    if code or done < study.steps:
        last = log_file.read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise DataError(
            f"{name} ended after {done} of {study.steps} steps ({' '.join(last)}): run the same command again to go on"
        )


def measure(paths: list[Path], study: Study, options: argparse.Namespace) -> None:
    """Measure runs by reconstruction of the val clips and write the scores to their folders. Raises AvatarifyError."""
    if not paths:
        return
    result = reconstruct(paths, [path.name for path in paths], study, options)
    scores = dict(result.tables()[0].rows)
    for path in paths:
        trained = read_trained_network(path)
        measured = Measured(
            preset=trained.config.preset,
            seed=int(trained.training["seed"]),
            scores=scores_to_dict(scores[path.name]),
            baseline=scores_to_dict(scores[REPEAT_SOURCE]),
            parameters=trained.parameters,
            frame_operations=trained.frame_operations,
            steps=int(trained.training["steps"]),
            samples=int(trained.training["samples"]),
            clips=result.count,
            stride=study.stride,
            clip_scores=by_clip(result, path.name),
        )
        save_result(path / SCORES, json.dumps(measured.to_dict(), indent=1) + "\n")


def by_clip(result: EvaluationResult, name: str) -> dict[str, dict[str, float | None]]:
    """Return what the paper measures of one network, {name of the score: {clip: value}}."""
    scores = {clip: scores_to_dict(scores) for clip, scores in result.trial_scores(name).items()}
    return {measure: {clip: values[measure] for clip, values in scores.items()} for measure in PAPER_MEASURES}


def reconstruct(paths: list[Path], names: list[str], study: Study, options: argparse.Namespace) -> EvaluationResult:
    """Let trained networks reconstruct the val clips, each from its first picture, and score them."""
    trials = self_reenactments(options.val)[:: options.every]
    jobs = [TrialJob(index, trial, False) for index, trial in enumerate(trials)]
    processes = min(options.processes, len(jobs))
    threads = threads_per_process(processes)
    setup = Setup(tuple(paths), "torch", threads, study.stride, subject=study.subject)
    result = EvaluationResult("self-reenactment", (*names, REPEAT_SOURCE))
    run_trials(setup, jobs, processes, result, ", ".join(names))
    if not result.count:
        raise DataError(f"none of the {len(jobs)} clips of {options.val} could be used: {result.skipped[0].reason}")
    return result


def evaluate(options: argparse.Namespace) -> None:
    """Measure trained networks side by side and print the tables."""
    study = find_study(options.study)
    names = [path.stem if path.name != CHECKPOINT else path.parent.name for path in options.runs]
    networks = [read_trained_network(path) for path in options.runs]
    if len({trained.config.image_size for trained in networks}) > 1:
        raise ConfigError("networks can be compared at one picture size only")
    result = reconstruct(options.runs, names, study, options)
    print("\n\n".join(_unranked(table).to_text() for table in result.tables()))
    print()
    for name, trained in zip(names, networks, strict=True):
        print(f"{name}: {_size_of(trained)}, {trained.training.get('samples', 0)} samples")


def _unranked(table: ScoreTable) -> ScoreTable:
    """Return a table without the line of differences, which two rows of many would have."""
    return ScoreTable(table.title, table.rows)


def _size_of(trained: TrainedNetwork) -> str:
    return f"{trained.parameters / 1e6:.2f} M parameters, {trained.frame_operations / 1e9:.2f} GFLOP a frame"


def store(options: argparse.Namespace) -> None:
    """Store trained networks in one file each, or nothing of them but what was measured of each in another."""
    for path in options.runs:
        if not options.scores_alone:
            target = options.to / f"{path.name}{SUFFIX}"
            write_trained_network(read_trained_network(path), target)
            print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
        if options.scores_alone or (path / SCORES).exists():
            measured = read_measured(path / SCORES)
            target = options.to / f"{path.name}.json"
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                write_whole(target, json.dumps(measured.to_dict()) + "\n")
            except OSError as error:
                raise SinkError(f"cannot write {target}: {error.strerror or error}") from error
            print(f"{target}: seed {measured.seed} of {measured.preset}")


def write_page(study: Study, folders: list[Path], page: Path) -> None:
    """Write the tables of what was measured into a page. A run that lies in several folders counts once, the first.

    Raises DataError if nothing was or it cannot be read or written.
    """
    found: dict[tuple[str, int], Measured] = {}
    for folder in folders:
        for path in sorted([*folder.glob(f"*-seed*/{SCORES}"), *folder.glob("*-seed*.json")]):
            measured = read_measured(path)
            if measured.preset in study.rows:
                found.setdefault((measured.preset, measured.seed), measured)
    if not found:
        raise DataError(f"no measured run of {study.name} in {' or '.join(map(str, folders))}")
    write_tables(page, study, list(found.values()))


def build_parser() -> ProgramParser:
    """Return the command line's parser."""
    parser = ProgramParser(
        prog="python training/ablation.py", description=DESCRIPTION, examples=EXAMPLES, has_verbose=False
    )
    commands = parser.add_subparsers(dest="command", required=True)
    processes = os.cpu_count() or 1

    text = "train and measure the rows of a study"
    run = commands.add_parser("run", help=text, description=f"{text.capitalize()}.")
    run.set_defaults(act=run_study)
    run.add_argument("study", choices=STUDIES, help="which comparison")
    run.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders of clips and photos, or caches of them"
    )
    run.add_argument("--out", type=Path, required=True, help="folder of the runs, one folder in it for each")
    run.add_argument("--rows", nargs="+", help="only these rows")
    run.add_argument("--seeds", type=int, nargs="+", help="instead of the study's")
    run.add_argument("--parallel", type=positive, default=1, metavar="N", help="train N rows at a time (default: 1)")
    run.add_argument("--page", type=Path, help="page to write the tables into")
    run.add_argument(
        "--stored", type=Path, nargs="+", default=[], help="folders of what was stored of more runs, for the page"
    )
    run.add_argument("--train", nargs=argparse.REMAINDER, default=[], help="options for training/train.py, last of all")

    text = "measure trained networks"
    single = commands.add_parser("evaluate", help=text, description=f"{text.capitalize()}.")
    single.set_defaults(act=evaluate)
    single.add_argument(
        "runs", type=Path, nargs="+", metavar="NETWORK", help="run folders, checkpoints or stored networks"
    )
    single.add_argument("--study", choices=STUDIES, default="faces", help="whose measures to take (default: faces)")

    for command in (run, single):
        command.add_argument(
            "--val", type=Path, required=command is single, help="folder of clips to measure on (default: DATA's own)"
        )
        command.add_argument(
            "--every", type=positive, default=1, metavar="N", help="measure every n-th clip only, for a quick look"
        )
        command.add_argument(
            "--processes",
            type=positive,
            default=processes,
            metavar="N",
            help="measure N clips at a time (default: all cores)",
        )

    text = "store trained networks and their scores in one file each, weights in half precision"
    keep = commands.add_parser("store", help=text, description=f"{text.capitalize()}.")
    keep.set_defaults(act=store)
    keep.add_argument("runs", type=Path, nargs="+", metavar="NETWORK", help="run folders or checkpoints")
    keep.add_argument("--to", type=Path, required=True, help="folder for the files")
    keep.add_argument("--scores-alone", action="store_true", help="only what was measured, without the weights")

    text = "write the tables of what was measured"
    page = commands.add_parser("page", help=text, description=f"{text.capitalize()}.")
    page.set_defaults(act=lambda options: write_page(find_study(options.study), options.out, options.page))
    page.add_argument("study", choices=STUDIES, help="which comparison")
    page.add_argument(
        "--out", type=Path, nargs="+", required=True, help="folders of runs, or of what was stored of them"
    )
    page.add_argument("--page", type=Path, required=True, help="page to write the tables into")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code, see `program.command_line`."""
    options = build_parser().parse_args(arguments)
    configure_logging(options.verbose)
    return run_program(lambda: options.act(options))


if __name__ == "__main__":
    sys.exit(main())
