"""The comparisons that `ablation.py` runs: which rows, on what data and budget, and the paper's figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from avatarify_plus.errors import ConfigError
from training.data.datasets import Subject
from training.networks import MONKEY_NET, X2FACE


class PaperScores(NamedTuple):
    """What the paper prints for a row; None where it prints nothing."""

    l1: float
    akd_px: float | None = None
    mkr: float | None = None
    aed: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Rows that differ in their network: data, seed, steps, batch, losses and schedule are the same for all.

    Only what `row_train` says of a row differs besides: more options of training/train.py, by the row's name.
    data_note: what the data were, for the page. train: more of these options, for all rows. stride: every n-th frame is
    scored. paper: the paper's figures of each row, by the name of a data set.
    """

    name: str
    title: str
    data_note: str
    rows: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    subject: Subject = "face"
    size: str = "paper"
    keypoint_count: int = 10
    stages: str
    steps: int
    rate: float
    ema: float = 0.999
    train: tuple[str, ...] = ()
    row_train: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stride: int = 5
    paper: Mapping[str, Mapping[str, PaperScores]] = field(default_factory=dict)

    def arguments(self, row: str, seed: int) -> list[str]:
        """Return the arguments of training/train.py for one run, without folders."""
        return [
            *("--preset", row, "--size", self.size, "--keypoints", "learned"),
            *("--keypoint-count", str(self.keypoint_count), "--stages", self.stages, "--steps", str(self.steps)),
            *("--rate", f"{self.rate:g}", "--ema", f"{self.ema:g}", "--seed", str(seed)),
            *(("--subject", self.subject) if self.subject != "face" else ()),
            *self.train,
            *self.row_train.get(row, ()),
        ]


REFERENCE = "fomm"
"""The row that the others are compared with."""

TABLE_2 = ("fomm", "fomm-cbam", "fomm-attention", "fomm-cbam-occlusion", "ours")
TABLE_1 = (X2FACE, "fomm", "ours")

TABLE_2_TAICHI = {
    "fomm": PaperScores(0.061, 6.75, 0.031, 0.167),
    "fomm-cbam": PaperScores(0.059, 6.16, 0.024, 0.178),
    "fomm-attention": PaperScores(0.060, 6.60, 0.029, 0.181),
    "fomm-cbam-occlusion": PaperScores(0.059, 6.54, 0.027, 0.179),
    "ours": PaperScores(0.058, 5.84, 0.023, 0.170),
}
TABLES_TAICHI = TABLE_2_TAICHI | {X2FACE: PaperScores(0.080, 17.65, 0.109, 0.27)}
TABLE_1_VOXCELEB = {
    X2FACE: PaperScores(0.078, 7.69, None, 0.405),
    "fomm": PaperScores(0.046, 1.37, None, 0.142),
    "ours": PaperScores(0.043, 1.30, None, 0.141),
}
TABLE_1_MGIF = {"fomm": PaperScores(0.026), "ours": PaperScores(0.026)}

FOMM_TAICHI = {
    "fomm": PaperScores(0.063, 6.862, 0.036, 0.179),
    MONKEY_NET: PaperScores(0.077, 10.798, 0.059, 0.228),
}
FOMM_VOXCELEB = {
    "fomm": PaperScores(0.043, 1.294, None, 0.140),
    MONKEY_NET: PaperScores(0.049, 1.878, None, 0.199),
}
"""Monkey-Net beside FOMM, as FOMM's paper compares them (Siarohin et al. 2019); Xu et al. print no Monkey-Net."""

SIAROHIN_TAICHI, SIAROHIN_VOXCELEB = "TaiChiHD (Siarohin)", "VoxCeleb1 (Siarohin)"
SIAROHIN = {SIAROHIN_TAICHI: FOMM_TAICHI, SIAROHIN_VOXCELEB: FOMM_VOXCELEB}

FACES = ("--photo-share", "0.08", "--weight", "identity=0")
RANDOM_PAIRS = ("--photo-share", "0", "--hard-pairs", "0")
NO_FACE_LOSSES = ("--weight", "flow=0", "expression_gain=0", "identity=0")
FOMM_LOSSES = (*RANDOM_PAIRS, *NO_FACE_LOSSES, "pixels=0")
"""FOMM's own losses: perceptual pyramid and equivariance of random pairs.

The data sets' budgets are those of its configs at its rate, with our schedule: 100 epochs of several repeats of each
identity (VoxCeleb1: 75 of about 425, batch 40; TaiChiHD: 150 of 252, batch 30) or GIF (25 of 900, batch 36).
Source: github.com/AliaksandrSiarohin/first-order-model, folder config.
"""

SMALL = (
    *("--smallest-square", "1", "--perceptual-scales", "2", "--set"),
    *("image_size=64", "motion_size=16", "detector.depth=3", "motion.depth=3", "attention_reduction=4"),
    "residual_blocks=2",
)
"""The size `narrow` at 64 px, with motion at a quarter of that, as in the paper, and the perceptual pyramid down to
32 px, as FOMM's. The attention is a quarter as wide as the paper's, and reduced a quarter as much its MLP keeps as many
hidden units. Whole pictures, since squares cut out of small ones are blurred. Pixels count beside FOMM's perceptual
loss, as in X2Face (docs/experiments.md)."""

