"""How fast the app will be here: its own loop, run for MEASURE_S."""

from __future__ import annotations

import threading
from fractions import Fraction

from avatarify_plus.bench.full_speed import FullSpeedLoop, NullSink
from avatarify_plus.bench.machine import this_machine
from avatarify_plus.bench.report import PICTURE, Speed
from avatarify_plus.camera import FileSource, LoopedClip
from avatarify_plus.config import AppConfig
from avatarify_plus.doctor.finding import FAILED, OK, WARNING, Finding, Wanted
from avatarify_plus.doctor.model import open_wanted
from avatarify_plus.engines import choose_engine
from avatarify_plus.program.examples import example
from avatarify_plus.session.session import open_session
from avatarify_plus.sinks import Outputs

CLIP_RATE = Fraction(30)
WARM_UP_COUNT = 10
MEASURE_S = 1.5
"""About forty pictures where the app is fast enough."""

FLUENT_APP_HZ = 25.0
"""The rate from which on the avatar moves fluently."""

MIN_HZ = 10.0
"""Below this rate, people see a slide show."""


def speed(wanted: Wanted) -> Finding:
    """Estimate the frames a second."""
    clip = str(example("driver.mp4"))
    config = AppConfig(avatar=(example("avatar_2.jpg"),), camera=clip)
    with choose_engine(open_wanted(wanted)).engine as engine, Outputs() as outputs:
        outputs.add(NullSink())
        with (
            FileSource(LoopedClip(clip, CLIP_RATE)) as file_source,
            open_session(config, engine, outputs, is_live=True) as session,
        ):
            loop = FullSpeedLoop(session, file_source.frames(threading.Event()))
            loop.warm_up(WARM_UP_COUNT)
            loop.advance(MEASURE_S)
            measured = Speed.of(session.timing, WARM_UP_COUNT)
        machine = this_machine()
        return judge_speed(measured, f"{engine.name} {engine.precision}", machine.load, machine.cores)


def judge_speed(measured: Speed, engine: str, load: float | None, cores: int) -> Finding:
    """Say whether that is enough for a call.

    load: the load average over the last minute, None if it is not known.
    """
    rate_hz, p95_ms = measured.pictures_per_s, measured.ms[PICTURE].p95
    message = (
        f"about {rate_hz:.0f} frames a second, 95 % within {p95_ms:.0f} ms "
        f"({measured.frame_count} frames, {engine}, {cores} cores)"
    )
    if rate_hz >= FLUENT_APP_HZ:
        return Finding("speed", OK, message)
    steps = ["plug in the charger and choose full performance in the power settings"]
    if load is not None and load > cores / 2:
        steps.insert(0, f"close other programs: {load:.1f} at once want the {cores} cores")
    if not engine.startswith("openvino"):
        steps.append("choose the fastest engine, see 'engines' and 'gpu engine' above")
    steps.append(f"for an even pace: --fps-limit {max(1, int(0.8 * rate_hz))}")
    return Finding("speed", WARNING if rate_hz >= MIN_HZ else FAILED, message, "; ".join(steps))


CHECKS = (speed,)
