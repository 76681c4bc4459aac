"""Measure how many callers a service holds: fake callers show it a clip as their webcam, more of them in each stage.

The service, `avatarify serve`, runs in a process of its own, and so do the callers: where both are on one machine, they
take cores from each other. Beside each stage stands what a simulation makes of its turn time. --plan computes instead
how many GPUs and processes callers need. What follows `--` are options of `avatarify serve`.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import math
import os
import re
import secrets
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from avatarify_plus.bench.fake_callers import Work, calling, result_of
from avatarify_plus.bench.machine import this_machine
from avatarify_plus.errors import RemoteError
from avatarify_plus.program.checkout import child_environment, module_command
from avatarify_plus.program.command_line import (
    ProgramParser,
    add_json_option,
    configure_logging,
    print_report,
    require_json_file,
    run_program,
)
from avatarify_plus.program.examples import example
from avatarify_plus.program.memory import memory_mb
from avatarify_plus.program.option_fields import positive
from avatarify_plus.remote.link import LOOPBACK, OPEN_S, TOKEN, socket_address
from avatarify_plus.service.capacity import Outcome, callers_per_process, plan, random_phases, simulate

MAX_CALLERS = 16
WARM_UP_S, END_S = 2.0, 15.0
"""So long callers call before it counts, and so long a service may take to end."""

ADDRESS = re.compile(r"callers at (https?://[^/\s]+)")
FIGURE = re.compile(r"^avatarify_(\w+) (\S+)$", re.MULTILINE)

NOBODY = -1
TITLES = (
    *("callers", "pictures/s min/med/max", "p50 ms", "p95 ms", "left out %", "turn ms", "service cores"),
    *("callers' cores", "service MB", "model pictures/s", "model p95 ms", "model left out %"),
)


class Server(NamedTuple):
    """A service that runs. process_id: NOBODY if it is somebody else's."""

    address: str
    token: str
    process_id: int

    def figures(self) -> dict[str, float]:
        """Return its figures, such as turns_total. Raises RemoteError."""
        request = urllib.request.Request(f"{self.address}/metrics", headers={"Authorization": f"Bearer {self.token}"})
        is_local = urllib.parse.urlsplit(self.address).hostname in LOOPBACK
        proxies = urllib.request.ProxyHandler({} if is_local else None)
        try:
            with urllib.request.build_opener(proxies).open(request, timeout=OPEN_S) as response:
                return read_figures(response.read().decode())
        except (OSError, ValueError) as error:
            raise RemoteError(f"{self.address} does not show its figures: {error}") from error

    def knock(self) -> tuple[int, str]:
        """Return with which code and reason it closes when one more comes; (0, "") if it lets us in."""
        proxy: Any = None if urllib.parse.urlsplit(self.address).hostname in LOOPBACK else True
        with connect(socket_address(self.address), proxy=proxy, open_timeout=OPEN_S) as socket:
            try:
                socket.send(json.dumps({"token": self.token}))
                socket.recv(OPEN_S)
            except ConnectionClosed as closed:
                return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (1006, "")
        return 0, ""


class Refusal(NamedTuple):
    """How one more caller was refused, and how many pictures a second the slowest of the others got from then on."""

    code: int
    reason: str
    slowest_after: float


@dataclass(frozen=True, slots=True)
class Stage:
    """So many callers at a time. What is not known is not a number.

    pictures_per_s: of each caller. p50_ms, p95_ms: from when a frame was due until its picture came. left_out: the
    share of frames that none came of. model: what the simulation makes of the turn time; way_ms: the rest, on the way.
    """

    pictures_per_s: list[float]
    p50_ms: float
    p95_ms: float
    left_out: float
    turn_ms: float
    service_cores: float
    callers_cores: float
    service_mb: float
    model: Outcome
    way_ms: float
    refusal: Refusal | None

    @property
    def cells(self) -> tuple[str, ...]:
        """The stage's line, see TITLES."""
        speeds, model = [f"{pick(self.pictures_per_s):.1f}" for pick in (min, np.median, max)], self.model
        values = (
            *((self.p50_ms, 0), (self.p95_ms, 0), (100 * self.left_out, 1), (self.turn_ms, 1)),
            *((self.service_cores, 2), (self.callers_cores, 2), (self.service_mb, 0)),
            *((model.pictures_per_s, 1), (model.p95_ms + self.way_ms, 0), (100 * model.left_out, 1)),
        )
        cells = ["-" if math.isnan(value) else f"{value:.{digits}f}" for value, digits in values]
        return str(len(self.pictures_per_s)), "/".join(speeds), *cells

    @property
    def values(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        named = asdict(self) | {"model": self.model._asdict(), "refusal": self.refusal and self.refusal._asdict()}
        return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in named.items()}


