"""What a run of the bench found, and how it is printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from avatarify_plus.bench.machine import Machine
from avatarify_plus.bench.startup import Start
from avatarify_plus.session.timing import PICTURE_STAGES, Timing, TurnStage

PICTURE, TURN, LATENCY = "picture", "turn", "latency"
ROWS: dict[str, tuple[TurnStage, ...]] = {
    **{stage.name.lower(): (stage,) for stage in TurnStage},
    PICTURE: PICTURE_STAGES,
    TURN: tuple(TurnStage),
}
"""What is timed: the stages, then what they make together."""

EXPLANATIONS = {
    PICTURE: ", ".join(stage.name.lower() for stage in PICTURE_STAGES),
    TURN: "all six",
    LATENCY: "capture to sink, live",
}


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles of times in milliseconds."""

    p50: float
    p95: float
    p99: float

    @staticmethod
    def of(percentile: Callable[[float], float]) -> Percentiles:
        """Return those that a function gives, in ms, by its percentage."""
        return Percentiles(percentile(50), percentile(95), percentile(99))


@dataclass(frozen=True, slots=True)
class Speed:
    """At full speed. pictures_per_s: by PICTURE_STAGES alone; turns_per_s: by all stages. ms: by name in ROWS."""

    frame_count: int
    warm_up_count: int
    pictures_per_s: float
    turns_per_s: float
    ms: dict[str, Percentiles]

    @staticmethod
    def of(timing: Timing, warm_up_count: int) -> Speed:
        """Sum up the turns after the warm-up; there must be one."""

        def row(stages: tuple[TurnStage, ...]) -> Percentiles:
            return Percentiles.of(lambda percent: timing.stages_ms(percent, *stages))

        return Speed(
            frame_count=timing.frame_count,
            warm_up_count=warm_up_count,
            pictures_per_s=1000 / timing.mean_ms(*PICTURE_STAGES),
            turns_per_s=1000 / timing.mean_ms(*TurnStage),
            ms={name: row(stages) for name, stages in ROWS.items()},
        )


@dataclass(frozen=True, slots=True)
class Latency:
    """Live, newest frame wins: from capture to sent."""

    frame_count: int
    skipped_count: int
    rate_hz: float
    ms: Percentiles


@dataclass(frozen=True, slots=True)
class EngineResult:
    """What was measured of a contender. engine, precision, device: what really computed. None: not measured."""

    contender: str
    model: str
    engine: str
    precision: str
    device: str
    speed: Speed
    latency: Latency | None
    start: Start | None


@dataclass(frozen=True, slots=True)
class Absence:
    """A contender that does not work here, and why."""

    contender: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast the first contender makes pictures as another: by frames a second, by the medians."""

    first: str
    other: str
    pictures_per_s: float
    median: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a run found."""

    machine: Machine
    clip: str
    avatar: str
    results: list[EngineResult]
    absences: list[Absence]
    ratios: list[Ratio]


def ratios(results: Sequence[EngineResult]) -> list[Ratio]:
    """Compare the first result with each of the others."""
    first = results[0]
    return [
        Ratio(
            first.contender,
            other.contender,
            first.speed.pictures_per_s / other.speed.pictures_per_s,
            other.speed.ms[PICTURE].p50 / first.speed.ms[PICTURE].p50,
        )
        for other in results[1:]
    ]


def table(report: Report) -> str:
    """Return everything for people."""
    lines = [str(report.machine), f"{report.clip} drives {report.avatar}"]
    for result in report.results:
        lines += ["", *_stages(result)]
    lines += ["", *_overview(report.results)]
    for ratio in report.ratios:
        lines.append(
            f"{ratio.first} is {ratio.pictures_per_s:.2f} times as fast as {ratio.other} "
            f"(pictures/s; {ratio.median:.2f} by the medians)"
        )
    lines += [f"{absence.contender} does not work here: {absence.reason}" for absence in report.absences]
    return "\n".join(lines)


def _stages(result: EngineResult) -> Iterator[str]:
    """Yield where a contender's time goes."""
    speed, live = result.speed, result.latency
    yield f"{result.contender}: engine {result.engine}, model {result.model}, {result.precision}, {result.device}"
    yield f"  {'ms a frame':12}{'p50':>8}{'p95':>9}{'p99':>9}"
    for name, ms in (speed.ms | ({LATENCY: live.ms} if live else {})).items():
        yield f"  {name:11}{ms.p50:9.2f}{ms.p95:9.2f}{ms.p99:9.2f}  {EXPLANATIONS.get(name, '')}".rstrip()
    yield f"  {speed.frame_count} frames after {speed.warm_up_count} to warm up, {speed.turns_per_s:.1f} turns/s"
    if live:
        yield f"  live at {live.rate_hz:g} frames/s: {live.frame_count} frames, {live.skipped_count} skipped"


def _overview(results: Sequence[EngineResult]) -> Iterator[str]:
    """Yield one line per contender."""
    width = max(len(result.contender) for result in results) + 1
    titles = ("pictures/s", "p50 ms", "p95 ms", "latency p95 ms", "first picture s", "peak MB")
    yield " " * width + "".join(f"{title:>{len(title) + 2}}" for title in titles) + "  precision"
    for result in results:
        picture, live, start = result.speed.ms[PICTURE], result.latency, result.start
        values = (
            f"{result.speed.pictures_per_s:.1f}",
            f"{picture.p50:.1f}",
            f"{picture.p95:.1f}",
            f"{live.ms.p95:.1f}" if live else "-",
            f"{start.first_picture_s:.2f}" if start else "-",
            f"{start.peak_memory_mb:.0f}" if start else "-",
        )
        cells = "".join(f"{value:>{len(title) + 2}}" for title, value in zip(titles, values, strict=True))
        yield f"{result.contender:{width}}{cells}  {result.precision}"
