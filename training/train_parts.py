"""Train the painters of mouth and eyes of a trained network, on squares that are cut out of its own pictures once."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.errors import DataError
from avatarify_plus.program.command_line import ProgramParser, configure_logging, require_place, run_program
from avatarify_plus.program.option_fields import positive
from avatarify_plus.program.stop import stop_on_signal
from avatarify_plus.program.whole_file import write_whole

# isort: split
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from avatarify_plus.motion.keypoints import load_mesh_layout
from avatarify_plus.network.blocks import resize
from avatarify_plus.network.checkpoint import Checkpoint
from avatarify_plus.network.generator import blend_photo
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.network.parts import PART_PX
from avatarify_plus.types import FloatArray
from training.config import TrainingConfig
from training.data.face_points import openings
from training.data.pairs import BatchChoice, PairOptions, PairSampler, mesh_mirror
from training.data.warp import Renderer
from training.loop.checkpoint import CHECKPOINT, load_what_fits, read_start_whole, sole_trainer, write_checkpoint
from training.loop.loader import BatchLoader, BatchNeeds
from training.loop.ranks import Ranks, joined_ranks
from training.loop.schedule import Stage, learning_rate
from training.objective.objective import DISCRIMINATOR_RATE, PART_RATE
from training.objective.parts import PartLosses, PartSample, cut_parts
from training.objective.perceptual import perceptual_network
from training.train import BAR, NEWS, build_pool, update_average

logger = logging.getLogger("training")

DESCRIPTION = """\
Train the painters of mouth and eyes of a trained network, on squares that are cut out of its own pictures once.

On a CPU this is many times faster than training everything together: the network animates --pairs pairs, once, and the
painters then see nothing but small squares. The same command goes on with the cutting where it stopped; Ctrl-C or
SIGTERM ends the training early, with what it has learned."""

EXAMPLES = ("python training/train_parts.py runs/live/checkpoint.pt --data clips/train photos --out runs/parts",)

BATCH = 16
"""Pairs a step, of which each gives one mouth and two eyes."""

CUT_BATCH = 8
"""Pairs that the network animates at a time."""

DRAWN_PER_PAIR = 4
MOUTH_SHARE, EYES_SHARE, PHOTO_SHARE = 0.45, 0.2, 0.2
"""Of this many pairs drawn one is taken: these shares for their mouths, for their eyes and as warped photos, and the
rest as they come, so that painters also see how much is right already."""

EASY_SHARE = 0.4
"""The share of the pairs that are drawn whether or not there is much to paint in them."""

EMA = 0.995
JUDGED_FROM = 0.2
"""The share of the time after which the discriminator takes part: before, there is nothing fine to judge."""

JUDGE_RATE = 3 * DISCRIMINATOR_RATE
"""The discriminator's learning rate; it has little time."""

FIELDS = ("given", "target", "reference", "contours", "reference_contours")
IS_PHOTO = "is_photo.u8"
"""The file that says of each pair whether it is of one photo."""


class ExpressivePairs(PairSampler):
    """Choose pairs whose mouths or eyes differ: of several times as many, mostly those that differ most.

    What a network cannot do is open a closed mouth and close an open eye; of pairs that look alike painters learn
    nothing.
    """

    def choose(self, index: int, size: int) -> BatchChoice:
        """See `PairSampler.choose`."""
        drawn = super().choose(index, DRAWN_PER_PAIR * size)
        meshes = self._pool.meshes(drawn.rows)  # (n, 2, 478, 2)
        by_mouth, by_eyes = (np.argsort(-np.abs(np.diff(value, axis=1)[:, 0])) for value in openings(meshes))
        photos = np.flatnonzero(drawn.is_photo)
        as_they_come = np.arange(len(drawn.rows))
        kept: dict[int, None] = {}
        ends = np.round(np.cumsum([MOUTH_SHARE, EYES_SHARE, PHOTO_SHARE]) * size)
        for count, order in zip((*ends, size), (by_mouth, by_eyes, photos, as_they_come), strict=True):
            for row in order:
                if len(kept) >= count:
                    break
                kept[int(row)] = None
        chosen = np.array(list(kept))
        return BatchChoice._make(values[chosen] for values in drawn)


