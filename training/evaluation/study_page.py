"""The tables of a comparison as a page: our figures, the spread between seeds, and the paper's figures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from avatarify_plus.errors import DataError
from avatarify_plus.program.whole_file import write_whole
from training.evaluation.claims import paired_change
from training.evaluation.evaluation_result import REPEAT_SOURCE
from training.evaluation.studies import REFERENCE, Study


@dataclass(frozen=True, slots=True)
class Measured:
    """One run, measured: scores and baseline by the names of `evaluation.metrics.Scores`, None where not measured.

    clip_scores: the same by clip, {name of the score: {clip: value}}; older files have none.
    """

    preset: str
    seed: int
    scores: dict[str, float | None]
    baseline: dict[str, float | None]
    parameters: int
    frame_operations: int
    steps: int
    samples: int
    clips: int
    stride: int
    clip_scores: dict[str, dict[str, float | None]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)


COUNTS = ("parameters", "frame_operations", "steps", "samples", "clips", "stride")
"""The fields of Measured that count something."""

MAX_NUMBER = 1e18
"""Larger numbers are no measurements."""


def read_measured(path: Path) -> Measured:
    """Read a JSON file of what `Measured.to_dict` returned. Raises DataError if it is missing or something else."""
    try:
        found = Measured(**json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"cannot read the scores {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise _no_scores(path) from error
    counts = (getattr(found, name) for name in ("seed", *COUNTS))
    by_clip = found.clip_scores.values() if isinstance(found.clip_scores, dict) else [None]
    tables = (found.scores, found.baseline, *by_clip)
    is_sound = isinstance(found.preset, str) and all(type(count) is int and _is_number(count) for count in counts)
    if not (is_sound and all(isinstance(table, dict) and all(map(_is_score, table.values())) for table in tables)):
        raise _no_scores(path)
    return found


def _no_scores(path: Path) -> DataError:
    return DataError(f"{path} does not hold what training/ablation.py measured: delete it and measure that run again")


def _is_score(value: object) -> bool:
    return value is None or _is_number(value)


def _is_number(value: object) -> bool:
    """Return whether a value is a number, NaN included, that can be computed with."""
    return type(value) in (int, float) and not abs(value) > MAX_NUMBER  # type: ignore[arg-type]  # a number by now


PAPER_MEASURES = {"l1": ("L1", 4), "akd_px": ("AKD px", 2), "mkr": ("MKR", 4), "aed": ("AED", 3)}
"""What the paper measures: title and digits."""

ROW_TITLES = {
    "x2face": "X2Face-style baseline",
    "monkey-net": "Monkey-Net",
    "fomm": "FOMM",
    "fomm-cbam": "FOMM + CBAM",
    "fomm-attention": "FOMM + the paper's attention",
    "fomm-cbam-occlusion": "FOMM + CBAM + multi-scale occlusion",
    "ours": "the paper's network",
}


def write_tables(page: Path, study: Study, found: Sequence[Measured]) -> None:
    """Write a study's tables into a page, in place of those between its marks; a new page holds nothing else.

    Raises DataError if the page cannot be read or written.
    """
    begin, end = f"<!-- {study.name}: written by training/ablation.py -->", f"<!-- {study.name}: end -->"
    block = f"{begin}\n{tables(study, found)}\n{end}"
    try:
        text = page.read_text(encoding="utf-8") if page.exists() else f"# Results\n\n## {study.title}\n\n{begin}{end}\n"
        head, mark, rest = text.partition(begin)
        if not mark:
            head, rest = f"{text.rstrip()}\n\n## {study.title}\n\n", f"{end}\n"
        page.parent.mkdir(parents=True, exist_ok=True)
        write_whole(page, f"{head}{block}{rest.partition(end)[2]}")
    except OSError as error:
        raise DataError(f"cannot write the tables into {page}: {error}") from error


def tables(study: Study, found: Sequence[Measured]) -> str:
    """Return the tables in Markdown: figures with the spread between seeds, then differences from FOMM."""
    by_row = {row: sorted((m for m in found if m.preset == row), key=lambda m: m.seed) for row in study.rows}
    by_row = {row: runs for row, runs in by_row.items() if runs}
    parts = [_budget(study, found), _figures(study, by_row)]
    if REFERENCE in by_row and len(by_row) > 1:
        parts.append(_differences(study, by_row))
    return "\n\n".join(parts)


def _budget(study: Study, found: Sequence[Measured]) -> str:
    first = found[0]
    seeds = sorted({measured.seed for measured in found})
    own = "".join(f" `{row}` has `{' '.join(options)}` besides." for row, options in study.row_train.items())
    return (
        f"Size `{study.size}`, {study.keypoint_count} learned keypoints; {first.steps} steps, {first.samples} samples "
        f"a run (`--stages {study.stages} --rate {study.rate:g} --ema {study.ema:g}`), seeds "
        f"{', '.join(map(str, seeds))}.{own} Data: {study.data_note}. Measured on {first.clips} clips, every "
        f"{study.stride}th frame, source = first frame."
    )


def _figures(study: Study, by_row: Mapping[str, Sequence[Measured]]) -> str:
    lines = [["row", "runs", *(title for title, _ in PAPER_MEASURES.values()), "parameters", "GFLOP a frame"]]
    for row, runs in by_row.items():
        cells = [
            _with_spread([run.scores.get(name) for run in runs], decimals)
            for name, (_, decimals) in PAPER_MEASURES.items()
        ]
        size = [f"{runs[0].parameters / 1e6:.2f} M", f"{runs[0].frame_operations / 1e9:.2f}"]
        lines.append([_title(row), str(len(runs)), *cells, *size])
    some = next(iter(by_row.values()))[0]
    cells = [_with_spread([some.baseline.get(name)], decimals) for name, (_, decimals) in PAPER_MEASURES.items()]
    lines.append([REPEAT_SOURCE, "", *cells, "", ""])
    return f"Mean over the seeds, with half the distance between the farthest two:\n\n{_markdown(lines)}"


def _differences(study: Study, by_row: Mapping[str, Sequence[Measured]]) -> str:
    """Return the differences from FOMM of the same seed with their intervals, and what becomes of each claim."""
    lines = [["against FOMM", "measure", "here", "95 % interval", "each seed", "published", "claim"]]
    for row, runs in by_row.items():
        if row == REFERENCE:
            continue
        for name, (title, _) in PAPER_MEASURES.items():
            change = paired_change(
                *({run.seed: run.clip_scores.get(name, {}) for run in r} for r in (runs, by_row[REFERENCE]))
            )
            claims = _claims(study, row, name)
            if change is None or not all(map(math.isfinite, (change.mean, change.low, change.high))):
                continue  # a rate that is zero for most clips has no relative change
            each = ", ".join(f"{value:+.1f}" for value in change.seeds)
            verdicts = {data_set: change.verdict(claimed) for data_set, claimed in claims.items()}
            same = len(set(verdicts.values())) == 1
            lines.append(
                [
                    _title(row),
                    title.removesuffix(" px"),
                    f"{change.mean:+.1f} %",
                    f"{change.low:+.1f} to {change.high:+.1f} %",
                    each,
                    ", ".join(f"{data_set} {claimed:+.1f} %" for data_set, claimed in claims.items()),
                    next(iter(verdicts.values())) if same else ", ".join(f"{k}: {v}" for k, v in verdicts.items()),
                ]
            )
    return (
        "Differences from FOMM of the same seed; intervals by a bootstrap over clips and seeds, drawn alike for both. "
        "A claim is confirmed, or refuted, if there are two seeds, the whole interval lies on one side of zero, and "
        f"the seeds differ by less than the difference:\n\n{_markdown(lines)}"
    )


def _claims(study: Study, row: str, name: str) -> dict[str, float]:
    """Return by how many per cent a row is said to differ from FOMM, by the name of the data set."""
    claims = {}
    for data_set, scores in study.paper.items():
        a, b = (getattr(scores[key], name, None) if key in scores else None for key in (row, REFERENCE))
        if a is not None and b and a != b:
            claims[data_set] = 100 * (a / b - 1)
    return claims


def _title(row: str) -> str:
    return f"{ROW_TITLES.get(row, row)} (`{row}`)"


def _with_spread(values: Iterable[float | None], decimals: int) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean, spread = sum(known) / len(known), (max(known) - min(known)) / 2
    return f"{mean:.{decimals}f}" + (f" ± {spread:.{decimals}f}" if len(known) > 1 else "")


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    head, *body = lines
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body))
