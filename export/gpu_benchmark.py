"""Measure how fast each way to compute a frame is on one GPU, side by side, and how far from what the GPU could do.

    python export/gpu_benchmark.py                          # sizes paper and live, fp32, bf16 and fp16
    python export/gpu_benchmark.py --device cpu --sizes live --precisions fp32 bf16 --seconds 1

A run is what the app asks of an engine: keypoints in and a picture out, or, to detect, a picture in and keypoints out;
batch 1, copies and the wait for the device included, the source encoded before. The ways take turns, round by round.
The floor is the larger of two times: the convolutions' operations at the rate of a large matrix product in that
precision, and their weights, inputs and outputs at the rate of a large copy; both rates are measured in the same run.
(What fits the GPU's cache may move faster than that.) What cannot run is listed with its reason. Needs torch; for
trained weights safetensors, for ONNX Runtime and TensorRT in another size than live also onnx and onnxscript. TensorRT
engines are built at need, which takes minutes.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: its imports start at the repository root, not in export/
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from avatarify_plus.engines.torch_network import TYPES
from avatarify_plus.errors import AvatarifyError, ConfigError, EngineError
from avatarify_plus.network import tensor_names
from avatarify_plus.network.config import SIZES
from export.gpu_floor import Rates, Work, measure_rates
from export.gpu_racers import COMPILE_MODES, WAYS, Racer, Subject, open_racer

BASE = ("eager", "fp32")
"""What the others are compared with."""

ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Measurement:
    """How long a way took for a part of a frame. to_base: the median in times that of BASE, if that was measured."""

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


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="gpu_benchmark.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
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
    parser.add_argument("--model", default="live-256", metavar="BUNDLE", help="the size live (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each way and part (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements there")
    options = parser.parse_args(argv)
    options.precisions = options.precisions or [name for name in TYPES if (options.device, name) != ("cpu", "fp16")]
    try:
        if options.seconds <= 0:
            raise ConfigError(f"--seconds must be positive, found {options.seconds}")
        if options.device == "cuda" and not torch.cuda.is_available():
            raise EngineError(f"torch {torch.__version__} finds no NVIDIA GPU: check the driver, or --device cpu")
        report = run(options)
    except AvatarifyError as error:
        print(f"gpu_benchmark.py: {error}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure, print a table for each size, and return all as JSON-ready values."""
    device = torch.device(options.device)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    machine = f"{where}, torch {torch.__version__}, Python {platform.python_version()}"
    rates = measure_rates(device, options.precisions)
    reached = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in rates.operations.items())
    print(f"{machine}\nmatrix products, TFLOP/s: {reached}; copies, GB/s read and written: {rates.copied / 1e9:.4g}")
    found: list[Measurement] = []
    absent: list[Absence] = []
    for size in options.sizes:
        subject = Subject(size, options.model)
        work = subject.work()
        measured, missing = measure(subject, work, rates, device, options)
        print("\n".join(["", headline(subject, work), *table(measured), *listing(missing)]))
        found += measured
        absent += missing
    return {
        "machine": machine,
        "rates": asdict(rates),
        "measurements": [asdict(each) for each in found],
        "absent": [asdict(each) for each in absent],
    }


def measure(
    subject: Subject, work: dict[str, Work], rates: Rates, device: torch.device, options: argparse.Namespace
) -> tuple[list[Measurement], list[Absence]]:
    """Open all ways that can run, let them take turns, and tell of the others."""
    racers: list[Racer] = []
    absent: list[Absence] = []
    with ExitStack() as stack:
        for way in options.ways:
            rounded = ["tf32"] if way == "onnxruntime" and device.type == "cuda" else []
            for precision in (*options.precisions, *rounded):
                print(f"{subject.size}: {way} {precision} ...", file=sys.stderr)
                try:
                    racers.append(open_racer(stack, subject, way, precision, device, options.compile_mode))
                except AvatarifyError as error:
                    absent.append(Absence(subject.size, way, precision, str(error)))
        times = race(racers, options.seconds)
    base = next((i for i, racer in enumerate(racers) if (racer.way, racer.precision) == BASE), None)
    found = []
    for (part, index), durations in times.items():
        racer, median = racers[index], float(np.median(durations))
        precision = racer.precision if part == tensor_names.ANIMATE else "fp32"
        found.append(
            Measurement(
                size=subject.size,
                part=part,
                way=racer.way,
                precision=precision,
                device=racer.device,
                runs=len(durations),
                median_ms=1e3 * median,
                p95_ms=1e3 * float(np.percentile(durations, 95)),
                floor_ms=rates.floor_ms(work[part], precision),
                to_base=None if base is None else median / float(np.median(times[part, base])),
            )
        )
    return found, absent


def race(racers: list[Racer], seconds: float) -> dict[tuple[str, int], list[float]]:
    """Let the racers take turns; return the seconds of every run by part and racer's index."""
    times: dict[tuple[str, int], list[float]] = {
        (part, index): []
        for part in (tensor_names.ANIMATE, tensor_names.DETECT)
        for index, racer in enumerate(racers)
        if part in racer.parts
    }
    for _ in range(ROUNDS):
        for (part, index), durations in times.items():
            act, end_s = racers[index].parts[part], time.perf_counter() + seconds / ROUNDS
            now_s = 0.0
            while now_s < end_s:
                begun_s = time.perf_counter()
                act()
                now_s = time.perf_counter()
                durations.append(now_s - begun_s)
    return times


def headline(subject: Subject, work: dict[str, Work]) -> str:
    """Return what a size's table is about."""
    amounts = ", ".join(
        f"{part} {each.operations / 1e9:.1f} GFLOP and {each.numbers / 1e6:.1f} million numbers moved"
        for part, each in work.items()
    )
    return f"{subject.size}: {subject.config.preset}, {subject.weights}; {amounts}"


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


if __name__ == "__main__":
    sys.exit(main())
