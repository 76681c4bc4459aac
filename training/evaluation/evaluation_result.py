"""What an evaluation found: scores of every trial, and the few moments worth looking at."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.evaluation.closeups import Closeup, most_extreme
from training.evaluation.expression_tracker import Expression, Sums, pooled
from training.evaluation.metrics import AnyScores, mean_scores, scores_to_dict
from training.evaluation.runner import Moment, Outcome, Skipped, TrialJob, TrialResult, severity
from training.evaluation.score_table import ScoreTable

FAILURES = 4
"""This many of the worst frames are kept per measure, each of another trial."""

REPEAT_SOURCE = "repeat the source"
"""The trivial animation that the others are compared with wherever there is a truth."""

FAILURE_MEASURES = {"akd_px": "AKD", "l1": "L1", "aed": "AED"}
"""What failures are picked by, with the name that the report gives it."""

TABLE_TITLES = {
    "self-reenactment": ("Reconstruction", "What people look at", "Mouth and eyes from near, sharpness, flicker"),
    "cross-identity": (
        "Cross-identity, against the truth",
        "What people look at",
        "Mouth and eyes from near, sharpness, flicker",
    ),
    "animation": ("Animation",),
}
"""The titles of the tables per kind of evaluation; those after the first are for faces only."""


class EvaluationResult:
    """Collect outcomes in any order. Only a fixed number of pictures is kept, so memory does not grow with the trials.

    kind: a key of TABLE_TITLES. performers: as they stand in `TrialResult.tables`.
    """

    def __init__(self, kind: str, performers: tuple[str, ...]) -> None:
        self.kind = kind
        self.performers = performers
        self.skipped: list[Skipped] = []
        self.moments: dict[int, Moment] = {}
        self.failures: dict[str, list[Moment]] = {}
        self.closeups: dict[str, list[Closeup]] = {}
        self._expressions: dict[int, tuple[Sums, ...]] = {}
        self._tables: dict[int, tuple[str, tuple[tuple[AnyScores, ...], ...]]] = {}

    def add(self, job: TrialJob, outcome: Outcome) -> None:
        """Take in what became of a job."""
        if isinstance(outcome, Skipped):
            self.skipped.append(outcome)
            return
        self._tables[job.index] = (outcome.trial.name, outcome.tables)
        if outcome.farthest is not None:
            self.moments[job.index] = outcome.farthest
        if outcome.expressions:
            self._expressions[job.index] = outcome.expressions
        self._keep_failures(outcome)
        for kind, closeup in outcome.closeups.items():
            self.closeups[kind] = most_extreme([*self.closeups.get(kind, []), closeup])

    def _keep_failures(self, result: TrialResult) -> None:
        for measure, moment in result.worst.items():
            known = [*self.failures.get(measure, []), moment]
            known.sort(key=lambda m: (-severity(m.errors, measure), m.trial))
            self.failures[measure] = known[:FAILURES]

    @property
    def count(self) -> int:
        """The number of scored trials."""
        return len(self._tables)

    def side_by_side(self) -> list[Moment]:
        """Return the moments of the trials that were to be shown, in the trials' order."""
        return [self.moments[index] for index in sorted(self.moments)]

    def tables(self) -> list[ScoreTable]:
        """Return the means over trials, one row per performer."""
        found = []
        for number, title in enumerate(self._titles):
            scores = [
                mean_scores([tables[number][place] for _, tables in self._in_order()])
                for place in range(len(self.performers))
            ]
            rows = list(zip(self.performers, scores, strict=True))
            found.append(ScoreTable(title, rows, compares_to_last=self.kind != "animation"))
        if self._expressions:
            found.append(ScoreTable("Expression that arrives, read by another tracker", self._expression_rows()))
        return found

    def _expression_rows(self) -> list[tuple[str, Expression]]:
        """Return slopes and correlations, pooled over trials, of each performer."""
        rows = []
        for place, name in enumerate(self.performers):
            slope, r = pooled([sums[place] for sums in self._expressions.values()])
            rows += [(f"{name}: slope", slope), (f"{name}: r", r)]
        return rows

    def trial_tables(self) -> list[ScoreTable]:
        """Return the model's scores per trial, the worst first: by AKD, else L1, or by the identity distance."""
        found = []
        for number, title in enumerate(self._titles):
            rows = [(name, tables[number][0]) for name, tables in self._in_order()]
            found.append(ScoreTable(title, [rows[place] for place in self._worst_first()]))
        return found

    def trial_scores(self, performer: str) -> dict[str, AnyScores]:
        """Return a performer's scores of the first table by the names of the trials."""
        place = self.performers.index(performer)
        return {name: tables[0][place] for name, tables in self._in_order()}

    @property
    def _titles(self) -> tuple[str, ...]:
        """The titles of the tables that were measured."""
        _, tables = self._in_order()[0]
        return TABLE_TITLES[self.kind][: len(tables)]

    def _worst_first(self) -> list[int]:
        measures = ("identity_distance",) if self.kind == "animation" else ("akd_px", "l1")
        scores = [tables[0][0] for _, tables in self._in_order()]
        keys = [[-np.nan_to_num(getattr(row, measure), nan=np.inf) for measure in measures] for row in scores]
        return sorted(range(len(keys)), key=keys.__getitem__)

    def _in_order(self) -> list[tuple[str, tuple[tuple[AnyScores, ...], ...]]]:
        return [self._tables[index] for index in sorted(self._tables)]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready scores: the model's ("ours"), the baseline's, other bundles', and the model's per trial."""
        has_baseline = self.kind != "animation"
        tables = [dict(table.rows) for table in self.tables()][: len(self._titles)]
        names = [name for name in self.performers[1:] if not has_baseline or name != self.performers[-1]]
        values: dict[str, Any] = {"kind": self.kind, "trials": self.count}
        for key, table in zip(("", "face", "detail"), tables, strict=False):
            part = {"ours": scores_to_dict(table[self.performers[0]])}
            if has_baseline:
                part["baseline"] = scores_to_dict(table[self.performers[-1]])
            if names:
                part["compared"] = {name: scores_to_dict(table[name]) for name in names}
            values |= {key: part} if key else part
        if self._expressions:
            values["expression"] = {name: scores_to_dict(row) for name, row in self._expression_rows()}
        values["skipped"] = {skipped.trial.name: skipped.reason for skipped in self.skipped}
        values["per_trial"] = {
            name: {key: value for scores in tables for key, value in scores_to_dict(scores[0]).items()}
            for name, tables in self._in_order()
        }
        return values