class Crops:
    """Squares of all pairs in memory-mapped files, (pairs, n, channels, s, s) uint8 for each field of each part.

    They are written as files: what a full disk cannot take of memory that is mapped ends a process without a word.
    """

    def __init__(self, folder: Path, pairs: int) -> None:
        self.folder, self.pairs = folder, pairs
        folder.mkdir(parents=True, exist_ok=True)
        counts = {"mouth": 1, "eye": 2}
        self.arrays: dict[tuple[str, str], NDArray[np.uint8]] = {}
        for part, size in PART_PX.items():
            for name in FIELDS:
                shape = (pairs, counts[part], 2 if "contours" in name else 3, size, size)
                self.arrays[part, name] = _mapped(folder / f"{part}-{name}.u8", shape)
        self.is_photo = _mapped(folder / IS_PHOTO, (pairs,))

    def write(self, start: int, samples: dict[str, PartSample], count: int) -> None:
        """Keep the samples of `count` pairs from pair `start` on. Raises OSError."""
        is_photo = samples["mouth"].is_photo.cpu().numpy().astype(np.uint8)
        for part, sample in samples.items():
            for name in FIELDS:
                levels = (getattr(sample, name).float().clamp(0, 1) * 255).round().to(torch.uint8)
                squares = levels.reshape(len(is_photo), -1, *levels.shape[1:]).cpu().numpy()
                _write_rows(self.folder / f"{part}-{name}.u8", start, squares[:count])
        _write_rows(self.folder / IS_PHOTO, start, is_photo[:count])

    def difficulty(self) -> FloatArray:
        """Return for each pair how far its mouth is from the truth before it is painted, (pairs,)."""
        given, target = self.arrays["mouth", "given"], self.arrays["mouth", "target"]
        inner = slice(32, 96)
        found = [
            np.abs(given[row, 0, :, inner, inner].astype(np.int16) - target[row, 0, :, inner, inner]).mean()
            for row in range(self.pairs)
        ]
        return np.asarray(found, np.float32)

    def sample(
        self, part: str, rows: NDArray[np.int64], random: np.random.Generator, device: torch.device
    ) -> PartSample:
        """Return a part's squares of some pairs, half of them mirrored, in changed light."""
        values = {
            name: torch.from_numpy(self.arrays[part, name][rows]).to(device).flatten(0, 1).float() / 255
            for name in FIELDS
        }
        count = len(values["given"]) // len(rows)
        is_mirrored = torch.from_numpy(random.random(len(rows)) < 0.5).to(device).repeat_interleave(count)
        if part == "mouth":  # eyes all look like right ones: their mirror images would be left ones
            values = {n: torch.where(is_mirrored[:, None, None, None], v.flip(-1), v) for n, v in values.items()}
        gain = torch.from_numpy(random.uniform(0.8, 1.2, (len(rows), 3, 1, 1)).astype(np.float32)).to(device)
        gain = gain.repeat_interleave(count, 0)
        lit = {n: v if "contours" in n else (v * gain).clamp(0, 1) for n, v in values.items()}
        is_photo = torch.from_numpy(self.is_photo[rows].astype(bool)).to(device).repeat_interleave(count)
        return PartSample(**lit, is_photo=is_photo)


