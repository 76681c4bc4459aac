"""Train a model on for one face: from a bundle, on clips and photos of one person, for a few minutes."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.program.command_line import ProgramParser, add_model_argument, configure_logging, run_program

# isort: split
import torch

from avatarify_plus.bundle import open_bundle
from avatarify_plus.errors import ModelError
from avatarify_plus.network.checkpoint import read_checkpoint
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.program.option_fields import about, parse_number
from training.config import NETWORK, TrainingConfig, default_device
from training.loop.checkpoint import CHECKPOINT, read_start, write_checkpoint
from training.train import NEWS, train

DESCRIPTION = """\
Train a model on for one face: from a bundle, on clips and photos of one person, for a few minutes.

Everything but the painters of mouth and eyes is trained on, for which there is training/train_parts.py. `avatarify
adapt` cuts the clips, calls both, and exports, quantizes and compares the result. The run folder holds checkpoint.pt
and, when it is over, adapted.pt; the same command goes on, and on Ctrl-C or SIGTERM the run ends early, with what it
has learned so far."""

EXAMPLES = ("python training/adapt.py live-512 --data clips/anna --out runs/anna --minutes 5",)

RATE = 6e-4
WARMUP_STEPS = 20
EMA = 0.98
BATCH = 4
"""Small: in a few minutes more steps are worth more than larger ones."""

HARD_PAIRS = 0.9
"""The share of pairs whose mouths, eyes or poses differ most of eight: blinks and open mouths are rare in films."""

STEP_SHARE = 0.8
"""The adapted weights go this share of the way from the bundle's to the trained ones.

The way's first half brings most of what the whole picture gains, and costs other faces and large turns least (Wortsman
et al. 2022, "Robust fine-tuning of zero-shot models"); face and mouth gain up to its end.
"""

ADAPTED = "adapted.pt"
"""The file in the run folder that holds the adapted weights."""

WITHOUT = ("flow", "equivariance_value", "equivariance_jacobian", "identity")
"""Losses that a network that can move already does well without, in less time."""

SMALLEST_SQUARE = 0.75
"""The smallest side of squares that are cut out of the pictures, in their sides: the person is framed as in calls."""

WINDOWS = ((0.5, 0.5), (0.75, 0.5))
"""Sides of the decoded windows in the picture's, each with its share of the time: the smaller ones are quicker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptationConfig(TrainingConfig):
    """What an adaptation asks of the trainer. start: the network that is trained on."""

    start: NetworkConfig = field(metadata=about(NETWORK, "network that is trained on"))

    def network(self) -> NetworkConfig:
        """Return the network that is trained."""
        return self.start


def adaptation(model: str, data: tuple[Path, ...], out: Path, minutes: float) -> AdaptationConfig:
    """Return what the trainer is asked for.

    model: the bundle to start from. Raises ModelError if it cannot be trained on.
    """
    bundle = open_bundle(model)
    config = bundle.config
    if not config.reads_mesh:
        raise ModelError(f"{bundle.manifest.name} has learned keypoints alone: adapt a model that reads the face mesh")
    size = config.image_size
    stages = ",".join(f"{size}/{round(side * size / 32) * 32}x{BATCH}:{share}" for side, share in WINDOWS)
    return AdaptationConfig(
        start=config,
        preset=config.preset,
        data=data,
        out=out,
        warm_start=bundle.folder,
        stages=stages,
        minutes=minutes,
        save_minutes=0.5,
        sheet_minutes=1e6,
        rate=RATE,
        warmup_steps=WARMUP_STEPS,
        ema=EMA,
        smallest_square=SMALLEST_SQUARE,
        hard_pairs=HARD_PAIRS,
        weight=tuple(f"{name}=0" for name in WITHOUT),
        device=default_device(),
    )


def adapt(config: AdaptationConfig) -> None:
    """Train as asked and write ADAPTED. Raises AvatarifyError."""
    train(config)
    assert config.warm_start is not None
    start, _ = read_start(config.warm_start)
    trained = read_checkpoint(config.out / CHECKPOINT)
    weights = {
        name: torch.lerp(start[name].to(value), value, STEP_SHARE) if value.is_floating_point() else value
        for name, value in trained.ema.items()
    }
    write_checkpoint(config.out / ADAPTED, replace(trained, ema=weights, state=None))


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = ProgramParser(prog="python training/adapt.py", description=DESCRIPTION, examples=EXAMPLES)
    add_model_argument(parser)
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, metavar="FOLDER", help="folders of clips and photos"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="run folder")
    parser.add_argument(
        "--minutes", type=parse_number, default=5, metavar="MINUTES", help="time to train (default: %(default)s)"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code, see `program.command_line`."""
    options = build_parser().parse_args(arguments)
    configure_logging(options.verbose, NEWS)
    return run_program(lambda: adapt(adaptation(options.model, tuple(options.data), options.out, options.minutes)))


if __name__ == "__main__":
    sys.exit(main())
