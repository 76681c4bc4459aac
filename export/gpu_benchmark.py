"""Measure how fast each way to compute a frame is on one GPU, side by side, and how far it is from the GPU's limit.

A run is what the app asks of a runtime: keypoints in and a picture out (or the layers that are put together with the
photo), to detect, a picture in and keypoints out, and, to paint parts, squares in and out; batch 1, copies and the wait
for the device included, the source encoded before. The ways take turns, round by round. The floor is the larger of two
times: the convolutions' operations at the rate of a large matrix product in that precision, and their weights, inputs
and outputs at the rate of a large copy; both rates are measured in the same run. (What fits the GPU's cache may move
faster than that.) What cannot run is listed with its reason. Needs torch; for trained weights safetensors, for ONNX
Runtime and TensorRT in another size than live also onnx and onnxscript. TensorRT engines are built when they are
missing, which takes minutes.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from contextlib import ExitStack, nullcontext, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.engines.torch_network import TYPES
from avatarify_plus.errors import AvatarifyError, EngineError
from avatarify_plus.network import tensor_names
from avatarify_plus.network.config import SIZES
from avatarify_plus.program.command_line import (
    STDOUT,
    ProgramParser,
    add_json_option,
    add_model_option,
    configure_logging,
    print_report,
    require_json_file,
    run_program,
)
from export.gpu_floor import Rates, Work, measure_rates
from export.gpu_ways import COMPILE_MODES, PARTS, WAYS, BenchmarkNetwork, OpenedWay, open_way

# isort: split
import numpy as np
import torch

BASE = ("eager", "fp32")
"""What the others are compared with."""

ROUNDS = 8
"""How many turns each way takes."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """How long a way took for a part of a frame.

    to_base: the median as a multiple of that of BASE, None if BASE was not measured.
    """

    size: str
    part: str
    way: str
    precision: str
    device: str
    runs: int
    median_ms: float
    p95_ms: float
    floor_ms: float
    to_base: float | None


@dataclass(frozen=True, slots=True)
class Absence:
    """A way that cannot run, and why."""

    size: str
    way: str
    precision: str
    reason: str


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_program(lambda: _main(arguments))


def _main(arguments: list[str] | None) -> None:
    parser = ProgramParser(
        prog="python export/gpu_benchmark.py",
        description=__doc__,
        examples=(
            "python export/gpu_benchmark.py",
            "python export/gpu_benchmark.py --device cpu --sizes live --precisions fp32 bf16 --seconds 1",
        ),
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="(default: %(default)s)")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["paper", "live"], help="(default: paper live)")
    parser.add_argument(
        "--precisions", nargs="+", choices=tuple(TYPES), help="(default: fp32 bf16 fp16; on the CPU without fp16)"
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="(default: all)")
    parser.add_argument(
        "--compile-mode",
        choices=COMPILE_MODES,
        default=COMPILE_MODES[0],
        help="torch.compile's; max-autotune takes minutes (default: %(default)s)",
    )
    add_model_option(parser, "live-512", " for the size live")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each way and part (default: %(default)s)")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    if not options.seconds > 0:
        parser.error(f"--seconds must be positive, found {options.seconds}")
    configure_logging(options.verbose)
    require_json_file(options.json)
    options.precisions = options.precisions or [name for name in TYPES if (options.device, name) != ("cpu", "fp16")]
    if options.device == "cuda" and not torch.cuda.is_available():
        raise EngineError(f"torch {torch.__version__} finds no NVIDIA GPU: check the driver, or --device cpu")
    with redirect_stdout(sys.stderr) if options.json == STDOUT else nullcontext():
        report = run(options)
    print_report(summary(report), report, options.json)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure, print a table for each size as soon as it is there, and return all as JSON-ready values."""
    device = torch.device(options.device)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    machine = f"{where}, torch {torch.__version__}, Python {platform.python_version()}"
    rates = measure_rates(device, options.precisions)
    reached = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in rates.operations.items())
    print(f"{machine}\nmatrix products, TFLOP/s: {reached}; copies, GB/s read and written: {rates.copied / 1e9:.4g}")
    found: list[Measurement] = []
    absent: list[Absence] = []
    for size in options.sizes:
        network = BenchmarkNetwork(size, options.model)
        work = network.work()
        measured, missing = measure(network, work, rates, device, options)
        print("\n".join(["", headline(network, work), *table(measured), *listing(missing)]))
        found += measured
        absent += missing
    return {
        "machine": machine,
        "rates": asdict(rates),
        "measurements": [asdict(each) for each in found],
        "absent": [asdict(each) for each in absent],
    }


