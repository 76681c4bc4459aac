"""Train a model: data, network, loop, from top to bottom."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.errors import ConfigError, ModelError
from avatarify_plus.program.command_line import ProgramParser, configure_logging, require_place, run_program
from avatarify_plus.program.stop import stop_on_signal

# isort: split
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from avatarify_plus.network.checkpoint import Checkpoint, RunState, previous_of, read_checkpoint
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.program.option_fields import add_fields, read_fields
from training.config import HEADINGS, StepConfig, TrainingConfig
from training.data.cache import Cache, build_cache, cache_folder, is_cache, open_cache, take_stock
from training.data.datasets import Split
from training.data.pairs import PairSampler, Pool, mesh_mirror
from training.data.warp import Renderer
from training.loop.checkpoint import (
    CHECKPOINT,
    SaveError,
    is_finite,
    load_what_fits,
    read_start,
    sole_trainer,
    write_checkpoint,
)
from training.loop.guard import DivergedError, LossGuard
from training.loop.loader import BatchLoader, BatchNeeds, fits_on_device
from training.loop.logbook import Logbook
from training.loop.ranks import Ranks, joined_ranks, synchronise_batch_norm
from training.loop.schedule import learning_rate, parse_stages, stage_at
from training.loop.validation import Validation
from training.networks import Network, build_network
from training.objective.discriminator import DiscriminatorConfig, MultiScaleDiscriminator
from training.objective.identity import IdentityNetwork
from training.objective.objective import TrainingModel
from training.objective.perceptual import perceptual_network

logger = logging.getLogger("training")

REPEATS_S = 10.0
"""For so long after a request to end others count as the same, see `stop_on_signal`."""

NEWS = ("training",)
"""The loggers whose news everybody gets."""

DESCRIPTION = """\
Train a model on clips and photos of faces or, with --subject, of bodies or anything else that moves.

The run folder holds checkpoint.pt, metrics.csv, loss.png, sheet-*.png and a TensorBoard log. Ctrl-C or SIGTERM ends a
run with all it has learned. The same command again resumes, also with another number of processes: a batch is drawn
whole, by the seed and its number, and then shared. Two processes with one thread each are faster on two cores than one.
Several nodes need --out and --cache on a shared disk."""

EXAMPLES = (
    "python training/train.py --data clips/train --out runs/live --preset ours-skip --size live --minutes 120",
    "python training/train.py --data clips/train --out runs/live --dry-run",
    "torchrun --nproc-per-node 2 training/train.py ...",
    "torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29400 training/train.py ...",
)

CLIP_NORM = 5.0
"""Longer gradients are shortened to this norm."""

VALIDATED_CLIPS = 8
"""The number of validation clips that the contact sheets show and "val L1" is measured on."""

BAR = "{desc} {percentage:3.0f}%|{bar}| {postfix}"


def build_parser() -> ProgramParser:
    """Return the command line: one option for each field of TrainingConfig."""
    parser = ProgramParser(
        prog="python training/train.py",
        usage="python training/train.py --data FOLDER [FOLDER ...] --out FOLDER [OPTIONS]",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    add_fields(parser, TrainingConfig, headings=HEADINGS)
    parser.add_argument(
        "--dry-run", action="store_true", help="print what the files of --data and --val are taken for, and stop"
    )
    return parser


def read_command(arguments: list[str] | None) -> tuple[TrainingConfig, bool]:
    """Return what a command line asks for, and whether it is verbose. Ends as for wrong usage if it is wrong."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    return read_fields(parser, TrainingConfig, options), options.verbose


def build_objective(options: StepConfig, model: Network, ranks: Ranks) -> TrainingModel:
    """Return what computes the losses of a step, compiled and with batch statistics over all ranks if asked for."""
    weights = options.loss_weights()
    count = model.config.keypoint_count
    objective = TrainingModel(
        model,
        perceptual_network(options.perceptual).to(ranks.device),
        weights,
        scales=options.perceptual_scales,
        identity=_channels_last(IdentityNetwork()) if weights.identity else None,
        discriminator=MultiScaleDiscriminator(DiscriminatorConfig(), count) if weights.adversarial else None,
    ).to(ranks.device)
    on_gpu = ranks.device.type == "cuda"
    if ranks.count > 1 and (on_gpu if options.sync_batchnorm is None else options.sync_batchnorm):
        synchronise_batch_norm(objective, ranks.device)
    if on_gpu if options.compile is None else options.compile:
        objective.compile()
    return objective


