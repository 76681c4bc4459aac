"""What a training run can be asked for: frozen and validated. A default exists only here; the command lines of
training/train.py, gpu_recipe.py and benchmark.py are made of the fields."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from avatarify_plus.errors import ConfigError
from avatarify_plus.motion.keypoints import MeshLayout, load_mesh_layout
from avatarify_plus.network.config import SIZES, KeypointOrigin, NetworkConfig
from avatarify_plus.program.option_fields import about, check_choices
from avatarify_plus.program.overrides import apply_overrides
from training.data.datasets import Subject
from training.data.pairs import CANDIDATES, PairOptions
from training.loop.schedule import WARMUP_STEPS, parse_stages
from training.networks import TRAINABLE, X2FACE, base_config
from training.objective.objective import LossWeights
from training.objective.perceptual import PERCEPTUAL_NETWORKS

DeviceName = Literal["cpu", "cuda"]
TrainingPrecision = Literal["bf16", "fp32"]
DataOnDevice = Literal["auto", "yes", "no"]

LEARNED_BESIDE_MESH = 10
"""This many keypoints are learned besides the mesh's unless another number is asked for."""

ANCHOR_RADIUS = 0.15
"""Learned keypoints besides the mesh's stay this close to their anchors at the border: the mesh has the face."""

MAX_SCALES = 4
"""FOMM's own perceptual loss has this many scales, at 256 px."""

HEADINGS = DATA, BUDGET, START, NETWORK, PAIRS, LOSSES, MACHINE = (
    "data",
    "budget",
    "start",
    "network",
    "pairs",
    "losses",
    "machine",
)
"""The groups of options, in the order in which --help lists them."""

_PAIRS = PairOptions()


