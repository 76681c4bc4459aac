"""Train a model on clips and photos of faces.

    python training/train.py --data clips/train --out runs/live --preset ours-skip --size live --minutes 120
    torchrun --nproc-per-node 2 training/train.py ...          two processes, one thread each, are faster on two cores

The run folder holds checkpoint.pt, metrics.csv, loss.png and sheet-*.png. The same command again resumes.
"""

from __future__ import annotations

import argparse
import copy
import csv
import logging
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from anywhere

from avatarify_plus.config import PRESETS, SIZES, NetworkConfig, network_config
from avatarify_plus.errors import AvatarifyError, ConfigError
from avatarify_plus.motion import MeshLayout, keypoints_from_mesh, load_mesh_layout
from avatarify_plus.network.generator import Window
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.types import Keypoints
from training.cache import Cache, build_cache
from training.checkpoint import load_checkpoint, save_checkpoint
from training.contact_sheet import contact_sheet, write_picture
from training.objective import LossWeights, TrainingModel
from training.pairs import Batch, PairSampler
from training.perceptual import PERCEPTUAL_NETWORKS, perceptual_network

logger = logging.getLogger("training")


class Stage(NamedTuple):
    """One part of the run: picture and decoded window in px, batch per process, share of the time budget."""

    image_size: int
    window_size: int
    batch: int
    share: float

    def window(self, random: np.random.Generator) -> Window | None:
        """Draw the part of the picture to decode; None for all of it."""
        if self.window_size == self.image_size:
            return None
        top, left = random.integers(0, (self.image_size - self.window_size) // 4 + 1, 2)
        return Window(int(top), int(left), self.window_size // 4)


class Validation:
    """Self-reenactment of a few clips: L1 at full size and a contact sheet. Source = first frame."""

    def __init__(self, cache: Cache, layout: MeshLayout, clips: int) -> None:
        usable = [c for c in cache.clips if c.count > 1 and not np.isnan(cache.landmarks[c.start, 0, 0])]
        picked = usable[:: max(1, len(usable) // clips)][:clips]
        rows = [(c.start, self._farthest(cache, c.start, c.count)) for c in picked]
        self._layout = layout
        self.pairs = [
            (np.array(cache.frames[a]), np.array(cache.frames[b]), cache.landmarks[a], cache.landmarks[b])
            for a, b in rows
        ]

    @staticmethod
    def _farthest(cache: Cache, start: int, count: int) -> int:
        """Return the frame whose face differs most from the first: the hardest of the clip."""
        meshes = cache.landmarks[start : start + count, :468, :2]
        distance = np.abs(meshes - meshes[0]).mean((1, 2))
        return start + int(np.nanargmax(distance))

    def run(self, model: AnimationModel) -> tuple[float, np.ndarray]:
        """Return the mean L1 over the pairs and the contact sheet."""
        model.eval()
        errors, rows = [], []
        with torch.no_grad():
            for source, driving, source_mesh, driving_mesh in self.pairs:
                images = torch.from_numpy(np.stack([source, driving])).permute(0, 3, 1, 2).float() / 255
                if model.config.keypoints == "learned":
                    found = model.detect(images)
                    keypoints = [Keypoints(found.value[i : i + 1], found.jacobian[i : i + 1]) for i in (0, 1)]
                else:
                    keypoints = [
                        Keypoints(*(torch.from_numpy(part)[None] for part in keypoints_from_mesh(m, self._layout)))
                        for m in (source_mesh, driving_mesh)
                    ]
                prediction = model(images[:1], keypoints[0], keypoints[1])
                errors.append(float((prediction.image[0] - images[1]).abs().mean()))
                shown = [prediction.image[0]] + [o[0].expand(3, -1, -1) for o in prediction.motion.occlusions[::2]]
                rows.append([source, driving, *((x.permute(1, 2, 0).numpy() * 255).astype(np.uint8) for x in shown)])
        labels = ["source", "driving", "ours", "occlusion, coarse", "fine"][: len(rows[0])]
        return float(np.mean(errors)), contact_sheet(rows, labels)


def parse_stages(text: str) -> list[Stage]:
    """Read "128x12:0.7,256/128x6:0.3": size [/ window] x batch : share of the budget.

    Raises ConfigError if malformed.
    """
    try:
        stages = []
        for part in text.split(","):
            shape, share = part.split(":")
            sizes, batch = shape.split("x")
            size, _, window = sizes.partition("/")
            stages.append(Stage(int(size), int(window or size), int(batch), float(share)))
    except ValueError as error:
        raise ConfigError(f"--stages wants e.g. 128x12:0.7,256/128x6:0.3, found {text!r}") from error
    if any(stage.window_size > stage.image_size or stage.window_size % 32 for stage in stages):
        raise ConfigError(f"a window must be a multiple of 32 and no larger than the picture, found {text!r}")
    if abs(sum(stage.share for stage in stages) - 1) > 1e-6 or min(stage.batch for stage in stages) < 1:
        raise ConfigError(f"the shares of --stages must add up to 1 and batches be positive, found {text!r}")
    return stages


def stage_at(stages: list[Stage], progress: float) -> Stage:
    """Return the stage at a progress in [0, 1]."""
    passed = 0.0
    for stage in stages:
        passed += stage.share
        if progress < passed:
            return stage
    return stages[-1]


def learning_rate(peak: float, progress: float, step: int, warmup_steps: int = 100) -> float:
    """Return the rate: linear warm-up, then a cosine to 2 % of the peak at progress 1."""
    cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return peak * cosine * min(1.0, (step + 1) / warmup_steps)


def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged weights towards the model's; buffers are copied."""
    with torch.no_grad():
        for mean, value in zip(average.parameters(), model.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)
        for kept, buffer in zip(average.buffers(), model.buffers(), strict=True):
            kept.copy_(buffer)


def load_what_fits(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy the tensors that the model has, in its shapes; what stays as it was initialised is logged."""
    own = model.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    model.load_state_dict(own | fitting)
    fresh = sorted(set(own) - set(fitting))
    if fresh:
        logger.info("not in the warm start, so initialised anew: %s", ", ".join(fresh))


def write_loss_curve(path: Path, rows: list[dict[str, Any]]) -> None:
    """Plot the losses over samples."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    names = [name for name in rows[-1] if name not in ("step", "samples", "elapsed_s", "rate")]
    for name in names:
        points = [(r["samples"], float(r[name])) for r in rows if r.get(name) not in (None, "")]
        axes.plot([x for x, _ in points], [y for _, y in points], label=name)
    axes.set(xlabel="samples", ylabel="weighted loss", yscale="log")
    axes.legend()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of clips and photos")
    parser.add_argument("--val", type=Path, help="folder of clips for the contact sheets and val L1")
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--cache", type=Path, help="folder of the decoded clips (default: OUT/cache)")
    parser.add_argument("--preset", choices=PRESETS, default="ours")
    parser.add_argument("--size", choices=SIZES, default="live")
    parser.add_argument("--keypoints", choices=("learned", "mesh"), default="mesh")
    parser.add_argument("--keypoint-count", type=int, help="learned keypoints only (default: as many as the mesh's)")
    parser.add_argument(
        "--mesh-warmup", type=int, default=0, help="steps during which learned keypoints follow the mesh"
    )
    parser.add_argument(
        "--stages",
        default="128x6:0.7,256/128x6:0.3",
        help="size [/ decoded window] x batch per process : share of the budget",
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, default=60, help="time budget of the whole run")
    budget.add_argument("--steps", type=int, help="budget in steps instead, the same on every machine")
    parser.add_argument("--rate", type=float, default=6e-4, help="peak learning rate")
    parser.add_argument("--ema", type=float, default=0.999, help="decay of the averaged weights")
    parser.add_argument(
        "--heatmap-variance", type=float, help="of the keypoints' Gaussians (default: the paper's 0.01)"
    )
    parser.add_argument("--photo-share", type=float, default=0.1, help="share of pairs made from photos")
    parser.add_argument("--perceptual", choices=PERCEPTUAL_NETWORKS, default="efficientnet-lite0")
    parser.add_argument("--warm-start", type=Path, help="checkpoint whose weights to start from")
    parser.add_argument(
        "--fresh", nargs="*", default=[], metavar="PREFIX", help="tensors not to take from the warm start"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-minutes", type=float, default=4, help="time between checkpoints and contact sheets")
    return parser.parse_args(arguments)


def train(options: argparse.Namespace) -> None:
    """Train as the options say; reads downward: set up, resume, loop, save."""
    # --- processes and device
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if ranks > 1:
        dist.init_process_group("nccl" if options.device == "cuda" else "gloo")
    device = (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if options.device == "cuda" else torch.device("cpu")
    )
    torch.manual_seed(options.seed)

    # --- data
    stages = parse_stages(options.stages)
    layout = load_mesh_layout(network_config(options.preset, options.size).mesh_layout)
    count = layout.keypoint_count if options.keypoints == "mesh" else options.keypoint_count or layout.keypoint_count
    if options.mesh_warmup and count != layout.keypoint_count:
        raise ConfigError(f"--mesh-warmup needs --keypoint-count {layout.keypoint_count}, found {count}")
    config = network_config(options.preset, options.size, keypoints=options.keypoints, keypoint_count=count)
    if options.heatmap_variance:
        config = replace(config, heatmap_variance=options.heatmap_variance)
    cache_folder = options.cache or options.out / "cache"
    if rank == 0:
        options.out.mkdir(parents=True, exist_ok=True)
        for folder in [*options.data, *([options.val] if options.val else [])]:
            build_cache(folder, cache_folder, config.image_size, os.cpu_count() or 1)
    if ranks > 1:
        dist.barrier()
    caches = [build_cache(folder, cache_folder, config.image_size, 1) for folder in options.data]
    validation = None
    if options.val and rank == 0:
        validation = Validation(build_cache(options.val, cache_folder, config.image_size, 1), layout, clips=8)

    # --- model, average and optimiser
    model = AnimationModel(config).to(device)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's types
    average = copy.deepcopy(model).eval()
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    step, samples, elapsed_s, rows = 0, 0, 0.0, []
    summary = _summary(options)
    path = options.out / "checkpoint.pt"
    if path.exists():
        saved = load_checkpoint(path)
        if NetworkConfig.from_dict(saved["config"]) != config:
            raise ConfigError(f"{path} holds another network: choose another --out or the options it was started with")
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["ema"])
        optimiser.load_state_dict(saved["optimiser"])
        step, samples, elapsed_s = saved["step"], saved["samples"], saved["elapsed_s"]
        summary["data"] = saved["training"]["data"]
        if (options.out / "metrics.csv").exists():
            with open(options.out / "metrics.csv", newline="") as file:
                rows = [{k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)]
        logger.info("resuming at step %d, %.1f minutes", step, elapsed_s / 60)
    elif options.warm_start:
        weights = load_checkpoint(options.warm_start)["ema"]
        kept = {name: value for name, value in weights.items() if not name.startswith(tuple(options.fresh))}
        load_what_fits(model, kept)
        average.load_state_dict(model.state_dict())
    sampler: PairSampler | None = None
    sampled_size = 0
    windows = np.random.default_rng([options.seed, rank, step])
    perceptual = perceptual_network(options.perceptual).to(device)
    trained: nn.Module = TrainingModel(model, perceptual, LossWeights(), layout, scales=3)
    if ranks > 1:
        trained = DistributedDataParallel(trained)
    started_from_s, began, saved_at = elapsed_s, time.monotonic(), time.monotonic()
    budget_s = options.minutes * 60
    sums: dict[str, float] = {}
    summed = 0
    progress_bar = tqdm(
        total=100, initial=0, unit="%", bar_format="{desc} {percentage:3.0f}%|{bar}| {postfix}", disable=rank != 0
    )

    # --- loop
    while True:
        elapsed_s = started_from_s + time.monotonic() - began
        clock = torch.tensor([elapsed_s])
        if ranks > 1:
            dist.broadcast(clock, 0)  # all processes change stage and stop at the same step
        progress = step / options.steps if options.steps else float(clock) / budget_s
        if progress >= 1:
            break
        stage = stage_at(stages, progress)
        if sampler is None or sampled_size != stage.image_size:
            sampled_size = stage.image_size
            seed = options.seed + 1000 * rank + step
            sampler = PairSampler(caches, layout, stage.image_size, options.photo_share, seed)
            summary["data"] = sampler.summary
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(options.rate, progress, step)
        batch = sampler.batch(stage.batch)
        batch = Batch(
            batch.source.to(device),
            batch.driving.to(device),
            Keypoints(*(part.to(device) for part in batch.source_keypoints)),
            Keypoints(*(part.to(device) for part in batch.driving_keypoints)),
        )
        trained.train()
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
            losses = trained(batch, stage.window(windows), step < options.mesh_warmup)
        loss = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        if not torch.isfinite(norm):
            raise AvatarifyError(f"training diverged at step {step}: the last good checkpoint is {path}")
        optimiser.step()
        update_average(average, model, min(options.ema, (1 + step) / (10 + step)))
        step, samples, summed = step + 1, samples + stage.batch * ranks, summed + 1
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())

        # --- report and save
        if rank == 0:
            progress_bar.n = min(100, round(100 * progress, 1))
            progress_bar.set_postfix_str(
                f"{elapsed_s / 60:.1f} min, step {step}, {samples / 1000:.1f}k samples, loss {float(loss.detach()):.3f}"
            )
        if rank == 0 and (time.monotonic() - saved_at > options.save_minutes * 60 or (summed == 1 and step == 1)):
            row: dict[str, Any] = {"step": step, "samples": samples, "elapsed_s": round(elapsed_s, 1)}
            row |= {name: value / summed for name, value in sums.items()}
            sums, summed = {}, 0
            if validation:
                row["val L1"], sheet = validation.run(average)
                write_picture(options.out / f"sheet-{step:07d}.png", sheet)
            rows.append(row)
            _write_metrics(options.out, rows)
            _save(path, config, model, average, optimiser, step, samples, elapsed_s, summary)
            saved_at = time.monotonic()
    if rank == 0:
        if validation:
            value, sheet = validation.run(average)
            write_picture(options.out / f"sheet-{step:07d}.png", sheet)
            logger.info("val L1 %.4f", value)
        _save(path, config, model, average, optimiser, step, samples, elapsed_s, summary)
        logger.info("%d steps, %d samples in %.1f minutes: %s", step, samples, elapsed_s / 60, path)
    progress_bar.close()
    if ranks > 1:
        dist.destroy_process_group()


def _summary(options: argparse.Namespace) -> dict[str, Any]:
    """Return what a model card should say of this run; a warm start's own summary is part of it."""
    earlier = load_checkpoint(options.warm_start) if options.warm_start else {}
    return {
        "data": {},
        "stages": options.stages,
        "minutes": None if options.steps else options.minutes,
        "perceptual": options.perceptual,
        "peak_rate": options.rate,
        "seed": options.seed,
        "started_from": {name: earlier[name] for name in ("step", "samples", "training") if name in earlier},
    }


def _write_metrics(out: Path, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open(out / "metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    write_loss_curve(out / "loss.png", rows)


def _save(
    path: Path,
    config: NetworkConfig,
    model: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
    samples: int,
    elapsed_s: float,
    summary: dict[str, Any],
) -> None:
    save_checkpoint(
        path,
        {
            "config": config.to_dict(),
            "model": model.state_dict(),
            "ema": average.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": step,
            "samples": samples,
            "elapsed_s": elapsed_s,
            "training": summary,
        },
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    options = parse_arguments(arguments)
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