def _channels_last(module: IdentityNetwork) -> IdentityNetwork:
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's types


def build_optimiser(objective: TrainingModel, rate: float) -> torch.optim.Optimizer:
    """Return AdamW over the objective's parameter groups, each with its own peak rate."""
    groups = objective.parameter_groups(rate)
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)


def build_pool(options: TrainingConfig, size: int, ranks: Ranks) -> tuple[Pool, Cache | None]:
    """Open the training clips and, on the first rank, the validation clips; what is not decoded yet is decoded."""
    root = options.cache or options.out / "cache"

    def opened(folder: Path, split: Split) -> Cache:
        if is_cache(folder):
            return open_cache(folder)
        if not ranks.is_first:
            return open_cache(cache_folder(folder, root, split))
        return build_cache(folder, root, size, os.cpu_count() or 1, split, options.subject)

    if not ranks.is_first:
        ranks.wait()
    caches = [opened(folder, "train") for folder in options.data]
    validation = opened(options.val, "val") if options.val and ranks.is_first else None
    if ranks.is_first:
        ranks.wait()
    return Pool(caches, options.subject), validation


def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged weights towards the model's and copy the buffers; decay: share that is kept."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        for kept, buffer in zip(average.buffers(), model.buffers(), strict=True):
            kept.copy_(buffer)


@dataclass
class Run:
    """A run under way: networks, optimiser, and how far it has come."""

    path: Path
    config: NetworkConfig
    model: Network
    average: nn.Module
    objective: TrainingModel
    optimiser: torch.optim.Optimizer
    summary: dict[str, Any]
    step: int = 0
    samples: int = 0
    elapsed_s: float = 0.0

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint. Raises ConfigError if it holds another network or averaged weights only."""
        saved = read_checkpoint(path)
        if saved.config != self.config:
            raise ConfigError(f"{path} holds another network: choose another --out or the options it was started with")
        if saved.state is None:
            raise ConfigError(
                f"{path} holds averaged weights only: choose another --out and start from it by --warm-start"
            )
        try:
            self.model.load_state_dict(saved.state.model)
            self.average.load_state_dict(saved.ema)
            self.objective.load_extra_state(saved.state.objective)
            self._load_optimiser(saved.state.optimiser)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ModelError(
                f"{path} does not fit its own network: choose another --out, or start from it by --warm-start"
            ) from error
        self.step, self.samples, self.elapsed_s = saved.step, saved.samples, saved.elapsed_s
        self.summary["started_from"] = saved.training.get("started_from", {})
        logger.info("resuming at step %d, %.1f minutes", self.step, self.elapsed_s / 60)

    def _load_optimiser(self, state: dict[str, Any]) -> None:
        """Take the moments but keep this command's rates; take nothing if a discriminator was added or removed."""
        fresh = [{k: v for k, v in group.items() if k != "params"} for group in self.optimiser.param_groups]
        if len(state["param_groups"]) != len(fresh):
            logger.warning("%s was trained with other losses: the optimiser starts from zero", self.path)
            return
        self.optimiser.load_state_dict(state)
        for group, values in zip(self.optimiser.param_groups, fresh, strict=True):
            group.update(values)
        for parameter, kept in self.optimiser.state.items():
            shapes = {name: value.shape for name, value in kept.items()}
            if shapes != {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}:
                raise ValueError("the optimiser's moments are not those of these weights")

    def start_from(self, path: Path, fresh: tuple[str, ...]) -> None:
        """Start from other weights, without those whose names begin with one of `fresh`."""
        weights, self.summary["started_from"] = read_start(path)
        load_what_fits(self.model, {n: value for n, value in weights.items() if not fresh or not n.startswith(fresh)})
        self.average.load_state_dict(self.model.state_dict())

    def save(self) -> None:
        """Write the checkpoint, or keep the old one. Raises SaveError, or DivergedError if a weight is not finite."""
        if not is_finite(self.model, self.average):
            raise DivergedError(f"the weights are not finite at step {self.step}: {self.last_good}")
        state = RunState(self.model.state_dict(), self.optimiser.state_dict(), self.objective.extra_state())
        ema = self.average.state_dict()
        saved = Checkpoint(self.config, ema, self.step, self.samples, self.elapsed_s, self.summary, state)
        write_checkpoint(self.path, saved)

    @property
    def last_good(self) -> str:
        """What to go back to, for error messages."""
        return f"the last good checkpoint is {self.path}" if self.path.exists() else "no checkpoint was written yet"