def default_device() -> DeviceName:
    """Return "cuda" where torch sees a GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepConfig:
    """What one training step is: network, pairs, losses, machine. Raises ConfigError for a wrong value."""

    preset: str = field(default="ours", metadata=about(NETWORK, "kind of network", choices=TRAINABLE))
    size: str = field(default="live", metadata=about(NETWORK, "widths of the network", choices=SIZES))
    keypoints: KeypointOrigin | None = field(
        default=None, metadata=about(NETWORK, "where keypoints come from", unset="mesh of a face, else learned")
    )
    keypoint_count: int | None = field(
        default=None,
        metadata=about(
            NETWORK,
            "how many keypoints are learned",
            "N",
            unset=f"as many as the mesh has; with `both` {LEARNED_BESIDE_MESH}; without a face the paper's 10",
        ),
    )
    set: tuple[str, ...] = field(
        default=(),
        metadata=about(
            NETWORK,
            "change fields of NetworkConfig, e.g. heatmap_variance=0.003 motion.width=48",
            "FIELD=VALUE",
            accumulates=True,
        ),
    )
    subject: Subject = field(
        default="face",
        metadata=about(
            PAIRS, "what the clips show; only of faces is a mesh found and used, for keypoints, hard pairs and losses"
        ),
    )
    photo_share: float = field(
        default=_PAIRS.photo_share, metadata=about(PAIRS, "share of pairs made by warping one photo", "SHARE")
    )
    still_share: float = field(
        default=_PAIRS.still_share, metadata=about(PAIRS, "share of pairs of two photos of one person", "SHARE")
    )
    hard_pairs: float = field(
        default=_PAIRS.hard_share,
        metadata=about(PAIRS, f"share of pairs whose driving frame is the hardest of {CANDIDATES}", "SHARE"),
    )
    identity_exponent: float = field(
        default=_PAIRS.identity_exponent,
        metadata=about(
            PAIRS, "a person with n pictures is drawn with weight n ** this: 0 balances people, 1 pictures", "EXPONENT"
        ),
    )
    smallest_square: float = field(
        default=_PAIRS.smallest_square,
        metadata=about(PAIRS, "smallest side of the squares that are cut out of the pictures, in their sides", "SHARE"),
    )
    apart: float = field(
        default=_PAIRS.apart,
        metadata=about(PAIRS, "share of pairs whose squares are cut out in different places", "SHARE"),
    )
    photo_px: int | None = field(
        default=None,
        metadata=about(
            PAIRS,
            "with a network's photo_reach, the resolution of photo, parts and sharpest loss: px of a square's side",
            "PX",
            unset="that of the stage",
        ),
    )
    perceptual: str = field(
        default="efficientnet-lite0",
        metadata=about(LOSSES, "network of the perceptual loss", choices=PERCEPTUAL_NETWORKS),
    )
    perceptual_scales: int = field(
        default=3, metadata=about(LOSSES, "scales of the perceptual loss, each half the one before", "N")
    )
    weight: tuple[str, ...] = field(
        default=(),
        metadata=about(LOSSES, "change fields of LossWeights, e.g. pixels=10", "NAME=VALUE", accumulates=True),
    )
    device: DeviceName = field(default_factory=default_device, metadata=about(MACHINE, "where the network is computed"))
    precision: TrainingPrecision = field(default="bf16", metadata=about(MACHINE, "what the network computes in"))
    compile: bool | None = field(
        default=None,
        metadata=about(MACHINE, "let torch compile the step", unset="on cuda, where it saves more time than it takes"),
    )
    sync_batchnorm: bool | None = field(
        default=None,
        metadata=about(
            MACHINE, "batch statistics over all processes", unset="on cuda; on CPUs a step takes 40 % longer"
        ),
    )
    data_on_device: DataOnDevice = field(
        default="auto",
        metadata=about(
            MACHINE, "hold all frames in the device's memory; auto: if they take less than half of a GPU's free memory"
        ),
    )

    def __post_init__(self) -> None:
        check_choices(self)
        if not 1 <= self.perceptual_scales <= MAX_SCALES:
            raise ConfigError(f"--perceptual-scales must be from 1 to {MAX_SCALES}, found {self.perceptual_scales}")
        self.pair_options()
        _require_no_mesh(self, self.network(), self.loss_weights())

    def pair_options(self) -> PairOptions:
        """Return how pairs are drawn."""
        return PairOptions(
            self.photo_share,
            self.still_share,
            self.hard_pairs,
            self.identity_exponent,
            self.smallest_square,
            self.apart,
        )

    def loss_weights(self) -> LossWeights:
        """Return the weights of the losses; what needs a face mesh is 0 for other subjects."""
        weights = LossWeights() if self.subject == "face" else LossWeights(identity=0.0, expression_gain=0.0)
        return apply_overrides(weights, self.weight, "--weight")

    def mesh_layout(self) -> MeshLayout:
        """Return the layout that keypoints are read off the face mesh with."""
        named = [change for change in self.set if change.startswith("mesh_layout=")]
        return load_mesh_layout(apply_overrides(base_config(self.preset, self.size), named, "--set").mesh_layout)

    def network(self) -> NetworkConfig:
        """Return the network that is trained."""
        base = base_config(self.preset, self.size)
        if self.preset == X2FACE:  # it has no keypoints
            return apply_overrides(base, self.set, "--set")
        has_face = self.subject == "face"
        origin: KeypointOrigin = self.keypoints or ("mesh" if has_face else "learned")
        own = self.mesh_layout().keypoint_count
        learned = (self.keypoint_count or LEARNED_BESIDE_MESH) if origin == "both" else 0
        only_learned = self.keypoint_count or (own if has_face else base.keypoint_count)
        count = only_learned if origin == "learned" else own + learned
        radius = ANCHOR_RADIUS if learned else base.anchor_radius
        base = replace(base, keypoints=origin, keypoint_count=count, learned_count=learned, anchor_radius=radius)
        return apply_overrides(base, self.set, "--set")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig(StepConfig):
    """Everything that a training run can be asked for. Raises ConfigError for a wrong value."""

    data: tuple[Path, ...] = field(metadata=about(DATA, "folders of clips and photos, or caches of them", "FOLDER"))
    val: Path | None = field(
        default=None,
        metadata=about(DATA, "folder of clips, or a cache, for the contact sheets and val L1", "FOLDER"),
    )
    out: Path = field(metadata=about(DATA, "run folder", "FOLDER"))
    cache: Path | None = field(
        default=None, metadata=about(DATA, "folder of the decoded clips", "FOLDER", unset="OUT/cache")
    )
    stages: str = field(
        default="128x12:0.7,256/128x12:0.3",
        metadata=about(BUDGET, "size [/ decoded window] x batch over all processes : share of the budget", "STAGES"),
    )
    minutes: float = field(default=60, metadata=about(BUDGET, "time budget of the whole run", "MINUTES", rival="steps"))
    steps: int | None = field(
        default=None,
        metadata=about(BUDGET, "budget in steps instead, the same on every machine", "N", rival="minutes"),
    )
    session_minutes: float | None = field(
        default=None,
        metadata=about(BUDGET, "save and stop after this time; the same command goes on from there", "MINUTES"),
    )
    save_minutes: float = field(default=4, metadata=about(BUDGET, "time between checkpoints", "MINUTES"))
    sheet_minutes: float | None = field(
        default=None, metadata=about(BUDGET, "time between contact sheets", "MINUTES", unset="--save-minutes")
    )
    rate: float = field(default=6e-4, metadata=about(BUDGET, "peak learning rate", "RATE"))
    warmup_steps: int = field(
        default=WARMUP_STEPS, metadata=about(BUDGET, "steps during which the learning rate rises to its peak", "N")
    )
    ema: float = field(default=0.999, metadata=about(BUDGET, "decay of the averaged weights", "DECAY"))
    mesh_warmup: int = field(
        default=0, metadata=about(BUDGET, "steps during which learned keypoints follow the mesh", "N")
    )
    warm_start: Path | None = field(
        default=None,
        metadata=about(
            START, "checkpoint, or folder or name of a model bundle, whose weights to start from", "CHECKPOINT"
        ),
    )
    fresh: tuple[str, ...] = field(
        default=(), metadata=about(START, "tensors not to take from the warm start", "PREFIX")
    )
    freeze: tuple[str, ...] = field(
        default=(), metadata=about(START, "modules that keep the warm start's weights and statistics", "PREFIX")
    )
    seed: int = field(default=0, metadata=about(START, "what the draw of pairs and weights starts from", "N"))

    def __post_init__(self) -> None:
        StepConfig.__post_init__(self)  # super() does not know a class with slots
        parse_stages(self.stages)
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"--steps must be at least 1, found {self.steps}")
        if self.minutes <= 0:
            raise ConfigError(f"--minutes must be above 0, found {self.minutes:g}")
        if not 0 <= self.ema <= 1:
            raise ConfigError(f"--ema must be from 0 to 1, found {self.ema:g}")
        for name in ("rate", "warmup_steps", "save_minutes", "sheet_minutes", "session_minutes", "mesh_warmup"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(f"--{name.replace('_', '-')} must not be negative, found {value:g}")
        if self.freeze and not self.warm_start:
            raise ConfigError("--freeze needs --warm-start: random weights are not worth keeping")
        if self.mesh_warmup:
            self._require_warmup()

    def _require_warmup(self) -> None:
        """Raise ConfigError unless learned keypoints can follow the mesh's."""
        if self.subject != "face":
            raise _without_mesh(self.subject, ["--mesh-warmup"])
        network, own = self.network(), self.mesh_layout().keypoint_count
        found = network.keypoints, network.keypoint_count
        if self.preset != X2FACE and found != ("learned", own):
            raise ConfigError(
                f"--mesh-warmup needs --keypoints learned and --keypoint-count {own}, found {found[0]} and {found[1]}"
            )


def _require_no_mesh(config: StepConfig, network: NetworkConfig, weights: LossWeights) -> None:
    """Raise ConfigError if a face mesh is asked for of a subject that has none."""
    if config.subject == "face":
        return
    wants = {
        f"--keypoints {network.keypoints}": network.reads_mesh and network.preset != X2FACE,
        "--weight identity": bool(weights.identity),
        "--weight expression_gain": bool(weights.expression_gain),
    }
    wanted = [option for option, is_wanted in wants.items() if is_wanted]
    if wanted:
        raise _without_mesh(config.subject, wanted)


def _without_mesh(subject: Subject, wanted: list[str]) -> ConfigError:
    return ConfigError(f"--subject {subject} goes without a face mesh, found {', '.join(wanted)}: leave that out")
