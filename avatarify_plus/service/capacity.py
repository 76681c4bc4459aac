"""How many callers a process and a GPU hold, before either is bought: a rule, a plan, and a simulation.

All start from the turn time: how long a process that takes one turn after the other needs for one picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from avatarify_plus.errors import ConfigError

LOAD = 0.7
"""The part of the time that turns may fill. Beyond it, callers wait for each other, longer and longer."""

MAX_PICTURES_PER_S = 100.0
"""So many pictures a second one Python process receives and sends, however fast its turns are."""

JITTER = 0.1
"""The simulation's turns are by up to this part shorter or longer than their mean."""


class Plan(NamedTuple):
    """What many callers need. callers: of each process, at most. A machine without a GPU counts as one GPU."""

    gpus: int
    processes: int
    callers: int


class Outcome(NamedTuple):
    """What callers see of simulated turns. p50_ms, p95_ms: from a frame's arrival to the end of its turn.

    pictures_per_s: of each caller, their mean. left_out: the share of frames that a newer one replaced.
    """

    p50_ms: float
    p95_ms: float
    pictures_per_s: float
    left_out: float


def callers_per_gpu(fps: float, turn_ms: float) -> float:
    """Return how many callers may share what computes; turns are taken as if all of their time were its."""
    return LOAD * 1000 / (fps * turn_ms)


def callers_per_process(fps: float, turn_ms: float) -> float:
    """Return how many callers may share a process."""
    return min(callers_per_gpu(fps, turn_ms), MAX_PICTURES_PER_S / fps)


def plan(callers: int, fps: float, turn_ms: float) -> Plan:
    """Return the fewest GPUs that hold so many callers, and how many processes share them.

    Raises ConfigError if not even one caller is held.
    """
    per_gpu, per_process = int(callers_per_gpu(fps, turn_ms)), int(callers_per_process(fps, turn_ms))
    if per_process < 1:
        raise ConfigError(
            f"{fps:g} frames a second with turns of {turn_ms:g} ms are too much for a process of its own for each "
            f"caller: at most {callers_per_process(1, turn_ms):.1f} frames a second are held"
        )
    gpus = math.ceil(callers / per_gpu)
    share = math.ceil(callers / gpus)
    processes_per_gpu = math.ceil(share / per_process)
    return Plan(gpus, gpus * processes_per_gpu, math.ceil(share / processes_per_gpu))


def random_phases(callers: int, seed: int = 0) -> list[float]:
    """Return when each caller's frames come, in parts of the interval between two: [0, 1)."""
    return [float(phase) for phase in np.random.default_rng(seed).random(callers)]


def simulate(
    phases: Sequence[float], fps: float, turn_ms: float, seconds: float = 60.0, jitter: float = JITTER, seed: int = 0
) -> Outcome:
    """Let callers with these phases share one thread of turns, first come first served, the newest frame of each."""
    random = np.random.default_rng(seed)
    arrivals = sorted(
        ((number + phase) / fps, caller) for caller, phase in enumerate(phases) for number in range(int(seconds * fps))
    )
    waiting: dict[int, float] = {}  # in the order of turns: the arrival of each caller's newest frame
    latency_ms: list[float] = []
    free_s = 0.0
    for now_s, arriving in [*arrivals, (math.inf, -1)]:
        while waiting:
            caller, arrived_s = next(iter(waiting.items()))
            begun_s = max(free_s, arrived_s)
            if begun_s >= now_s:
                break
            del waiting[caller]
            free_s = begun_s + turn_ms / 1000 * (1 + jitter * random.uniform(-1, 1))
            latency_ms.append(1000 * (free_s - arrived_s))
        waiting[arriving] = now_s  # in place if one waits already
    p50_ms, p95_ms = np.percentile(latency_ms, (50, 95))
    share = len(latency_ms) / len(arrivals)
    return Outcome(float(p50_ms), float(p95_ms), share * fps, 1 - share)
