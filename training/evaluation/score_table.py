"""Tables of scores, as text and as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from training.evaluation.expression_tracker import Expression
from training.evaluation.metrics import MIN_OPEN_LIPS_PX, AnimationScores, AnyScores, DetailScores, FaceScores, Scores


class Column(NamedTuple):
    """A column of scores: its short title with the unit, and the number of decimals."""

    title: str
    decimals: int


COLUMNS: dict[type[AnyScores], tuple[Column, ...]] = {
    Scores: (Column("L1", 4), Column("PSNR dB", 2), Column("AKD px", 2), Column("MKR", 4), Column("AED", 3)),
    FaceScores: (
        Column("L1 face", 4),
        Column("L1 around", 4),
        Column("lips px", 2),
        Column("lids px", 2),
        Column("blink px", 2),
        Column("mouth r", 3),
        Column("eyes r", 3),
    ),
    DetailScores: (
        Column("L1 mouth", 4),
        Column("perc. mouth", 4),
        Column("L1 open", 4),
        Column("perc. open", 4),
        Column("lip gap", 3),
        Column("L1 eyes", 4),
        Column("perc. eyes", 4),
        Column("L1 closed", 4),
        Column("perc. closed", 4),
        Column("sharpness", 3),
        Column("flicker", 2),
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
    Expression: tuple(Column(name.replace("_", " "), 2) for name in Expression._fields),
}
"""The columns of each kind of scores, in the order of its fields."""

LEGENDS: dict[type[AnyScores], str] = {
    Expression: "slope: how much of what the driver does is seen in the pictures (1: all of it), by least squares over "
    "all frames after the means of each pair are taken off; r: its correlation. Read off drivers and pictures by a "
    "tracker that moves no avatar.",
    Scores: "L1 and PSNR of the pictures; AKD over the 468-point face mesh, or a body's 17 landmarks, in px of 256; "
    "MKR: share of faces, or of a body's landmarks, lost; AED: distance of faces' identity descriptors.",
    FaceScores: "L1 inside and outside the face; mean distance of the rims of lips and of lids in px of 256, lids "
    "also where the truth's eyes are closed (blink); correlation (r) of mouth and eye opening with the truth over a "
    "clip.",
    DetailScores: "L1 and perceptual distance (of a network's features, as a share of their magnitude) in squares "
    "around mouth and eyes; open: the mouth's square where the truth's lips are more than "
    f"{MIN_OPEN_LIPS_PX:g} px of 256 apart; closed: the eyes' where the truth's eyes are closed; lip gap: median gap "
    "between the lips over the truth's where its mouth is open (1 is right); sharpness: gradients in the face over "
    "those in the source's (1 is as sharp); flicker: how much more the face changes between scored frames than the "
    "truth does, in levels of 255 (with --stride 1; with larger strides motion hides it).",
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
        widths = [max(10, *(len(cell) + 2 for cell in column)) for column in list(zip(*cells, strict=True))[1:]]
        return "\n".join(
            f"{line[0]:{width}}" + "".join(f"{cell:>{w}}" for cell, w in zip(line[1:], widths, strict=True))
            for line in cells
        )

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
