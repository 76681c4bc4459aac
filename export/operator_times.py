"""Tell where the milliseconds of a frame go inside a model: OpenVINO's own times, by kind of operator or one by one."""

from __future__ import annotations

import argparse
import logging
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

if not __package__:  # run as a file: its imports start at the repository root, not in export/
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from avatarify_plus.bundle import open_bundle
from avatarify_plus.config import Precision
from avatarify_plus.engines.openvino_engine import OpenVinoEngine, OperatorTime
from avatarify_plus.errors import AvatarifyError
from avatarify_plus.network import tensor_names
from export.parity import EXAMPLES, complete, load_pair

WARM_UP = 5


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="operator_times.py", description=__doc__)
    parser.add_argument("bundle", help="folder of a bundle, or name of a shipped model")
    parser.add_argument("--precision", choices=get_args(Precision), default="auto")
    parser.add_argument("--graph", choices=(tensor_names.DETECT, tensor_names.ANIMATE), default=tensor_names.ANIMATE)
    parser.add_argument("--each", action="store_true", help="one line per operator instead of one per kind")
    parser.add_argument("--runs", type=int, default=50, help="runs that are averaged (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: the runtime's choice)")
    options = parser.parse_args(argv)
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        bundle = open_bundle(options.bundle)
        pair = load_pair(bundle, EXAMPLES / "avatar_1.jpg", EXAMPLES / "avatar_2.jpg")
        with OpenVinoEngine(bundle, options.threads, options.precision, profiles=True) as engine:
            pair = complete(pair, engine)
            assert pair.source_keypoints is not None and pair.driving_keypoints is not None
            source = engine.encode_source(pair.source, pair.source_keypoints)
            runs: list[list[OperatorTime]] = []
            for _ in range(WARM_UP + options.runs):
                if options.graph == tensor_names.DETECT:
                    engine.detect(pair.driving)
                else:
                    engine.animate(source, pair.driving_keypoints)
                runs.append(engine.operator_times(options.graph))
            print(f"{options.graph} of {bundle.manifest.name} on {engine.device}, ms, mean of {options.runs} runs")
    except AvatarifyError as error:
        print(f"operator_times.py: {error}", file=sys.stderr)
        return 1
    for label, milliseconds in summarise(runs[WARM_UP:], options.each):
        print(f"{milliseconds:8.2f}  {label}")
    return 0


def summarise(runs: Sequence[Sequence[OperatorTime]], each: bool) -> list[tuple[str, float]]:
    """Return labels and mean milliseconds, longest first, with the total at the head; below 5 microseconds, nothing."""
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