def measure(
    network: BenchmarkNetwork, work: dict[str, Work], rates: Rates, device: torch.device, options: argparse.Namespace
) -> tuple[list[Measurement], list[Absence]]:
    """Open all ways that can run, let them take turns, and return why the others cannot."""
    opened: list[OpenedWay] = []
    absent: list[Absence] = []
    with ExitStack() as stack:
        for way in options.ways:
            rounded = ["tf32"] if way == "onnxruntime" and device.type == "cuda" else []
            for precision in (*options.precisions, *rounded):
                print(f"{network.size}: {way} {precision} ...", file=sys.stderr)
                try:
                    opened.append(open_way(stack, network, way, precision, device, options.compile_mode))
                except AvatarifyError as error:
                    absent.append(Absence(network.size, way, precision, str(error)))
        times = take_turns(opened, options.seconds)
    base = next((i for i, each in enumerate(opened) if (each.name, each.precision) == BASE), None)
    found = []
    for (part, index), durations in times.items():
        way, median = opened[index], float(np.median(durations))
        precision = "fp32" if part == tensor_names.DETECT else way.precision
        found.append(
            Measurement(
                size=network.size,
                part=part,
                way=way.name,
                precision=precision,
                device=way.device,
                runs=len(durations),
                median_ms=1e3 * median,
                p95_ms=1e3 * float(np.percentile(durations, 95)),
                floor_ms=rates.floor_ms(work[part], precision),
                to_base=None if base is None else median / float(np.median(times[part, base])),
            )
        )
    return found, absent


def take_turns(opened: list[OpenedWay], seconds: float) -> dict[tuple[str, int], list[float]]:
    """Let the opened ways take turns; return the seconds of every run by part and way's index."""
    times: dict[tuple[str, int], list[float]] = {
        (part, index): []
        for part in (tensor_names.ANIMATE, PARTS, tensor_names.DETECT)
        for index, way in enumerate(opened)
        if part in way.parts
    }
    for _ in range(ROUNDS):
        for (part, index), durations in times.items():
            act, end_s = opened[index].parts[part], time.perf_counter() + seconds / ROUNDS
            now_s = 0.0
            while now_s < end_s:
                begun_s = time.perf_counter()
                act()
                now_s = time.perf_counter()
                durations.append(now_s - begun_s)
    return times


def headline(network: BenchmarkNetwork, work: dict[str, Work]) -> str:
    """Return what a size's table is about."""
    amounts = ", ".join(
        f"{part} {each.operations / 1e9:.1f} GFLOP and {each.numbers / 1e6:.1f} million numbers moved"
        for part, each in work.items()
    )
    return f"{network.size}: {network.config.preset}, {network.weights}; {amounts}"


def table(found: list[Measurement]) -> list[str]:
    """Return the measurements for people."""
    lines = [
        f"{'':9}{'':16}{'':6}{'median ms':>10}{'p95 ms':>10}{'x eager':>9}{'floor ms':>10}{'x floor':>9}{'runs':>7}  on"
    ]
    for each in found:
        to_base = "-" if each.to_base is None else f"{each.to_base:.2f}"
        lines.append(
            f"{each.part:9}{each.way:16}{each.precision:6}{each.median_ms:10.3f}{each.p95_ms:10.3f}{to_base:>9}"
            f"{each.floor_ms:10.4f}{each.median_ms / each.floor_ms:9.1f}{each.runs:7}  {each.device}"
        )
    return lines


def listing(absent: list[Absence]) -> list[str]:
    """Return what could not run, for people."""
    return [f"not measured: {each.way} {each.precision}: {each.reason}" for each in absent]


def summary(report: dict[str, Any]) -> str:
    """Return the closing line for people."""
    return f"{len(report['measurements'])} measurements, {len(report['absent'])} ways cannot run"


if __name__ == "__main__":
    sys.exit(main())