def measure(server: Server, callers: int, options: argparse.Namespace, way_ms: float | None = None) -> Stage:
    """Let callers call, and predict what they see. way_ms: an earlier stage's. Raises AvatarifyError."""
    phases, seconds, pid = random_phases(callers, options.seed), options.seconds, server.process_id
    with calling(Work(server.address, server.token, options.clip, options.fps, seconds, phases)) as pipes:
        time.sleep(WARM_UP_S)
        before, begun_s, begun_cpu_s = server.figures(), time.perf_counter(), cpu_s(pid)
        for pipe in pipes:
            pipe.send("begin")
        time.sleep(seconds / 2)
        answer = None if server.figures().get("free_places") else server.knock()
        knocked_s = time.perf_counter() - begun_s
        time.sleep(max(seconds - knocked_s, 0))
        after, service_mb = server.figures(), memory_mb(pid)
        service_cores = (cpu_s(pid) - begun_cpu_s) / (time.perf_counter() - begun_s)
        results = [result_of(pipe) for pipe in pipes]
    heard = [each for group, _ in results for each in group]
    turns, turn_s = (after.get(name, 0) - before.get(name, 0) for name in ("turns_total", "turn_seconds_total"))
    if not turns:
        raise RemoteError(f"{server.address} took no turns, although {callers} called")
    slowest = min(sum(at_s > knocked_s for at_s in each.arrived_s) for each in heard) / max(seconds - knocked_s, 0.1)
    latency_ms = [ms for each in heard for ms in each.latency_ms]
    p50_ms, p95_ms = (float(ms) for ms in np.percentile(latency_ms or [math.nan], (50, 95)))
    model = simulate(phases, options.fps, 1000 * turn_s / turns)
    return Stage(
        pictures_per_s=[len(each.latency_ms) / seconds for each in heard],
        p50_ms=p50_ms,
        p95_ms=p95_ms,
        left_out=1 - len(latency_ms) / max(sum(each.sent for each in heard), 1),
        turn_ms=1000 * turn_s / turns,
        service_cores=service_cores,
        callers_cores=sum(used_s for _, used_s in results) / seconds,
        service_mb=service_mb,
        model=model,
        way_ms=p50_ms - model.p50_ms if way_ms is None else way_ms,
        refusal=None if answer is None else Refusal(*answer, slowest),
    )


def table(stages: Sequence[Stage], fps: float) -> str:
    """Return the stages for people, and what follows from them."""
    rows = [TITLES, *(stage.cells for stage in stages)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TITLES))]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    first = stages[0]
    lines.append(
        f"by turns of {first.turn_ms:.1f} ms, a process holds {callers_per_process(fps, first.turn_ms):.1f} callers at "
        f"{fps:g} frames/s; the model's p95 includes {first.way_ms:.0f} ms on the way"
    )
    for stage in stages:
        if stage.refusal is not None:
            lines.append(
                f"caller {len(stage.pictures_per_s) + 1} was closed with {stage.refusal.code}, "
                f"{stage.refusal.reason!r}; the slowest of the others then got {stage.refusal.slowest_after:.1f} "
                "pictures/s"
            )
    return "\n".join(lines)


def read_figures(text: str) -> dict[str, float]:
    """Return the figures without labels of a text in Prometheus' form, by name without its prefix."""
    return {name: float(value) for name, value in FIGURE.findall(text)}