X2FACE_PAIRS = ("--smallest-square", "0.7", "--apart", "1", "--perceptual-scales", "4")
"""What the baseline without keypoints needs to learn any movement from pictures alone: pairs in which movement is most
of what there is to learn, and scales on which a head that is several pixels away still overlaps itself."""


def small_study(
    name: str,
    title: str,
    data_note: str,
    subject: Subject,
    stride: int,
    steps: int,
    paper: Mapping[str, Mapping[str, PaperScores]],
) -> Study:
    """Return a study of all rows, of a size and budget for two cores. stride, steps: see `Study`."""
    return Study(
        name=name,
        title=title,
        data_note=data_note,
        rows=(*TABLE_2, MONKEY_NET, X2FACE),
        seeds=(0, 1, 2),
        subject=subject,
        size="narrow",
        stages="64x16:1",
        steps=steps,
        rate=2e-3,
        ema=0.998,
        train=(*RANDOM_PAIRS, *NO_FACE_LOSSES, *SMALL),
        row_train={X2FACE: X2FACE_PAIRS},
        stride=stride,
        paper=paper,
    )


STUDIES = {
    study.name: study
    for study in (
        small_study(
            "faces",
            "Table 2 on faces, 64 px",
            "training clips of faces, val clips of other people",
            "face",
            20,
            6250,
            {"TaiChiHD": TABLES_TAICHI, "VoxCeleb1": TABLE_1_VOXCELEB} | SIAROHIN,
        ),
        Study(
            name="faces-128",
            title="Table 2 at 128 px",
            data_note="training clips and photos of faces, val clips of other people",
            rows=(*TABLE_2, MONKEY_NET),
            seeds=(0, 1),
            size="narrow",
            stages="128x6:1",
            steps=1600,
            rate=1.5e-3,
            ema=0.99,
            train=FACES,
            stride=20,
            paper={"TaiChiHD": TABLE_2_TAICHI, "VoxCeleb1": TABLE_1_VOXCELEB},
        ),
        small_study(
            "bodies",
            "Table 2 on rendered bodies, 64 px",
            "people in suits who move slowly (training/moving_figures.py bodies), test clips of other people",
            "body",
            10,
            3125,
            {"TaiChiHD": TABLES_TAICHI, SIAROHIN_TAICHI: FOMM_TAICHI},
        ),
        small_study(
            "animals",
            "Table 2 on drawn animals, 64 px",
            "cartoons of animals in motion (training/moving_figures.py animals), test clips of other animals",
            "any",
            5,
            3125,
            {"MGif": TABLE_1_MGIF},
        ),
        Study(
            name="faces-256",
            title="Table 2 at 256 px, for a GPU",
            data_note="training clips and photos of faces, val clips of other people",
            rows=(*TABLE_2, MONKEY_NET, X2FACE),
            stages="256x48:1",
            steps=10_000,
            rate=4e-4,
            train=FACES,
            paper={"TaiChiHD": TABLE_2_TAICHI, "VoxCeleb1": TABLE_1_VOXCELEB},
        ),
        Study(
            name="voxceleb1",
            title="Table 1: VoxCeleb1",
            data_note="VoxCeleb1 as FOMM cuts it, 18,130 training and 503 test clips in the paper",
            rows=TABLE_1,
            stages="256x40:1",
            steps=80_000,
            rate=2e-4,
            train=FOMM_LOSSES,
            stride=1,
            paper={"VoxCeleb1": TABLE_1_VOXCELEB},
        ),
        Study(
            name="taichihd",
            title="Tables 1 and 2: TaiChiHD",
            data_note="TaiChiHD as FOMM cuts it, 2652 training and 285 test clips in the paper",
            rows=(*TABLE_2, MONKEY_NET, X2FACE),
            subject="body",
            stages="256x30:1",
            steps=126_000,
            rate=2e-4,
            train=FOMM_LOSSES,
            stride=1,
            paper={"TaiChiHD": TABLES_TAICHI},
        ),
        Study(
            name="mgif",
            title="Table 1: MGif",
            data_note="MGif (moving-gif), 900 training and 100 test GIFs",
            rows=TABLE_1,
            subject="any",
            stages="256x36:1",
            steps=62_500,
            rate=2e-4,
            train=(*FOMM_LOSSES, "adversarial=1"),
            stride=1,
            paper={"MGif": TABLE_1_MGIF},
        ),
    )
}


def find_study(name: str) -> Study:
    """Return a study by its name. Raises ConfigError if there is none."""
    if name not in STUDIES:
        raise ConfigError(f"unknown study {name!r}: choose one of {', '.join(STUDIES)}")
    return STUDIES[name]
