"""Print where a frame's milliseconds go inside a model: OpenVINO's own times, by kind of operator or one by one."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.bundle import open_bundle
from avatarify_plus.config import Precision
from avatarify_plus.engines.openvino_engine import OpenVinoEngine, OperatorTime
from avatarify_plus.network import tensor_names
from avatarify_plus.program.command_line import (
    ProgramParser,
    add_json_option,
    add_model_argument,
    configure_logging,
    print_report,
    require_json_file,
    run_program,
)
from avatarify_plus.program.examples import example
from export.parity import complete, load_pair, squares_of

# isort: split
import numpy as np

PAINTERS = {tensor_names.paint(part): part for part in tensor_names.PAINTED_PARTS}
"""The parts by the graphs that paint them."""

WARM_UP_COUNT = 5
"""Runs that do not count."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_program(lambda: _main(arguments))


def _main(arguments: list[str] | None) -> None:
    parser = ProgramParser(
        prog="python export/operator_times.py",
        description=__doc__,
        examples=("python export/operator_times.py live-512 --each",),
    )
    add_model_argument(parser)
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="auto",
        help="what the graph is computed in (default: %(default)s)",
    )
    parser.add_argument(
        "--graph",
        choices=(tensor_names.DETECT, tensor_names.ANIMATE, *PAINTERS),
        default=tensor_names.ANIMATE,
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--each",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="one line per operator instead of one per kind",
    )
    parser.add_argument("--runs", type=int, default=50, help="runs that are averaged (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: the runtime's choice)")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    for name in ("runs", "threads"):
        if (given := getattr(options, name)) is not None and given < 1:
            parser.error(f"--{name} must be at least 1, found {given}")
    configure_logging(options.verbose)
    require_json_file(options.json)
    bundle = open_bundle(options.model)
    bundle.graph(options.graph)  # which the model must have
    pair = load_pair(bundle, example("avatar_1.jpg"), example("avatar_2.jpg"))
    with OpenVinoEngine(bundle, options.threads, options.precision, profiles=True) as engine:
        pair = complete(pair, engine)
        assert pair.source_keypoints is not None and pair.driving_keypoints is not None
        source = engine.encode_source(pair.source, pair.source_keypoints)
        squares = dict(squares_of(pair, bundle.config))
        runs: list[list[OperatorTime]] = []
        for _ in range(WARM_UP_COUNT + options.runs):
            if options.graph == tensor_names.DETECT:
                engine.detect(pair.driving)
            elif options.graph in PAINTERS:
                engine.paint(PAINTERS[options.graph], squares[PAINTERS[options.graph]])
            else:
                engine.animate(source, pair.driving_keypoints)
            runs.append(engine.operator_times(options.graph))
        title = f"{options.graph} of {bundle.manifest.name} on {engine.device}, ms, mean of {options.runs} runs"
    times = summarise(runs[WARM_UP_COUNT:], options.each)
    lines = [title, *(f"{milliseconds:8.2f}  {label}" for label, milliseconds in times)]
    print_report("\n".join(lines), {"title": title, "ms": dict(times)}, options.json)


def summarise(runs: Sequence[Sequence[OperatorTime]], each: bool) -> list[tuple[str, float]]:
    """Return labels and mean milliseconds: the total, then the longest first, without what takes less than 5 µs."""
    spent: dict[str, float] = defaultdict(float)
    for operators in runs:
        for operator in operators:
            label = f"{operator.kind} {operator.kernel}" + (f"  {operator.name}" if each else "")
            spent[label] += operator.milliseconds / len(runs)
    total = float(np.sum(list(spent.values())))
    shown = sorted(((label, ms) for label, ms in spent.items() if ms >= 0.005), key=lambda entry: -entry[1])
    return [("total", total), *shown]


if __name__ == "__main__":
    sys.exit(main())
