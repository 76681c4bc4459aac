"""Measure training steps: samples a second, where the time goes, and how much of the device's rate is reached."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.errors import ConfigError
from avatarify_plus.program.command_line import (
    ProgramParser,
    add_json_option,
    configure_logging,
    print_report,
    require_json_file,
    run_program,
)

# isort: split
import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from avatarify_plus.motion.keypoints import MeshLayout
from avatarify_plus.program.option_fields import add_fields, positive, read_fields
from training import train
from training.config import HEADINGS, StepConfig, TrainingPrecision
from training.data.cache import Cache, Clip, open_cache
from training.data.pairs import Batch, PairSampler, Pool, mesh_mirror
from training.data.warp import Renderer
from training.loop.loader import BatchLoader, BatchNeeds
from training.loop.ranks import Ranks
from training.loop.schedule import Stage, parse_stages
from training.networks import build_network
from training.objective.objective import TrainingModel

DESCRIPTION = """\
Measure training steps: samples a second, where the time goes, and how much of the device's rate is reached.

The clips are made of noise unless --data names a cache. The rate to compare with is measured in the same run: a large
matrix product on the same device and threads, in the precision of the step. Every option of training/train.py that
decides what a step is may be given."""

EXAMPLES = (
    "python training/benchmark.py --preset ours-skip --size live --stage 256/128x12",
    "python training/benchmark.py --stage 128x256 --device cuda --compare precision compile channels-last",
)

PHASES = ("data", "forward", "backward", "optimiser")
ALTERNATIVES = ("precision", "compile", "channels-last", "data-on-device")
NOISE_CLIPS, NOISE_FRAMES = 8, 8
WARMUP_STEPS = 3
RATE = 1e-4
SEED = 0


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to compute a step."""

    name: str
    precision: TrainingPrecision
    compile: bool
    channels_last: bool
    holds_data: bool


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a variant reached. shares: of the time by phase, measured in a pass of its own that waits for each phase.

    step_operations: floating-point operations of one step, counted. matrix_rate: of a large product, per second.
    """

    variant: Variant
    samples_per_s: float
    step_ms: float
    shares: dict[str, float]
    step_operations: int
    matrix_rate: float

    @property
    def reached(self) -> float:
        """Share of the device's matrix rate that the steps reach."""
        return self.step_operations / (self.step_ms / 1e3) / self.matrix_rate


def variants(options: StepConfig, compared: list[str]) -> list[Variant]:
    """Return the variant that the options describe and, for each of ALTERNATIVES compared, what differs only in it."""
    on_gpu = options.device == "cuda"
    base = Variant(
        "as asked",
        options.precision,
        options.compile if options.compile is not None else on_gpu,
        True,
        options.data_on_device == "yes" or (on_gpu and options.data_on_device == "auto"),
    )
    other: TrainingPrecision = "fp32" if base.precision == "bf16" else "bf16"
    opposite = {
        "precision": replace(base, name=other, precision=other),
        "compile": replace(base, name=f"compile {_switch(not base.compile)}", compile=not base.compile),
        "channels-last": replace(base, name="channels-last off", channels_last=False),
        "data-on-device": replace(
            base, name=f"data-on-device {_switch(not base.holds_data)}", holds_data=not base.holds_data
        ),
    }
    return [base, *(opposite[name] for name in compared)]


