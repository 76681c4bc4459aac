"""What a run leaves to look at: metrics.csv, loss.png, sheets, TensorBoard. Only the first rank keeps it."""

from __future__ import annotations

import contextlib
import csv
import logging
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from avatarify_plus.errors import DataError
from avatarify_plus.program.whole_file import replaced
from avatarify_plus.types import Image
from training.contact_sheet import write_picture

if TYPE_CHECKING:
    from training.loop.event_file import EventFile

logger = logging.getLogger("training")

NOT_LOSSES = ("step", "samples", "elapsed_s", "rate", "samples_per_s")
"""The columns of metrics.csv that are not losses."""

NEEDED = ("step", "samples", "elapsed_s")
"""The columns that a row must have for the next ones to follow."""

TENSORBOARD_STEPS = 20
"""TensorBoard gets the mean losses of this many steps at a time."""


class Logbook:
    """Average the losses of every step; write a row of them when asked, and to TensorBoard every 20 steps.

    A context manager, which closes it. step: where the run goes on. Later rows are dropped, since they are about to
    come again.
    """

    def __init__(self, out: Path, step: int) -> None:
        self._out = out
        self._rows = [row for row in _read_rows(out / "metrics.csv") if row["step"] <= step]
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._recent: dict[str, list[float]] = {}
        self._events = _begun_events(out, step)

    def __enter__(self) -> Logbook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, step: int, losses: dict[str, float]) -> None:
        """Take in one step's losses."""
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
            self._recent.setdefault(name, []).append(value)
        if step % TENSORBOARD_STEPS == 0:
            with _failing_softly(self._out):
                for name, values in self._recent.items():
                    if self._events is not None:
                        self._events.add_scalar(f"loss/{name}", sum(values) / len(values), step)
            self._recent = {}

    def write(self, step: int, samples: int, elapsed_s: float, rate: float, validation: dict[str, float]) -> None:
        """Write a row: the mean losses since the last row, the speed and the validation; nothing without a step."""
        if not self._sums:
            return
        last = self._rows[-1] if self._rows else {"samples": 0, "elapsed_s": 0.0}
        speed = (samples - last["samples"]) / max(elapsed_s - last["elapsed_s"], 1e-9)
        row: dict[str, Any] = {"step": step, "samples": samples, "elapsed_s": round(elapsed_s, 1), "rate": rate}
        row["samples_per_s"] = round(speed, 2)
        row |= {name: value / self._counts[name] for name, value in self._sums.items()} | validation
        self._sums, self._counts = {}, {}
        self._rows.append(row)
        with _failing_softly(self._out):
            _write_rows(self._out / "metrics.csv", self._rows)
            if self._events is not None:
                for name, value in {"rate": rate, "samples/s": speed, **validation}.items():
                    self._events.add_scalar(f"run/{name}", value, step)
                self._events.flush()

    def draw(self, step: int, sheet: Image | None) -> None:
        """Draw the loss curves, and write a contact sheet."""
        with _failing_softly(self._out):
            if self._rows:
                _write_loss_curve(self._out / "loss.png", self._rows)
            if sheet is not None:
                write_picture(self._out / f"sheet-{step:07d}.png", sheet)
            if sheet is not None and self._events is not None:
                self._events.add_picture("sheet", sheet, step)

    def close(self) -> None:
        """Finish the TensorBoard log."""
        with _failing_softly(self._out):
            if self._events is not None:
                self._events.close()


@contextlib.contextmanager
def _failing_softly(out: Path) -> Iterator[None]:
    """Let no log end a run: a full disk is logged and training goes on."""
    try:
        yield
    except (OSError, DataError) as error:
        logger.warning("cannot write the logs in %s: %s", out, error)


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Replace the file in one step, so that a full disk costs only the newest row."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with replaced(path) as draft, open(draft, "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a log, none if there is no file; one that is damaged is kept aside, and a new one begins."""
    if not path.exists():
        return []
    try:
        with open(path, newline="") as file:
            rows = [{name: _number(value) for name, value in row.items()} for row in csv.DictReader(file)]
        if any(not isinstance(row.get(name), (int, float)) for row in rows for name in NEEDED):
            raise ValueError("a row lacks a number")
    except (ValueError, TypeError, csv.Error):
        aside = path.with_name(f"{path.stem}.damaged{path.suffix}")
        path.replace(aside)
        logger.warning("%s is damaged: it is kept as %s, and a new one begins", path, aside.name)
        return []
    return rows


def _number(text: str) -> int | float | None:
    try:
        return int(text)
    except ValueError:
        return float(text) if text else None


def _begun_events(out: Path, step: int) -> EventFile | None:
    """Return a file for TensorBoard that goes on after `step`; without TensorBoard log that and return None."""
    try:
        from training.loop.event_file import EventFile
    except ImportError:
        logger.info("no TensorBoard log: tensorboard is not installed (pip install tensorboard)")
        return None
    with _failing_softly(out):
        return EventFile(out / "tensorboard", step + 1)
    return None


def _write_loss_curve(path: Path, rows: list[dict[str, Any]]) -> None:
    """Plot the losses over samples."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    names = dict.fromkeys(name for row in rows for name in row if name not in NOT_LOSSES)
    for name in names:
        points = [(r["samples"], float(r[name])) for r in rows if r.get(name) not in (None, "")]
        axes.plot([x for x, _ in points], [y for _, y in points], label=name)
    axes.set(xlabel="samples", ylabel="weighted loss", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")  # the default typesets by TeX's rules, which takes a second
    axes.yaxis.set_minor_formatter("")
    if names:
        axes.legend()
    with replaced(path) as draft:
        figure.savefig(draft, dpi=100, format="png")
    pyplot.close(figure)