def cpu_s(process_id: int) -> float:
    """Return how long a process has computed; not a number where the system does not say."""
    try:
        fields = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return math.nan
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def started(callers: int, options: Sequence[str]) -> Iterator[Server]:
    """Start a service on a free port of this machine, and end it. Raises RemoteError."""
    token = secrets.token_urlsafe(24)
    command = module_command("avatarify_plus", ["serve", *options, "--port", "0", "--callers", str(callers)])
    environment = child_environment() | {TOKEN: token}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr is not None
        try:
            line = ""
            for line in process.stderr:
                if found := ADDRESS.search(line):
                    break
            else:
                raise RemoteError(f"the service does not start: {line.strip()}")
            threading.Thread(target=collections.deque, args=(process.stderr, 0), daemon=True).start()
            yield Server(found[1], token, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()


def build_parser() -> ProgramParser:
    """Return the command line."""
    parser = ProgramParser(
        prog="avatarify bench callers",
        usage="avatarify bench callers [OPTIONS] [-- OPTIONS OF SERVE]",
        description=__doc__,
        examples=(
            "avatarify bench callers --callers 1 2 3 --json callers.json",
            f"{TOKEN}=... avatarify bench callers --server https://gpu.example.org:8470 --callers 4 8",
            "avatarify bench callers --plan 1000 --fps 25 --turn-ms 3",
        ),
    )
    parser.add_argument(
        "--callers",
        type=positive,
        nargs="+",
        default=[1, 2, 3, 4],
        metavar="N",
        help="of each stage (default: 1 2 3 4)",
    )
    parser.add_argument("--fps", type=float, default=10.0, help="of each caller (default: %(default)g)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each stage (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=0, help="of when callers' frames come (default: 0)")
    parser.add_argument("--clip", default=str(example("driver.mp4")), help="that they show (default: %(default)s)")
    parser.add_argument("--server", metavar="URL", help=f"a service that runs already, with its token in ${TOKEN}")
    parser.add_argument("--plan", type=positive, metavar="CALLERS", help="compute what so many callers need, and leave")
    parser.add_argument("--turn-ms", type=float, metavar="T", help="for --plan: what a turn takes, as measured")
    add_json_option(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Measure or plan, print, and return the exit code."""
    return run_program(lambda: _main(sys.argv[1:] if arguments is None else arguments))


def _main(arguments: list[str]) -> None:
    split = arguments.index("--") if "--" in arguments else len(arguments)
    of_service, parser = arguments[split + 1 :], build_parser()
    options = parser.parse_args(arguments[:split])
    if not 0 < options.fps <= 120 or not options.seconds >= 1 or max(options.callers) > MAX_CALLERS:
        parser.error(f"--fps must be at most 120, --seconds at least 1, and --callers at most {MAX_CALLERS}")
    if (options.plan is None) != (options.turn_ms is None) or (options.turn_ms is not None and not options.turn_ms > 0):
        parser.error("--plan and --turn-ms, which is more than 0, go together")
    if options.server is not None and (of_service or not os.environ.get(TOKEN)):
        parser.error(f"--server wants its token in the environment's {TOKEN}, and no options of serve")
    configure_logging(options.verbose)
    require_json_file(options.json)
    if options.plan is not None:
        need = plan(options.plan, options.fps, options.turn_ms)
        what = f"{need.gpus} GPUs and {need.processes} processes with up to {need.callers} callers each"
        text = f"{options.plan} callers at {options.fps:g} frames/s with turns of {options.turn_ms:g} ms need {what}"
        print_report(text, need._asdict(), options.json)
        return
    machine, stages = this_machine(), list[Stage]()
    given = contextlib.nullcontext(Server((options.server or "").rstrip("/"), os.environ.get(TOKEN, ""), NOBODY))
    with given if options.server is not None else started(max(options.callers), of_service) as server:
        for callers in options.callers:
            print(f"callers: {callers} ...", file=sys.stderr)
            stages.append(measure(server, callers, options, stages[0].way_ms if stages else None))
    values = {"machine": asdict(machine), "fps": options.fps, "stages": [stage.values for stage in stages]}
    print_report(f"{machine}\n{table(stages, options.fps)}", values, options.json)


if __name__ == "__main__":
    sys.exit(main())
