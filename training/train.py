"""Train a model on clips and photos of faces, or, with --subject, of bodies or anything else that moves.

    python training/train.py --data clips/train --out runs/live --preset ours-skip --size live --minutes 120
    torchrun --nproc-per-node 2 training/train.py ...          two processes, one thread each, are faster on two cores
    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29400 training/train.py ...
                                                               several nodes, with --out and --cache on a shared disk

The run folder holds checkpoint.pt, metrics.csv, loss.png, sheet-*.png and a TensorBoard log. The same command again
resumes, also on another number of processes: a batch is drawn whole, by the seed and its number, and then shared out.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from anywhere

from avatarify_plus.errors import AvatarifyError, ConfigError
from avatarify_plus.motion.keypoints import MeshLayout, load_mesh_layout
from avatarify_plus.network.config import SIZES, KeypointOrigin, NetworkConfig
from training.data.cache import Cache, build_cache, open_cache
from training.data.datasets import Split, Subject
from training.data.pairs import CANDIDATES, PairOptions, PairSampler, Pool, mesh_mirror
from training.data.warp import Renderer
from training.loop.checkpoint import SaveError, is_finite, load_checkpoint, load_start, load_what_fits, save_checkpoint
from training.loop.guard import DivergedError, LossGuard, StopRequest
from training.loop.loader import BatchLoader, fits_on_device
from training.loop.logbook import Logbook
from training.loop.overrides import apply_overrides
from training.loop.ranks import Ranks, joined_ranks, synchronise_batch_norm
from training.loop.schedule import learning_rate, parse_stages, stage_at
from training.loop.validation import Validation
from training.networks import BASELINE, TRAINABLE, Network, base_config, build_network
from training.objective.discriminator import DiscriminatorConfig, MultiScaleDiscriminator
from training.objective.identity import IdentityNetwork
from training.objective.objective import LossWeights, TrainingModel
from training.objective.perceptual import PERCEPTUAL_NETWORKS, perceptual_network

logger = logging.getLogger("training")

CLIP_NORM = 5.0
VALIDATED_CLIPS = 8
BAR = "{desc} {percentage:3.0f}%|{bar}| {postfix}"
LEARNED_BESIDE_MESH = 10
ANCHOR_RADIUS = 0.15
"""Of learned keypoints beside the mesh's: they stay at the picture's border, the mesh has the face."""


def build_parser(add_help: bool = True) -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, add_help=add_help
    )
    add = parser.add_argument
    add("--data", type=Path, nargs="+", required=True, help="folders of clips and photos, or caches of them")
    add("--val", type=Path, help="folder of clips, or a cache, for the contact sheets and val L1")
    add("--out", type=Path, required=True, help="run folder")
    add("--cache", type=Path, help="folder of the decoded clips (default: OUT/cache)")
    # --- schedule
    add(
        "--stages",
        default="128x12:0.7,256/128x12:0.3",
        help="size [/ decoded window] x batch over all processes : share of the budget",
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, default=60, help="time budget of the whole run")
    budget.add_argument("--steps", type=int, help="budget in steps instead, the same on every machine")
    add("--session-minutes", type=float, help="save and stop after so long; the same command goes on from there")
    add("--rate", type=float, default=6e-4, help="peak learning rate")
    add("--ema", type=float, default=0.999, help="decay of the averaged weights")
    add("--mesh-warmup", type=int, default=0, help="steps during which learned keypoints follow the mesh")
    # --- start
    add("--warm-start", type=Path, help="checkpoint, or folder or name of a model bundle, whose weights to start from")
    add("--fresh", nargs="*", default=[], metavar="PREFIX", help="tensors not to take from the warm start")
    add("--seed", type=int, default=0)
    add("--save-minutes", type=float, default=4, help="time between checkpoints")
    add("--sheet-minutes", type=float, help="time between contact sheets (default: --save-minutes)")
    add_step_options(parser)
    return parser


def add_step_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that decide what one step is: network, pairs, losses, machine."""
    pairs = PairOptions()
    add = parser.add_argument
    # --- network
    add("--preset", choices=TRAINABLE, default="ours")
    add("--size", choices=SIZES, default="live")
    add(
        "--keypoints",
        choices=get_args(KeypointOrigin),
        help="where keypoints come from (default: mesh of a face, else learned)",
    )
    add(
        "--keypoint-count",
        type=int,
        help="learned keypoints (default: as many as the mesh's; "
        f"with `both`, {LEARNED_BESIDE_MESH} beside them; without a face, the paper's 10)",
    )
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="FIELD=VALUE",
        help="change fields of NetworkConfig, e.g. heatmap_variance=0.003 motion.width=48",
    )
    # --- pairs and losses
    add(
        "--subject",
        choices=get_args(Subject),
        default="face",
        help="what the clips show; only of faces is a mesh found and used, for keypoints, hard pairs and losses",
    )
    add("--photo-share", type=float, default=pairs.photo_share, help="share of pairs made by warping one photo")
    add("--still-share", type=float, default=pairs.still_share, help="share of pairs of two photos of one person")
    add(
        "--hard-pairs",
        type=float,
        default=pairs.hard_share,
        help=f"share of pairs whose driving frame is the hardest of {CANDIDATES}",
    )
    add(
        "--identity-exponent",
        type=float,
        default=pairs.identity_exponent,
        help="a person with n pictures is drawn with weight n ** this: 0 balances people, 1 pictures",
    )
    add("--perceptual", choices=PERCEPTUAL_NETWORKS, default="efficientnet-lite0")
    add(
        "--weight",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="change fields of LossWeights, e.g. pixels=10",
    )
    # --- machine
    add("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    add("--precision", choices=("bf16", "fp32"), default="bf16")
    flag = argparse.BooleanOptionalAction
    add("--compile", action=flag, help="let torch compile the step (default: on cuda, where the minutes pay)")
    add(
        "--sync-batchnorm",
        action=flag,
        help="batch statistics over all processes (default: on cuda; on CPUs a step takes 40 %% longer)",
    )
    add(
        "--data-on-device",
        choices=("auto", "yes", "no"),
        default="auto",
        help="hold all frames in the device's memory; auto: if they take less than half of a GPU's free memory",
    )


def build_config(options: argparse.Namespace) -> tuple[NetworkConfig, MeshLayout]:
    """Return the network that the options ask for, and its mesh layout. Raises ConfigError."""
    base = base_config(options.preset, options.size)
    named = [change for change in options.set if change.startswith("mesh_layout=")]
    layout = load_mesh_layout(apply_overrides(base, named, "--set").mesh_layout)
    if base.preset == BASELINE:  # it has no keypoints
        config = apply_overrides(base, options.set, "--set")
        refuse_meshes(options, config)
        return config, layout
    has_face = options.subject == "face"
    origin: KeypointOrigin = options.keypoints or ("mesh" if has_face else "learned")
    own = layout.keypoint_count
    learned = (options.keypoint_count or LEARNED_BESIDE_MESH) if origin == "both" else 0
    alone = options.keypoint_count or (own if has_face else base.keypoint_count)
    count = alone if origin == "learned" else own + learned
    radius = ANCHOR_RADIUS if learned else base.anchor_radius
    base = replace(base, keypoints=origin, keypoint_count=count, learned_count=learned, anchor_radius=radius)
    config = apply_overrides(base, options.set, "--set")
    refuse_meshes(options, config)
    if options.mesh_warmup and (origin, count) != ("learned", own):
        raise ConfigError(
            f"--mesh-warmup needs --keypoints learned and --keypoint-count {own}, found {origin} and {count}"
        )
    return config, layout


def refuse_meshes(options: argparse.Namespace, config: NetworkConfig) -> None:
    """Raise ConfigError if the options want a face mesh of a subject that has none."""
    if options.subject == "face":
        return
    weights = build_weights(options)
    wants = {
        f"--keypoints {config.keypoints}": config.reads_mesh and config.preset != BASELINE,
        "--mesh-warmup": bool(options.mesh_warmup),
        "--weight identity": bool(weights.identity),
        "--weight expression_gain": bool(weights.expression_gain),
    }
    wanted = [option for option, is_wanted in wants.items() if is_wanted]
    if wanted:
        raise ConfigError(
            f"--subject {options.subject} goes without a face mesh, found {', '.join(wanted)}: leave that out"
        )


def build_weights(options: argparse.Namespace) -> LossWeights:
    """Return the weights of the losses; what needs a face mesh is 0 for other subjects. Raises ConfigError."""
    weights = LossWeights() if options.subject == "face" else LossWeights(identity=0.0, expression_gain=0.0)
    return apply_overrides(weights, options.weight, "--weight")


def build_objective(options: argparse.Namespace, model: Network, ranks: Ranks) -> TrainingModel:
    """Return what computes the losses of a step: compiled, and with batch statistics over all ranks, as asked."""
    weights = build_weights(options)
    count = model.config.keypoint_count
    objective = TrainingModel(
        model,
        perceptual_network(options.perceptual).to(ranks.device),
        weights,
        scales=3,
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


def build_pool(options: argparse.Namespace, size: int, ranks: Ranks) -> tuple[Pool, Cache | None]:
    """Decode what is not yet decoded, on the first rank, and open it: training clips and validation clips."""
    root = options.cache or options.out / "cache"

    def opened(folder: Path, split: Split) -> Cache:
        if (folder / "frames.u8").exists():
            return open_cache(folder)
        return build_cache(folder, root, size, os.cpu_count() or 1 if ranks.is_first else 1, split, options.subject)

    if not ranks.is_first:
        ranks.wait()
    caches = [opened(folder, "train") for folder in options.data]
    validation = opened(options.val, "val") if options.val and ranks.is_first else None
    if ranks.is_first:
        ranks.wait()
    return Pool(caches, options.subject), validation


def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged weights towards the model's; buffers are copied."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        for kept, buffer in zip(average.buffers(), model.buffers(), strict=True):
            kept.copy_(buffer)


@dataclass
class Run:
    """What a checkpoint holds: networks, optimiser, and how far the run has come."""

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

    def resume(self) -> None:
        """Go on from the checkpoint. Raises ConfigError if it holds another network."""
        saved = load_checkpoint(self.path)
        if NetworkConfig.from_dict(saved["config"]) != self.config:
            raise ConfigError(
                f"{self.path} holds another network: choose another --out or the options it was started with"
            )
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["ema"])
        self.objective.load_extra_state(saved.get("objective", {}))
        self._load_optimiser(saved["optimiser"])
        self.step, self.samples, self.elapsed_s = saved["step"], saved["samples"], saved["elapsed_s"]
        self.summary["started_from"] = saved["training"].get("started_from", {})
        logger.info("resuming at step %d, %.1f minutes", self.step, self.elapsed_s / 60)

    def _load_optimiser(self, state: dict[str, Any]) -> None:
        """Take the moments, not the rates, which are this command's; anew if a discriminator came or went."""
        fresh = [{k: v for k, v in group.items() if k != "params"} for group in self.optimiser.param_groups]
        if len(state["param_groups"]) != len(fresh):
            logger.warning("%s was trained with other losses: the optimiser starts anew", self.path)
            return
        self.optimiser.load_state_dict(state)
        for group, values in zip(self.optimiser.param_groups, fresh, strict=True):
            group.update(values)

    def start_from(self, path: Path, fresh: list[str]) -> None:
        """Start from other weights, without those whose names begin with one of `fresh`."""
        weights, self.summary["started_from"] = load_start(path)
        load_what_fits(
            self.model, {n: value for n, value in weights.items() if not fresh or not n.startswith(tuple(fresh))}
        )
        self.average.load_state_dict(self.model.state_dict())

    def save(self) -> None:
        """Write the checkpoint, or keep the old one. Raises SaveError, or DivergedError if a weight is not finite."""
        if not is_finite(self.model, self.average):
            raise DivergedError(f"the weights are not finite at step {self.step}: {self.last_good}")
        values = {
            "config": self.config.to_dict(),
            "model": self.model.state_dict(),
            "ema": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "samples": self.samples,
            "elapsed_s": self.elapsed_s,
            "training": self.summary,
        }
        extra = self.objective.extra_state()
        save_checkpoint(self.path, values | ({"objective": extra} if extra else {}))

    @property
    def last_good(self) -> str:
        """What to go back to, for a message."""
        return f"the last good checkpoint is {self.path}" if self.path.exists() else "no checkpoint was written yet"


def train(options: argparse.Namespace) -> None:
    """Train as the options say. Raises AvatarifyError."""
    with joined_ranks(options.device) as ranks:
        _train(options, ranks)


def _train(options: argparse.Namespace, ranks: Ranks) -> None:
    """Read downward: set up, resume, loop, save."""
    # --- data
    began = time.monotonic()
    stages = parse_stages(options.stages, ranks.count)
    config, layout = build_config(options)
    pairs = PairOptions(options.photo_share, options.still_share, options.hard_pairs, options.identity_exponent)
    options.out.mkdir(parents=True, exist_ok=True)
    pool, clips = build_pool(options, config.image_size, ranks)
    validation = Validation(clips, layout, VALIDATED_CLIPS, options.subject) if clips else None
    sampler = PairSampler(pool, layout, pairs, options.seed)

    # --- model, average and optimiser
    torch.manual_seed(options.seed)
    torch.backends.cudnn.benchmark = True
    model = build_network(config).to(ranks.device)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's types
    average = copy.deepcopy(model).eval()
    objective = build_objective(options, model, ranks)
    optimiser = build_optimiser(objective, options.rate)
    run = Run(options.out / "checkpoint.pt", config, model, average, objective, optimiser, _summary(options, sampler))
    if run.path.exists():
        run.resume()
    elif options.warm_start:
        run.start_from(options.warm_start, options.fresh)
    trained: nn.Module = objective
    if ranks.count > 1:
        trained = DistributedDataParallel(objective, gradient_as_bucket_view=True)

    # --- loop
    guard = LossGuard()
    log = Logbook(options.out, run.step) if ranks.is_first else None
    renderer = Renderer(layout, mesh_mirror(config.mesh_layout), ranks.device)
    hold = {"yes": True, "no": False, "auto": fits_on_device(pool, ranks.device)}[options.data_on_device]
    flow_cells = config.motion_size if objective.weights.flow else 0
    sheet_minutes = options.save_minutes if options.sheet_minutes is None else options.sheet_minutes
    pending: tuple[int, list[str], Tensor] | None = None  # the last step's losses, not yet read from the device
    with (
        StopRequest() as request,
        BatchLoader(sampler, pool, renderer, ranks, hold, flow_cells) as loader,
        tqdm(total=100, unit="%", bar_format=BAR, disable=not ranks.is_first) as progress_bar,
    ):
        started_from_s, started, saved_at, shown_at = run.elapsed_s, time.monotonic(), time.monotonic(), -math.inf

        def read_losses() -> None:
            """Read the last step's losses: one step late, so that the device never waits for the host."""
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
            run.elapsed_s, session_s, stop = ranks.largest(own_elapsed_s, session_s, request.is_set)
            progress = run.step / options.steps if options.steps else run.elapsed_s / (options.minutes * 60)
            is_over = options.session_minutes is not None and session_s > options.session_minutes * 60
            if progress >= 1 or stop or is_over:
                break
            stage = stage_at(stages, progress)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(group["peak"], progress, run.step)
            batch = loader.batch(run.step, stage)
            window = stage.window(sampler.random(run.step))
            # What is drawn in the step hangs on its number alone, so that no state of chance needs saving.
            torch.manual_seed(np.random.SeedSequence([options.seed, run.step, ranks.rank]).generate_state(1)[0])
            trained.train()
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
            report(show=True)
            log.close()
            done = "stopped by request, resume with the same command: " if stop else ""
            logger.info(
                "%s%d steps, %d samples in %.1f minutes: %s", done, run.step, run.samples, run.elapsed_s / 60, run.path
            )


def _summary(options: argparse.Namespace, sampler: PairSampler) -> dict[str, Any]:
    """Return what a model card should say of this run; what it started from is added when it starts."""
    return {
        "subject": options.subject,
        "data": sampler.summary,
        "stages": options.stages,
        "minutes": None if options.steps else options.minutes,
        "perceptual": options.perceptual,
        "loss_weights": options.weight,
        "peak_rate": options.rate,
        "seed": options.seed,
        "started_from": {},
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        train(options)
    except AvatarifyError as error:
        print(f"train: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
