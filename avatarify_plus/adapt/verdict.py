"""Whether an adapted model is better than the one it was made from: by clips that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

SLACK = 0.02
"""So much less than before may a correlation with the driver be; it trembles by that."""

OTHERS_SLACK = 0.03
"""Other people's pictures may differ that much more from the truth than with the shipped model, as a share."""


class Measure(NamedTuple):
    """One thing that is measured. path: where it stands in evaluate.py's JSON, the model's name left out.

    is_error: whether less is better; otherwise it is a correlation, of which more is.
    """

    name: str
    path: tuple[str, str] | tuple[str]
    is_error: bool = True


MEASURES = (
    Measure("picture", ("l1",)),
    Measure("mouth", ("detail", "mouth_l1")),
    Measure("eyes", ("detail", "eye_l1")),
    Measure("landmarks", ("akd_px",)),
    Measure("identity", ("aed",)),
    Measure("mouth follows", ("face", "mouth_correlation"), is_error=False),
    Measure("eyes follow", ("face", "eye_correlation"), is_error=False),
)
"""What is compared; the first two must have become better, and of the rest nothing worse."""

MUST_GAIN = 2

ROUNDING = 0.01
"""Errors that grow by less, as a share, count as the same."""


class Comparison(NamedTuple):
    """One measure before and after; NaN where it could not be taken."""

    name: str
    before: float
    after: float
    is_error: bool

    @property
    def change(self) -> float:
        """The relative change of an error, or the difference of a correlation."""
        return self.after / self.before - 1 if self.is_error else self.after - self.before

    @property
    def is_known(self) -> bool:
        """Whether it could be taken of both."""
        return self.before == self.before and self.after == self.after and (self.before > 0 or not self.is_error)

    @property
    def is_worse(self) -> bool:
        """Whether it became worse by more than measuring trembles."""
        return self.is_known and (self.change > ROUNDING if self.is_error else self.change < -SLACK)


class Verdict(NamedTuple):
    """What comparing found. reasons: why the adapted model is not kept, by what is to blame; nothing if it is."""

    comparisons: tuple[Comparison, ...]
    reasons: Mapping[Comparison, str]

    @property
    def is_better(self) -> bool:
        """Whether the adapted model is to be kept."""
        return not self.reasons

    @property
    def why_not(self) -> str:
        """All reasons in one line."""
        return "; ".join(self.reasons.values())


def compare(scores: Mapping[str, Any]) -> tuple[Comparison, ...]:
    """Return what evaluate.py's JSON says of a model and of the one that it was compared with."""

    def values(part: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        compared = part.get("compared", {})
        return next(iter(compared.values()), {}), part.get("ours", {})

    found = []
    for measure in MEASURES:
        part = scores if len(measure.path) == 1 else scores.get(measure.path[0], {})
        before, after = (each.get(measure.path[-1]) for each in values(part))
        found.append(Comparison(measure.name, _number(before), _number(after), measure.is_error))
    return tuple(found)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def judge(comparisons: tuple[Comparison, ...]) -> Verdict:
    """Return whether a model is better than the one before it."""
    reasons = {}
    for place, found in enumerate(comparisons):
        if place < MUST_GAIN and not (found.is_known and found.change < 0):
            reasons[found] = f"{found.name} not better ({describe(found)})"
        elif found.is_worse:
            reasons[found] = f"{found.name} worse ({describe(found)})"
    return Verdict(comparisons, reasons)


def describe(found: Comparison) -> str:
    """Return a measure before and after for people."""
    if not found.is_known:
        return "not measured"
    change = f"{100 * found.change:+.0f} %" if found.is_error else f"{found.change:+.2f}"
    return f"{found.before:.4g} -> {found.after:.4g}, {change}"


def harm_to_others(comparisons: tuple[Comparison, ...]) -> float:
    """Return by how much the worse of picture, mouth and eyes of another person differs more, as a share."""
    return max((found.change for found in comparisons[:3] if found.is_known), default=0.0)