def _switch(on: bool) -> str:
    return "on" if on else "off"


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations a second of a large product of random matrices, the best of several."""
    size = 8192 if device.type == "cuda" else 1536
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    times = []
    for _ in range(8):
        began = _now(device)
        left @ right
        times.append(_now(device) - began)
    return 2 * size**3 / min(times)


def noise_cache(size: int, layout: MeshLayout) -> Cache:
    """Return clips of noise with faces that put each keypoint in another place."""
    random, count = np.random.default_rng(0), NOISE_CLIPS * NOISE_FRAMES
    frames = random.integers(0, 256, (count, size, size, 3), np.uint8)
    landmarks = np.zeros((count, layout.operator.shape[-1], 3), np.float32)
    face = np.linalg.pinv(layout.operator.reshape(-1, layout.operator.shape[-1]))[:, [-2, -1]] @ np.eye(2)
    landmarks[..., :2] = 0.5 + 0.2 * face + random.normal(0, 0.02, (count, 1, 2))
    clips = [Clip(f"{i}_0", str(i), i * NOISE_FRAMES, NOISE_FRAMES) for i in range(NOISE_CLIPS)]
    return Cache(clips, frames, landmarks)


class StepBenchmark:
    """A network and its data, ready to make steps."""

    def __init__(self, options: StepConfig, stage: Stage, data: list[Path]) -> None:
        self._options, self._stage = options, stage
        self._ranks = Ranks(0, 1, torch.device(options.device))
        self._config, self._layout = options.network(), options.mesh_layout()
        size = max(self._config.image_size, stage.image_size)
        caches = [open_cache(folder) for folder in data] or [noise_cache(size, self._layout)]
        self._pool = Pool(caches, options.subject)
        self._sampler = PairSampler(self._pool, self._layout, options.pair_options(), SEED)
        self._renderer = Renderer(self._layout, mesh_mirror(self._config.mesh_layout), self._ranks.device)

    def measure(self, variant: Variant, steps: int) -> Measurement:
        """Time the steps of a variant after WARMUP_STEPS."""
        device = self._ranks.device
        torch.manual_seed(0)
        options = replace(self._options, compile=variant.compile, precision=variant.precision)
        model = build_network(self._config).to(device)
        if variant.channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's types
        average = copy.deepcopy(model)
        objective = train.build_objective(options, model, self._ranks)
        optimiser = train.build_optimiser(objective, RATE)
        needs = BatchNeeds.of(self._config, bool(objective.weights.flow), self._options.photo_px)
        with BatchLoader(self._sampler, self._pool, self._renderer, self._ranks, variant.holds_data, needs) as loader:
            run = _Steps(loader, self._stage, objective, optimiser, average, variant)
            for index in range(WARMUP_STEPS):
                run.step(index, None)
            operations = run.count_operations()
            began = _now(device)
            for index in range(steps):
                run.step(WARMUP_STEPS + index, None)
            step_s = (_now(device) - began) / steps
            spent = dict.fromkeys(PHASES, 0.0)
            for index in range(steps):
                run.step(WARMUP_STEPS + steps + index, spent)
        dtype = torch.bfloat16 if variant.precision == "bf16" else torch.float32
        total = sum(spent.values())
        shares = {phase: seconds / total for phase, seconds in spent.items()}
        rate = matrix_rate(device, dtype)
        return Measurement(variant, self._stage.batch / step_s, 1e3 * step_s, shares, operations, rate)


class _Steps:
    """The step of training/train.py, timed by phase if asked for."""

    def __init__(
        self,
        loader: BatchLoader,
        stage: Stage,
        objective: TrainingModel,
        optimiser: torch.optim.Optimizer,
        average: nn.Module,
        variant: Variant,
    ) -> None:
        self._loader, self._stage, self._objective, self._optimiser = loader, stage, objective, optimiser
        self._average, self._variant = average, variant
        self._device = next(objective.parameters()).device
        self._random = np.random.default_rng(0)

    def step(self, index: int, spent: dict[str, float] | None) -> None:
        """Make a step; with `spent`, wait for every phase and add its seconds up there."""

        def timed(phase: str, action: Callable[[], object]) -> None:
            if spent is None:
                action()
                return
            began = _now(self._device)
            action()
            spent[phase] += _now(self._device) - began

        batch: list[Batch] = []
        losses: list[torch.Tensor] = []
        timed("data", lambda: batch.append(self._loader.batch(index, self._stage)))
        timed("forward", lambda: losses.append(self._forward(batch[0])))
        timed("backward", losses[0].backward)
        timed("optimiser", self._update)

    def count_operations(self) -> int:
        """Return the floating-point operations of a step forward and backward: convolutions and matrix products."""
        batch = self._loader.batch(0, self._stage)
        counter = FlopCounterMode(display=False)
        compiled, self._objective._compiled_call_impl = self._objective._compiled_call_impl, None
        try:
            with counter:
                self._forward(batch).backward()
        finally:
            self._objective._compiled_call_impl = compiled
        self._optimiser.zero_grad()
        return counter.get_total_flops()

    def _forward(self, batch: Batch) -> torch.Tensor:
        if not self._variant.channels_last:
            batch = batch._replace(source=batch.source.contiguous(), driving=batch.driving.contiguous())
        window = self._stage.window(self._random)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._variant.precision == "bf16"):
            losses = self._objective(batch, window, False)
        return torch.stack(list(losses.values())).sum()

    def _update(self) -> None:
        for group in self._optimiser.param_groups:
            nn.utils.clip_grad_norm_(group["params"], train.CLIP_NORM)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        train.update_average(self._average, self._objective.model, 0.999)


def table(found: list[Measurement]) -> str:
    """Return the measurements for people, one line each."""
    lines = [
        f"{'':22}{'samples/s':>10}{'ms/step':>10}" + "".join(f"{phase:>11}" for phase in PHASES) + f"{'of peak':>9}"
    ]
    for m in found:
        shares = "".join(f"{100 * m.shares[phase]:10.1f}%" for phase in PHASES)
        lines.append(f"{m.variant.name:22}{m.samples_per_s:10.2f}{m.step_ms:10.1f}{shares}{100 * m.reached:8.1f}%")
    first = found[0]
    peaks = {m.variant.precision: m.matrix_rate for m in found}
    lines.append(
        f"one step: {first.step_operations / 1e9:.1f} GFLOP; peak, a large matrix product: "
        + ", ".join(f"{precision} {rate / 1e12:.2f} TFLOP/s" for precision, rate in peaks.items())
    )
    return "\n".join(lines)


def _now(device: torch.device) -> float:
    """Return the time in seconds once the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def build_parser() -> ProgramParser:
    """Return the command line's parser."""
    parser = ProgramParser(
        prog="python training/benchmark.py",
        usage="python training/benchmark.py [OPTIONS]",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    measured = parser.add_argument_group("what is measured")
    measured.add_argument(
        "--data", type=Path, nargs="+", default=[], metavar="CACHE", help="decoded caches (default: noise)"
    )
    measured.add_argument(
        "--stage",
        default="256/128x12",
        help="size [/ decoded window] x batch (default: 256/128x12)",
    )
    measured.add_argument(
        "--steps",
        type=positive,
        default=10,
        metavar="N",
        help=f"steps to time, after {WARMUP_STEPS} to warm up (default: 10)",
    )
    measured.add_argument(
        "--compare",
        nargs="+",
        choices=ALTERNATIVES,
        default=[],
        metavar="NAME",
        help=f"measure the opposite of these too; some of {', '.join(ALTERNATIVES)}",
    )
    add_json_option(parser)
    add_fields(parser, StepConfig, headings=HEADINGS)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code, see `program.command_line`."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    step = read_fields(parser, StepConfig, options)
    try:
        stage, *more = parse_stages(f"{options.stage}:1")
    except ConfigError as error:
        parser.error(str(error))
    if more:
        parser.error(f"--stage wants a single stage, found {options.stage!r}")
    configure_logging(options.verbose)

    def work() -> None:
        require_json_file(options.json)
        bench = StepBenchmark(step, stage, options.data)
        found = [bench.measure(variant, options.steps) for variant in variants(step, options.compare)]
        print_report(table(found), [asdict(m) | {"reached": m.reached} for m in found], options.json)

    return run_program(work)


if __name__ == "__main__":
    sys.exit(main())
