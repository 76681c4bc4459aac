"""What a bundle's manifest says of its training, as a table of one run after the other."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

COLUMNS = {
    "stages": "stages",
    "minutes": "minutes",
    "peak_rate": "peak rate",
    "samples": "pairs",
}
"""What is told of each run: the record's key, and the column's title."""

LAST_RUN = {"loss_weights": "weights of losses", "perceptual": "perceptual network", "seed": "seed"}
"""What is told of the last run only, below the table."""

START = "started_from"


def runs_of(training: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the records of a training and of those that it started from, the first one first.

    Each but the last has the samples that its successor took over.
    """
    runs = [training]
    while isinstance(start := runs[0].get(START), Mapping):
        record = start.get("training")
        taken = {"samples": start["samples"]} if "samples" in start else {}
        runs.insert(0, {**(record if isinstance(record, Mapping) else {}), **taken})
    return runs


def history(training: Mapping[str, Any]) -> str:
    """Return the table, and what the last run was trained on, as HTML; "" if the record says nothing of that kind.

    training: `Manifest.training`, which may hold anything.
    """
    runs = [run for run in runs_of(training) if any(name in run for name in COLUMNS)]
    if not runs:
        return ""
    head = "".join(f"<th>{title}</th>" for title in ("run", *COLUMNS.values()))
    lines = [
        f"<tr><th>{number}</th>" + "".join(_cell(run.get(name)) for name in COLUMNS) + "</tr>"
        for number, run in enumerate(runs, 1)
    ]
    said = {title: training[name] for name, title in LAST_RUN.items() if training.get(name) not in (None, [], "")}
    others = {name: value for name, value in training.items() if isinstance(value, Mapping) and name != START}
    notes = [f"{title}: {_words(value)}" for title, value in (said | others).items()]
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f"<table>\n<tr>{head}</tr>\n{chr(10).join(lines)}\n</table>\n<ul class=legend>{items}</ul>"


def _cell(value: object) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"<td>{value:,.0f}</td>" if abs(value) >= 1 else f"<td>{value:g}</td>"
    return f"<td class=words>{html.escape(_words(value)) if value is not None else '-'}</td>"


def _words(value: object) -> str:
    """Return a value of JSON as words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return str(value)