def _mapped(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Map a file for reading, which is made of zeros unless it has that size."""
    size = int(np.prod(shape))
    if not path.exists() or path.stat().st_size != size:
        with open(path, "wb") as file:
            file.truncate(size)
    return np.memmap(path, np.uint8, "r", shape=shape)


def _write_rows(path: Path, start: int, rows: NDArray[np.uint8]) -> None:
    """Write rows (n, ...) into a file of such rows, from row `start` on."""
    with open(path, "r+b") as file:
        file.seek(start * rows[0].size)
        file.write(np.ascontiguousarray(rows).data)


def build_parser() -> ProgramParser:
    """Return the command line's parser."""
    parser = ProgramParser(prog="python training/train_parts.py", description=DESCRIPTION, examples=EXAMPLES)
    add = parser.add_argument
    add("model", type=Path, help="checkpoint, or folder or name of a bundle, of a network with photo_reach")
    add("--data", type=Path, nargs="+", required=True, help="folders of clips and photos, or caches of them")
    add("--out", type=Path, required=True, help="run folder; its checkpoint holds the network with its painters")
    add("--cache", type=Path, help="folder of the decoded clips (default: OUT/cache)")
    add("--pairs", type=positive, default=8000, metavar="N", help="pairs to cut squares from (default: 8000)")
    add("--minutes", type=float, default=30, help="time to train, after the cutting (default: 30)")
    add("--width", type=positive, default=24, help="width of the painters (default: 24)")
    add("--photo-px", type=positive, default=512, metavar="PX", help="resolution of the photos (default: 512)")
    add(
        "--photo-share", type=float, default=0.15, metavar="SHARE", help="share of warped single photos (default: 0.15)"
    )
    add(
        "--still-share", type=float, default=0.3, metavar="SHARE", help="share of two photos of a person (default: 0.3)"
    )
    add("--adversarial", type=float, default=0.6, metavar="WEIGHT", help="of the discriminator (default: 0.6)")
    add("--rate", type=float, default=PART_RATE, metavar="RATE", help="peak learning rate (default: %(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="what the draw of pairs and weights starts from (default: 0)")
    return parser


def run(options: argparse.Namespace) -> None:
    """Cut the squares, train, and write the checkpoint. Raises AvatarifyError."""
    require_place(options.out / CHECKPOINT, "--out")
    with joined_ranks("cuda" if torch.cuda.is_available() else "cpu") as ranks, contextlib.ExitStack() as stack:
        if ranks.is_first:
            stack.enter_context(sole_trainer(options.out))
        weights, config, summary = read_start_whole(options.model)
        if not config.photo_reach:
            raise DataError(f"{options.model} has no photo_reach: only networks with it can have painters of parts")
        torch.manual_seed(options.seed)
        model = AnimationModel(replace(config, part_width=options.width)).to(ranks.device)
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's types
        load_what_fits(model, weights)
        crops = Crops(options.out / "crops", options.pairs)
        cut_all(model.eval(), crops, options, ranks)
        train(model, crops, options, ranks, summary)


def cut_all(model: AnimationModel, crops: Crops, options: argparse.Namespace, ranks: Ranks) -> None:
    """Animate the pairs that are still missing and keep their squares."""
    done = crops.folder / "done.txt"
    noted = done.read_text(errors="replace").strip() if done.exists() else ""
    begun = int(noted) if noted.isdecimal() else 0
    if begun >= crops.pairs:
        return
    config = model.config
    data = TrainingConfig(data=tuple(options.data), out=options.out, cache=options.cache)
    pool, _ = build_pool(data, options.photo_px, ranks)
    layout = load_mesh_layout(config.mesh_layout)
    pairs = PairOptions(options.photo_share, options.still_share, 0.8, 0.5, 0.75, 0.3)
    sampler = ExpressivePairs(pool, layout, pairs, options.seed)
    renderer = Renderer(layout, mesh_mirror(config.mesh_layout), ranks.device)
    needs = BatchNeeds(0, config.photo_reach, options.photo_px, 2 * config.motion_size)
    stage = Stage(config.image_size, config.image_size, CUT_BATCH, 1.0)
    with BatchLoader(sampler, pool, renderer, ranks, False, needs) as loader, torch.inference_mode():
        for start in tqdm(range(begun, crops.pairs, CUT_BATCH), desc="cut", unit="batch"):
            batch = loader.batch(start // CUT_BATCH, stage)
            assert batch.photo is not None and batch.contours is not None
            with torch.autocast(ranks.device.type, torch.bfloat16):
                source = model.locate(batch.source, batch.source_keypoints)
                driving = model.locate(batch.driving, batch.driving_keypoints)
                photo = resize(batch.photo, round(config.photo_reach * config.image_size))
                predicted = model(batch.source, source, driving, None, batch.contours.whole, photo)
            picture = blend_photo(predicted.painting, predicted.motion.deformation, batch.photo, config.photo_reach)
            count = min(CUT_BATCH, crops.pairs - start)
            crops.write(start, cut_parts(picture, batch, config.photo_reach), count)
            write_whole(done, str(start + count))


def train(
    model: AnimationModel, crops: Crops, options: argparse.Namespace, ranks: Ranks, summary: dict[str, Any]
) -> None:
    """Train the painters until the time is over or somebody ends it, and write the checkpoint every few minutes."""
    device, path = ranks.device, options.out / CHECKPOINT
    losses = PartLosses(perceptual_network("efficientnet-lite0").to(device), options.adversarial).to(device)
    average = AnimationModel(model.config).to(device)
    average.load_state_dict(model.state_dict())
    optimiser = torch.optim.AdamW(model.parts.parameters(), lr=options.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    own = losses.parameter_groups()
    rival = torch.optim.AdamW(own, lr=JUDGE_RATE) if own else None
    random, step, begun = np.random.default_rng([options.seed, 2]), 0, time.monotonic()
    model.parts.train()
    rows = _rows(crops.difficulty(), random)
    saved_s = begun
    with stop_on_signal() as request, tqdm(total=100, unit="%", bar_format=BAR) as bar:
        while (progress := (time.monotonic() - begun) / 60 / options.minutes) < 1 and not request.is_set():
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(options.rate, progress, step)
            found: dict[str, Tensor] = {}
            chosen = next(rows)
            for part in model.parts:
                sample = crops.sample(part, chosen, random, device)
                with torch.autocast(device.type, torch.bfloat16):
                    found |= losses.losses(part, model.parts[part], sample, judges=progress > JUDGED_FROM)
            optimiser.zero_grad(set_to_none=True)
            if rival is not None:
                rival.zero_grad(set_to_none=True)
            torch.stack(list(found.values())).sum().backward()
            torch.nn.utils.clip_grad_norm_(model.parts.parameters(), 5.0)
            optimiser.step()
            if rival is not None and progress > JUDGED_FROM:
                rival.step()
            update_average(average.parts, model.parts, min(EMA, (1 + step) / (10 + step)))
            step += 1
            bar.n = min(100, round(100 * progress, 1))
            if step % 50 == 1:
                shown = ", ".join(f"{name} {float(value.detach()):.2f}" for name, value in found.items())
                bar.set_postfix_str(f"step {step}, {shown}")
            if time.monotonic() - saved_s > 240:
                _save(path, average, step, time.monotonic() - begun, summary, options)
                saved_s = time.monotonic()
    _save(path, average, step, time.monotonic() - begun, summary, options)


def _save(
    path: Path, model: AnimationModel, step: int, elapsed_s: float, summary: dict[str, Any], options: argparse.Namespace
) -> None:
    painters = {"pairs": options.pairs, "steps": step, "batch": BATCH, "minutes": round(elapsed_s / 60, 1)}
    values = summary.get("training", {}) | {"painters": painters}
    samples = int(summary.get("samples", 0))
    write_checkpoint(path, Checkpoint(model.config, model.state_dict(), step, samples, elapsed_s, values, None))


def _rows(difficulty: FloatArray, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield batches of pair numbers: of each, a share goes to all pairs alike, the rest to the difficult ones."""
    weight = EASY_SHARE / len(difficulty) + (1 - EASY_SHARE) * difficulty / max(float(difficulty.sum()), 1e-9)
    while True:
        yield np.sort(random.choice(len(difficulty), BATCH, p=weight / weight.sum()))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code, see `program.command_line`."""
    options = build_parser().parse_args(arguments)
    configure_logging(options.verbose, NEWS)
    return run_program(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
