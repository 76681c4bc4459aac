"""One page to look at: tables, pictures side by side, keypoints, motion and failures; plain HTML."""

from __future__ import annotations

import html
import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avatarify_plus.bundle import Bundle
from avatarify_plus.errors import DataError
from avatarify_plus.program.whole_file import write_whole
from avatarify_plus.types import Image
from training.contact_sheet import write_picture
from training.evaluation.closeups import CLOSEUP_TITLES
from training.evaluation.evaluation_result import FAILURE_MEASURES, EvaluationResult
from training.evaluation.figures import closeup_sheet, keypoint_figure, motion_figure, side_by_side
from training.evaluation.runner import Moment

PAGE = "report.html"
PICTURES = "pictures"
KEYPOINT_FIGURES = 4
STYLE = """
body { font: 16px/1.5 sans-serif; margin: 2em auto; max-width: 1560px; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .2em .8em; border-bottom: 1px solid #ddd }
td { text-align: right; font-variant-numeric: tabular-nums } th { text-align: left; font-weight: 600 }
img { max-width: 100%; display: block } figure { margin: 1em 0 2em } figcaption, .legend { color: #555; font-size: 90% }
pre { white-space: pre-wrap; background: #f4f4f4; padding: 1em }
"""


@dataclass(frozen=True, slots=True)
class About:
    """What is needed, besides the bundle, to measure the same numbers again."""

    command: str
    date: str
    engine: str


