"""Measure a model bundle as the paper does, through an engine of the app.

    python training/evaluate.py --bundle avatarify_plus/models/live-256 --clips clips/val
    python training/evaluate.py --bundle avatarify_plus/models/live-256 --puppet puppets

--clips: self-reenactment, source = each clip's first frame, truth = the clip itself.
--puppet: clips of several characters doing the same motion frame by frame; source = first frame of one, driver =
another, truth = the first one's own clip. Every figure stands beside the trivial baseline that repeats the source.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from anywhere

from avatarify_plus.bundle import open_bundle
from avatarify_plus.engines import Engine, open_engine
from avatarify_plus.errors import AvatarifyError, DataError
from avatarify_plus.images import View
from avatarify_plus.mesh import FaceMesh
from avatarify_plus.puppeteer import Puppeteer
from avatarify_plus.types import Image
from training.cache import list_clips, read_clip
from training.contact_sheet import contact_sheet, write_picture
from training.metrics import FaceDescriber, Scorer, Scores, mean_scores, scores_to_dict

logger = logging.getLogger("evaluate")
FRAME_RATE_HZ = 25.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One clip to animate: `source` follows `driving`, and should look like `truth` frame by frame."""

    name: str
    source: Image
    driving: list[Image]
    truth: list[Image]
    motion: str


@dataclass(frozen=True, slots=True)
class Result:
    """Scores of one trial, ours and the baseline's, with the rows of the contact sheet."""

    name: str
    ours: Scores
    baseline: Scores
    rows: list[list[Image]]


def self_reenactment(folder: Path, size: int) -> Iterator[Trial]:
    """Yield one trial per clip, with absolute motion."""
    for path in list_clips(folder):
        frames = read_clip(path, size)
        if len(frames) > 1:
            yield Trial(path.stem, frames[0], frames, frames, "absolute")


def cross_identity(folder: Path, size: int) -> Iterator[Trial]:
    """Yield one trial per ordered pair of characters, with relative motion. Raises DataError for fewer than two."""
    clips = {path.stem: read_clip(path, size) for path in list_clips(folder)}
    if len(clips) < 2 or len({len(frames) for frames in clips.values()}) != 1:
        raise DataError(f"{folder} must hold at least two clips of the same length that show the same motion")
    for (source_name, truth), (driver_name, driving) in itertools.permutations(clips.items(), 2):
        yield Trial(f"{source_name} < {driver_name}", truth[0], driving, truth, "relative")


def run_trial(trial: Trial, engine: Engine, describer: FaceDescriber, stride: int) -> Result:
    """Animate every frame, as the app would, and score every `stride`-th."""
    puppeteer = Puppeteer(engine, motion="absolute" if trial.motion == "absolute" else "relative")
    needs_mesh = puppeteer.needs_mesh
    ours, baseline = Scorer(), Scorer()
    rows: list[list[Image]] = []
    shown = {len(trial.driving) // 3 // stride * stride, len(trial.driving) * 2 // 3 // stride * stride}
    with FaceMesh(tracking=False) as still, FaceMesh(tracking=True) as tracker:
        puppeteer.set_source(_view(trial.source, still if needs_mesh else None))
        source_face = describer.describe(trial.source)
        for index, (driving, truth) in enumerate(zip(trial.driving, trial.truth, strict=True)):
            view = _view(driving, tracker if needs_mesh else None)  # the tracker wants every frame
            if index % stride:
                continue
            prediction = puppeteer.animate(view, index / FRAME_RATE_HZ)
            true_face = describer.describe(truth)
            ours.add(prediction, truth, describer.describe(prediction), true_face)
            baseline.add(trial.source, truth, source_face, true_face)
            if index in shown:
                rows.append([trial.source, driving, prediction, truth])
    return Result(trial.name, ours.scores(), baseline.scores(), rows)


def _view(image: Image, mesh: FaceMesh | None) -> View:
    landmarks = mesh.find(image) if mesh else None
    return View(image, landmarks, has_face=mesh is None or landmarks is not None)


def table(ours: Scores, baseline: Scores) -> str:
    """Return the scores beside the baseline's."""
    lines = [f"{'':22}{'L1':>9}{'PSNR dB':>9}{'AKD px':>9}{'MKR':>9}{'AED':>9}"]
    for name, scores in (("ours", ours), ("repeat the source", baseline)):
        values = f"{scores.l1:9.4f}{scores.psnr_db:9.2f}{scores.akd_px:9.2f}{scores.mkr:9.4f}{scores.aed:9.3f}"
        lines.append(f"{name:22}{values}")
    change = [f"{100 * (a - b) / b:+8.1f}%" if b else f"{'':>9}" for a, b in zip(ours, baseline, strict=True)]
    return "\n".join([*lines, f"{'difference':22}{''.join(change)}"])


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Run all trials and return the report."""
    bundle = open_bundle(options.bundle)
    describer = FaceDescriber()
    size = bundle.config.image_size
    trials = list(self_reenactment(options.clips, size) if options.clips else cross_identity(options.puppet, size))[
        :: options.every
    ]
    began = time.monotonic()
    with open_engine(bundle, options.engine) as engine:
        results = [
            run_trial(trial, engine, describer, options.stride)
            for trial in tqdm(trials, unit="clip", desc=f"{bundle.manifest.name} on {engine.name}")
        ]
        device = engine.device
    ours, baseline = (mean_scores([getattr(r, kind) for r in results]) for kind in ("ours", "baseline"))
    if options.sheet:
        chosen = results[:: max(1, len(results) // options.sheet_rows)][: options.sheet_rows]
        rows = [row for result in chosen for row in result.rows[-1:]]
        write_picture(options.sheet, contact_sheet(rows, ["source", "driving", "ours", "truth"]))
    print(table(ours, baseline))
    return {
        "bundle": bundle.manifest.name,
        "engine": f"{options.engine} ({device})",
        "kind": "self-reenactment" if options.clips else "cross-identity",
        "trials": len(results),
        "stride": options.stride,
        "seconds": round(time.monotonic() - began, 1),
        "ours": scores_to_dict(ours),
        "baseline": scores_to_dict(baseline),
        "per_trial": {r.name: scores_to_dict(r.ours) for r in results},
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True, help="bundle folder or name")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--clips", type=Path, help="folder of clips for self-reenactment")
    kind.add_argument("--puppet", type=Path, help="folder of clips of several characters doing the same motion")
    parser.add_argument("--engine", default="auto", help="auto, openvino, onnxruntime or torch")
    parser.add_argument("--stride", type=int, default=5, help="score every n-th frame")
    parser.add_argument("--every", type=int, default=1, help="take every n-th trial only: a quick look")
    parser.add_argument("--json", type=Path, help="write the report there")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet there (png)")
    parser.add_argument("--sheet-rows", type=int, default=8)
    options = parser.parse_args(arguments)
    try:
        report = evaluate(options)
        if options.json:
            options.json.write_text(json.dumps(report, indent=1) + "\n")
    except AvatarifyError as error:
        print(f"evaluate: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