def train(options: TrainingConfig) -> None:
    """Train as the options say. Raises AvatarifyError."""
    with joined_ranks(options.device) as ranks, contextlib.ExitStack() as stack:
        if ranks.is_first:
            require_place(options.out / CHECKPOINT, "--out")
            stack.enter_context(sole_trainer(options.out))
        _train(options, ranks)


def _train(options: TrainingConfig, ranks: Ranks) -> None:
    """Set up, resume, loop, save: from top to bottom."""
    # --- data
    began = time.monotonic()
    stages = parse_stages(options.stages, ranks.count)
    config, layout = options.network(), options.mesh_layout()
    pool, clips = build_pool(options, config.image_size, ranks)
    validation = Validation(clips, layout, VALIDATED_CLIPS, options.subject) if clips else None
    sampler = PairSampler(pool, layout, options.pair_options(), options.seed)

    # --- model, average and optimiser
    torch.manual_seed(options.seed)
    torch.backends.cudnn.benchmark = True
    model = build_network(config).to(ranks.device)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's types
    average = copy.deepcopy(model).eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not (options.freeze and name.startswith(options.freeze)))
    frozen = [module for name, module in model.named_modules() if options.freeze and name.startswith(options.freeze)]
    objective = build_objective(options, model, ranks)
    optimiser = build_optimiser(objective, options.rate)
    run = Run(options.out / CHECKPOINT, config, model, average, objective, optimiser, _summary(options, sampler))
    saved = next((path for path in (run.path, previous_of(run.path)) if path.exists()), None)
    if saved is not None:
        run.resume(saved)
    elif options.warm_start:
        run.start_from(options.warm_start, options.fresh)
    trained: nn.Module = objective
    if ranks.count > 1:
        trained = DistributedDataParallel(objective, gradient_as_bucket_view=True)

    # --- loop
    guard = LossGuard()
    renderer = Renderer(layout, mesh_mirror(config.mesh_layout), ranks.device)
    hold = {"yes": True, "no": False, "auto": fits_on_device(pool, ranks.device)}[options.data_on_device]
    needs = BatchNeeds.of(config, bool(objective.weights.flow), options.photo_px)
    sheet_minutes = options.save_minutes if options.sheet_minutes is None else options.sheet_minutes
    pending: tuple[int, list[str], Tensor] | None = None  # the last step's losses, not yet read from the device
    with (
        stop_on_signal(REPEATS_S) as request,
        Logbook(options.out, run.step) if ranks.is_first else contextlib.nullcontext() as log,
        BatchLoader(sampler, pool, renderer, ranks, hold, needs) as loader,
        tqdm(total=100, unit="%", bar_format=BAR, disable=not ranks.is_first) as progress_bar,
    ):
        started_from_s, started, saved_at, shown_at = run.elapsed_s, time.monotonic(), time.monotonic(), -math.inf

        def read_losses() -> None:
            """Read the last step's losses, one step late, so that the device never waits for the host."""
            nonlocal pending
            if pending is None:
                return
            step, names, values = pending
            *losses, norm = values.tolist()
            pending = None
            guard.check(step, sum(losses), norm, run.last_good)
            if log:
                log.add(step, dict(zip(names, losses, strict=True)))
                progress_bar.set_postfix_str(
                    f"{run.elapsed_s / 60:.1f} min, step {step}, {run.samples / 1000:.1f}k samples, "
                    f"loss {sum(losses):.3f}"
                )

        def report(show: bool) -> None:
            """Validate, write the logs and the checkpoint."""
            assert log is not None
            read_losses()
            run.elapsed_s = started_from_s + time.monotonic() - started
            validated, sheet = validation.run(average) if validation and show else ({}, None)
            log.write(run.step, run.samples, run.elapsed_s, optimiser.param_groups[0]["lr"], validated)
            if show:
                log.draw(run.step, sheet)
            run.save()

        while True:
            own_elapsed_s = started_from_s + time.monotonic() - started
            session_s = time.monotonic() - began
            run.elapsed_s, session_s, stop = ranks.largest(own_elapsed_s, session_s, request.is_set())
            progress = run.step / options.steps if options.steps else run.elapsed_s / (options.minutes * 60)
            is_over = options.session_minutes is not None and session_s > options.session_minutes * 60
            if progress >= 1 or stop or is_over:
                break
            stage = stage_at(stages, progress)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(group["peak"], progress, run.step, options.warmup_steps)
            batch = loader.batch(run.step, stage)
            window = stage.window(sampler.random(run.step))
            # What is drawn in the step depends only on its number, so that no random state needs saving.
            torch.manual_seed(np.random.SeedSequence([options.seed, run.step, ranks.rank]).generate_state(1)[0])
            trained.train()
            for module in frozen:
                module.eval()  # its batch statistics stay, too
            with torch.autocast(ranks.device.type, torch.bfloat16, enabled=options.precision == "bf16"):
                losses = trained(batch, window, run.step < options.mesh_warmup)
            weighted = torch.stack(list(losses.values()))
            optimiser.zero_grad(set_to_none=True)
            weighted.sum().backward()
            norms = [nn.utils.clip_grad_norm_(group["params"], CLIP_NORM) for group in optimiser.param_groups]
            optimiser.step()
            update_average(average, model, min(options.ema, (1 + run.step) / (10 + run.step)))
            run.step, run.samples = run.step + 1, run.samples + stage.batch
            read_losses()
            pending = (run.step, list(losses), ranks.mean(torch.stack([*weighted.detach(), torch.stack(norms).sum()])))

            # --- report and save
            if not log:
                continue
            progress_bar.n = min(100, round(100 * progress, 1))
            if run.step == 1 or time.monotonic() - saved_at > options.save_minutes * 60:
                show = time.monotonic() - shown_at > sheet_minutes * 60
                try:
                    report(show)
                except SaveError as error:
                    logger.warning("%s; training goes on and tries again in %g minutes", error, options.save_minutes)
                saved_at = time.monotonic()
                shown_at = saved_at if show else shown_at
        read_losses()
        if log:
            progress_bar.n = min(100, round(100 * progress, 1))
            report(show=not stop)  # launchers do not wait long for what they have asked to end
            done = "stopped by request, resume with the same command: " if stop else ""
            logger.info(
                "%s%d steps, %d samples in %.1f minutes: %s", done, run.step, run.samples, run.elapsed_s / 60, run.path
            )
        ranks.wait()  # a launcher ends all ranks as soon as one has ended


def _summary(options: TrainingConfig, sampler: PairSampler) -> dict[str, Any]:
    """Return what a model card should say about this run; what it started from is added when it starts."""
    return {
        "subject": options.subject,
        "data": sampler.summary,
        "stages": options.stages,
        "minutes": None if options.steps else options.minutes,
        "perceptual": options.perceptual,
        "loss_weights": list(options.weight),
        "peak_rate": options.rate,
        "seed": options.seed,
        "started_from": {},
    }


def overview(options: TrainingConfig) -> str:
    """Return for people what would be trained on, and from where. Raises DataError if there is nothing."""
    lines = [take_stock(folder) for folder in options.data]
    lines += [f"validation: {take_stock(options.val, 'val')}"] if options.val else []
    if (options.out / CHECKPOINT).exists():
        lines.append(f"training would go on from {options.out / CHECKPOINT}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code, see `program.command_line`."""
    parser = build_parser()
    given = parser.parse_args(arguments)
    options = read_fields(parser, TrainingConfig, given)
    configure_logging(given.verbose, NEWS)
    return run_program(lambda: print(overview(options)) if given.dry_run else train(options))


if __name__ == "__main__":
    sys.exit(main())