def write_report(
    folder: Path, result: EvaluationResult, bundles: Sequence[Bundle], names: Sequence[str], about: About
) -> Path:
    """Write the page and its pictures into a folder and return the page's path.

    names: the bundles', the measured one first, as they stand in the tables. Raises DataError if it cannot be written.
    """
    page = folder / PAGE
    draw = _Gallery(folder)
    sections = [
        ("Scores", _scores(result)),
        ("Run", _run(result, bundles, names, about)),
        ("Side by side", _side_by_side(result, names, draw)),
        ("Close-ups", _closeups(result, names, draw)),
        ("Keypoints", _keypoints(result, draw)),
        ("How the picture is made", _motion(result, bundles[0], draw)),
        ("Failure cases", _failures(result, names, draw)),
        ("Per trial, worst first", _per_trial(result)),
        ("Skipped", _skipped(result)),
    ]
    title = f"{html.escape(bundles[0].manifest.name)}: {html.escape(result.kind)}"
    body = "\n".join(f"<h2>{heading}</h2>\n{content}" for heading, content in sections)
    text = (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(page, text)
    except OSError as error:
        raise DataError(f"cannot write the report {page}: {error}") from error
    return page


class _Gallery:
    """Writes numbered pictures and returns the figures that show them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def __call__(self, image: Image, caption: str) -> str:
        self._count += 1
        name = f"{PICTURES}/{self._count:03d}.jpg"
        write_picture(self._folder / name, image)
        text = html.escape(caption)
        return f'<figure><img src="{name}" alt="{text}" loading="lazy"><figcaption>{text}</figcaption></figure>'


def _scores(result: EvaluationResult) -> str:
    tables = [f"<h3>{html.escape(table.title)}</h3>\n{table.to_html()}" for table in result.tables()]
    return f"<p>Means over {result.count} trials.</p>\n" + "\n".join(tables)


def _run(result: EvaluationResult, bundles: Sequence[Bundle], names: Sequence[str], about: About) -> str:
    lines = [f"date: {about.date}", f"command: {about.command}", f"engine: {about.engine}"]
    for name, bundle in zip(names, bundles, strict=True):
        manifest = bundle.manifest
        lines += [
            "",
            f"{name}: {manifest.name}, {manifest.network.preset} ({manifest.network.size}) in {bundle.folder}",
        ]
        lines += [f"  {file} SHA-256 {digest}" for file, digest in sorted(manifest.files.items())]
        lines += [f"  training {key}: {value}" for key, value in manifest.training.items()]
        lines.append(f"  revision {manifest.revision}")
    return f"<pre>{html.escape(chr(10).join(lines))}</pre>"


def _side_by_side(result: EvaluationResult, names: Sequence[str], draw: _Gallery) -> str:
    note = "<p>Of each trial the frame in which the driver is farthest from where it started (Figures 11 and 12).</p>"
    return note + _joined(draw(side_by_side(m, names), _caption(m)) for m in result.side_by_side())


def _closeups(result: EvaluationResult, names: Sequence[str], draw: _Gallery) -> str:
    parts = ["<p>The frames at which the driver is farthest from a face at rest, one of each trial.</p>"]
    for kind, title in CLOSEUP_TITLES.items():
        closeups = result.closeups.get(kind, [])
        caption = "; ".join(f"{c.trial}, frame {c.index}" for c in closeups)
        figures = [draw(closeup_sheet(closeups, names), caption)] if closeups else []
        parts.append(f"<h3>{title}</h3>\n{_joined(figures)}")
    return "\n".join(parts)


def _keypoints(result: EvaluationResult, draw: _Gallery) -> str:
    note = "<p>One colour per keypoint; the lines are the columns of its jacobian (Figure 13).</p>"
    moments = result.side_by_side()[:KEYPOINT_FIGURES]
    return note + _joined(draw(keypoint_figure(m), _caption(m)) for m in moments)


def _motion(result: EvaluationResult, bundle: Bundle, draw: _Gallery) -> str:
    if importlib.util.find_spec("torch") is None:
        return "<p>Needs torch: pip install -r requirements-train.txt</p>"
    from avatarify_plus.network.weights import read_model

    model = read_model(bundle.weights, bundle.config)
    note = (
        "<p>Warp only: the source moved by the deformation, nothing painted. Masks: the strongest at each place, in "
        "its keypoint's colour, background dark grey. Occlusion: white keeps what is warped, black is painted.</p>"
    )
    moments = result.side_by_side()[:KEYPOINT_FIGURES]
    return note + _joined(draw(motion_figure(m, model), _caption(m)) for m in moments)


def _failures(result: EvaluationResult, names: Sequence[str], draw: _Gallery) -> str:
    parts = ["<p>The worst frames, each of another trial (Figure 14).</p>"]
    for measure, moments in result.failures.items():
        title = "distance to the photo's identity" if result.kind == "animation" else FAILURE_MEASURES[measure]
        parts.append(f"<h3>By {title}</h3>")
        parts.append(_joined(draw(side_by_side(m, names), f"{_caption(m)}: {_errors(m)}") for m in moments))
    return "\n".join(parts)


def _per_trial(result: EvaluationResult) -> str:
    return "\n".join(f"<h3>{html.escape(table.title)}</h3>\n{table.to_html()}" for table in result.trial_tables())


def _skipped(result: EvaluationResult) -> str:
    if not result.skipped:
        return "<p>None.</p>"
    lines = [f"<li>{html.escape(s.trial.name)}: {html.escape(s.reason)}</li>" for s in result.skipped]
    return f"<p>{len(lines)} of {len(lines) + result.count} trials:</p>\n<ul>\n{chr(10).join(lines)}\n</ul>"


def _joined(figures: Iterable[str]) -> str:
    return "\n".join(figures) or "<p>None.</p>"


def _caption(moment: Moment) -> str:
    return f"{moment.trial}, frame {moment.index}"


def _errors(moment: Moment) -> str:
    """Return a frame's own errors; what was not measured is left out."""
    if moment.errors.mkr == 1:
        return "the prediction shows no face, or no body"
    values = [
        f"{title} {value:.{decimals}f}"
        for title, value, decimals in (
            ("L1", moment.errors.l1, 4),
            ("AKD px", moment.errors.akd_px, 2),
            ("AED" if moment.truth is not None else "identity distance", moment.errors.aed, 3),
        )
        if value == value  # not NaN
    ]
    return ", ".join(values)
