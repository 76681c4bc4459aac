"""One page to look at and to send to others: pictures side by side, scores, failures; plain HTML, in one file."""

from __future__ import annotations

import html
import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avatarify_plus.bundle import Bundle
from avatarify_plus.errors import DataError
from avatarify_plus.pictures.jpeg import jpeg_url
from avatarify_plus.program.whole_file import write_whole
from avatarify_plus.types import Image
from training.evaluation.closeups import CLOSEUP_TITLES
from training.evaluation.evaluation_result import FAILURE_MEASURES, EvaluationResult
from training.evaluation.figures import closeup_sheet, keypoint_figure, motion_figure, side_by_side
from training.evaluation.runner import Moment
from training.evaluation.training_history import history

PAGE = "report.html"
KEYPOINT_FIGURES = 4
JPEG_QUALITY = 90
STYLE = """
:root { color-scheme: light dark; --text: #222; --quiet: #5a5a5a; --line: #d8d8d8; --raised: #f4f4f4; --page: #fff }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e4e4; --quiet: #a8a8a8; --line: #3c3c3c; --raised: #222; --page: #161616 }
}
body { font: 16px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1560px; padding: 0 1em }
body { color: var(--text); background: var(--page) }
section { overflow-x: auto } table { border-collapse: collapse; margin: 1em 0 }
td, th { padding: .2em .8em; border-bottom: 1px solid var(--line) }
td { text-align: right; font-variant-numeric: tabular-nums } th { text-align: left; font-weight: 600 }
td.words { text-align: left }
img { max-width: 100%; display: block } figure { margin: 1em 0 2em }
figcaption, .legend, .about { color: var(--quiet); font-size: 90% }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--raised); padding: 1em }
@media print { :root { --text: #000; --page: #fff } figure { break-inside: avoid } }
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
    """Write the page, with its pictures in it, into a folder and return the page's path.

    names: the bundles', the measured one first, as they stand in the tables. Raises DataError if it cannot be written.
    """
    page = folder / PAGE
    sections = [
        ("Side by side", _side_by_side(result, names)),
        ("Close-ups", _closeups(result, names)),
        ("Scores", _scores(result)),
        ("Failure cases", _failures(result, names)),
        ("How the picture is made", _motion(result, bundles[0])),
        ("Keypoints", _keypoints(result)),
        ("How the model came about", _histories(bundles, names)),
        ("Per trial, worst first", _per_trial(result)),
        ("Skipped", _skipped(result)),
        ("To measure it again", _run(bundles, names, about)),
    ]
    title = f"{html.escape(bundles[0].manifest.name)}: {html.escape(result.kind)}"
    body = "\n".join(f"<section>\n<h2>{heading}</h2>\n{content}\n</section>" for heading, content in sections)
    lead = f"{result.count} trials, {about.engine}, {about.date}"
    text = (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
        f"<p class=about>{html.escape(lead)}</p>\n{body}\n</body>\n</html>\n"
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(page, text)
    except OSError as error:
        raise DataError(f"cannot write the report {page}: {error}") from error
    return page


def _figure(image: Image, caption: str) -> str:
    """Return a figure that holds its picture."""
    text = html.escape(caption)
    return (
        f'<figure><img src="{jpeg_url(image, quality=JPEG_QUALITY)}" alt="{text}" loading="lazy">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _scores(result: EvaluationResult) -> str:
    tables = [f"<h3>{html.escape(table.title)}</h3>\n{table.to_html()}" for table in result.tables()]
    return f"<p>Means over {result.count} trials.</p>\n" + "\n".join(tables)


def _histories(bundles: Sequence[Bundle], names: Sequence[str]) -> str:
    tables = [history(bundle.manifest.training) for bundle in bundles]
    return "\n".join(
        f"<h3>{html.escape(_called(name, bundle))}</h3>\n{table or '<p>Its manifest does not say.</p>'}"
        for name, bundle, table in zip(names, bundles, tables, strict=True)
    )


def _run(bundles: Sequence[Bundle], names: Sequence[str], about: About) -> str:
    lines = [about.command]
    for name, bundle in zip(names, bundles, strict=True):
        manifest = bundle.manifest
        lines += ["", f"{_called(name, bundle)}: {manifest.network.preset} ({manifest.network.size})"]
        lines += [f"  {file} SHA-256 {digest}" for file, digest in sorted(manifest.files.items())]
        lines.append(f"  revision {manifest.revision}")
    return f"<pre>{html.escape(chr(10).join(lines))}</pre>"


def _called(name: str, bundle: Bundle) -> str:
    """Return a bundle's name in the tables, and its own where that is another."""
    own = bundle.manifest.name
    return name if name == own else f"{name}: {own}"


def _side_by_side(result: EvaluationResult, names: Sequence[str]) -> str:
    note = "<p>Of each trial the frame in which the driver is farthest from where it started (Figures 11 and 12).</p>"
    return note + _joined(_figure(side_by_side(m, names), _caption(m)) for m in result.side_by_side())


def _closeups(result: EvaluationResult, names: Sequence[str]) -> str:
    parts = ["<p>The frames at which the driver is farthest from a face at rest, one of each trial.</p>"]
    for kind, title in CLOSEUP_TITLES.items():
        closeups = result.closeups.get(kind, [])
        caption = "; ".join(f"{c.trial}, frame {c.index}" for c in closeups)
        figures = [_figure(closeup_sheet(closeups, names), caption)] if closeups else []
        parts.append(f"<h3>{title}</h3>\n{_joined(figures)}")
    return "\n".join(parts)


def _keypoints(result: EvaluationResult) -> str:
    note = "<p>One colour per keypoint; the lines are the columns of its jacobian (Figure 13).</p>"
    moments = result.side_by_side()[:KEYPOINT_FIGURES]
    return note + _joined(_figure(keypoint_figure(m), _caption(m)) for m in moments)


def _motion(result: EvaluationResult, bundle: Bundle) -> str:
    if importlib.util.find_spec("torch") is None:
        return "<p>Needs torch: pip install -r requirements-train.txt</p>"
    from avatarify_plus.network.weights import read_model

    model = read_model(bundle.weights, bundle.config)
    note = (
        "<p>Warp only: the source moved by the deformation, nothing painted. Masks: the strongest at each place, in "
        "its keypoint's colour, background dark grey. Occlusion: white keeps what is warped, black is painted.</p>"
    )
    moments = result.side_by_side()[:KEYPOINT_FIGURES]
    return note + _joined(_figure(motion_figure(m, model), _caption(m)) for m in moments)


def _failures(result: EvaluationResult, names: Sequence[str]) -> str:
    parts = ["<p>The worst frames, each of another trial (Figure 14).</p>"]
    for measure, moments in result.failures.items():
        title = "distance to the photo's identity" if result.kind == "animation" else FAILURE_MEASURES[measure]
        parts.append(f"<h3>By {title}</h3>")
        parts.append(_joined(_figure(side_by_side(m, names), f"{_caption(m)}: {_errors(m)}") for m in moments))
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
