"""Tables of scores, as text and as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from training.evaluation.metrics import AnimationScores, AnyScores, FaceScores, Scores


class Column(NamedTuple):
    """A column of scores: its short title with the unit, and the number of decimals."""

    title: str
    decimals: int


COLUMNS: dict[type[AnyScores], tuple[Column, ...]] = {
    Scores: (Column("L1", 4), Column("PSNR dB", 2), Column("AKD px", 2), Column("MKR", 4), Column("AED", 3)),
    FaceScores: (
        Column("L1 face", 4),
        Column("L1 around", 4),
        Column("mouth px", 2),
        Column("eyes px", 2),
        Column("blink px", 2),
        Column("mouth r", 3),
        Column("eyes r", 3),
    ),
    AnimationScores: (
        Column("identity", 3),
        Column("same", 3),
        Column("no face", 4),
        Column("yaw r", 3),
        Column("pitch r", 3),
        Column("roll r", 3),
        Column("mouth r", 3),
        Column("eyes r", 3),
        Column("jitter", 2),
    ),
}
"""The columns of each kind of scores, in the order of its fields."""

LEGENDS: dict[type[AnyScores], str] = {
    Scores: "L1 and PSNR of the pictures; AKD over the 468-point face mesh, or a body's 17 landmarks, in px of 256; "
    "MKR: share of faces, or of a body's landmarks, lost; AED: distance of faces' identity descriptors.",
    FaceScores: "L1 inside and outside the face; distances of lip and eyelid points in px of 256, eyelids also where "
    "the truth's eyes are closed; correlation (r) of mouth and eye opening with the truth over a clip.",
    AnimationScores: "identity: distance of the picture's descriptor to the photo's; same: share below 0.6, one person "
    "to dlib; no face: share of faces lost; r: correlation with the driver over a clip; jitter: second difference of "
    "the landmarks over the driver's (with --stride 1; with larger strides it is mostly motion).",
}


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """One kind of scores for several performers or trials.

    compares_to_last: whether to add a line with the first row's difference from the last in per cent.
    """

    title: str
    rows: Sequence[tuple[str, AnyScores]]
    compares_to_last: bool = False

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of this kind of scores."""
        return COLUMNS[type(self.rows[0][1])]

    @property
    def legend(self) -> str:
        """What the columns mean."""
        return LEGENDS[type(self.rows[0][1])]

    def cells(self) -> list[list[str]]:
        """Return header and rows as text; a dash where nothing was measured."""
        header = ["", *(column.title for column in self.columns)]
        lines = [
            [name, *(_number(v, c.decimals) for v, c in zip(scores, self.columns, strict=True))]
            for name, scores in self.rows
        ]
        if self.compares_to_last and len(self.rows) > 1:
            first, last = self.rows[0][1], self.rows[-1][1]
            lines.append(["difference", *(_change(a, b) for a, b in zip(first, last, strict=True))])
        return [header, *lines]

    def to_text(self) -> str:
        """Return the table for a terminal."""
        cells = self.cells()
        width = max(22, *(len(line[0]) + 2 for line in cells))
        return "\n".join(f"{line[0]:{width}}" + "".join(f"{cell:>10}" for cell in line[1:]) for line in cells)

    def to_html(self) -> str:
        """Return the table for a page."""
        head, *body = [[html.escape(cell) for cell in line] for line in self.cells()]
        lines = ["<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
        lines += [f"<tr><th>{line[0]}</th>" + "".join(f"<td>{c}</td>" for c in line[1:]) + "</tr>" for line in body]
        return f"<table>\n{chr(10).join(lines)}\n</table>\n<p class=legend>{html.escape(self.legend)}</p>"


def _number(value: float, decimals: int) -> str:
    return "-" if np.isnan(value) else f"{value:.{decimals}f}"


def _change(value: float, reference: float) -> str:
    if not np.isfinite(value) or not np.isfinite(reference) or reference <= 0:
        return ""
    return f"{100 * (value - reference) / reference:+.1f}%"
