"""Draw the paper's figures from trained networks of its Table 2: keypoints, side by side, occlusion and attention."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.errors import ConfigError, DataError, ModelError
from avatarify_plus.program.command_line import ProgramParser, configure_logging, require_place, run_program

# isort: split
import cv2
import numpy as np
import torch

from avatarify_plus.network.attention import Attention
from avatarify_plus.network.graphs import to_app_image
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.types import FloatArray, Image, Keypoints
from training.contact_sheet import contact_sheet, write_picture
from training.evaluation.figures import draw_dots, grey, levels
from training.evaluation.network_animation import app_keypoints, network_image
from training.evaluation.trained_network import read_trained_network
from training.evaluation.trials import self_reenactments

DESCRIPTION = """\
Draw the paper's figures from trained networks of its Table 2: keypoints, side by side, occlusion and attention maps.

A network is given by a run folder of training/train.py, its checkpoint, or the file that ablation.py stored it in. Each
clip re-enacts itself: its first picture follows those that differ most from it."""

EXAMPLES = (
    "python training/paper_figures.py --fomm runs/fomm-seed0 --ours runs/ours-seed0 --clips clips/val --out figures",
)

SHEETS = ("keypoints", "side-by-side", "occlusion", "attention")
"""What the pictures are called, after their prefix."""

WIDTH_PX = 1000
JPEG_QUALITY = 88
FAR_FRAMES = 2
"""This many pictures of a clip are shown after its first."""

DOT_PX = 3
HEAT_OPACITY = 0.65


class AttentionMaps(NamedTuple):
    """What the attention module lets pass. channels: (C,), eq. 8. place: (m, m), eq. 9. All in [0, 1]."""

    channels: FloatArray
    place: FloatArray


class Explanation(NamedTuple):
    """What a network makes of a driving picture. occlusions: coarse to fine, (s, s) in [0, 1]."""

    prediction: Image
    keypoints: Keypoints
    occlusions: tuple[FloatArray, ...]
    attention: AttentionMaps | None


class Scene(NamedTuple):
    """The pictures of a clip that are shown: its first, which is the source, and those far from it."""

    source: Image
    driving: tuple[Image, ...]


@dataclass(frozen=True, slots=True)
class FigureNetwork:
    """A trained network under the name of its preset."""

    name: str
    network: AnimationModel

    @property
    def image_size(self) -> int:
        """The side of its pictures in px."""
        return self.network.config.image_size

    def keypoints(self, picture: Image) -> Keypoints:
        """Return the network's keypoints in a picture (S, S, 3)."""
        with torch.inference_mode():
            return app_keypoints(self.network.locate(network_image(picture), None))

    def explain(self, source: Image, driving: Image) -> Explanation:
        """Show the source in the driving pose, by absolute motion, and return how the picture was made."""
        kept: list[AttentionMaps] = []

        def keep(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            assert isinstance(module, Attention)
            channels = module.channel_weights(inputs[0])
            place = module.place_weights(inputs[0] * channels)
            kept.append(AttentionMaps(channels.flatten().numpy(), place[0, 0].numpy()))

        attention = self.network.dense_motion.attention
        hooks = [attention.register_forward_pre_hook(keep)] if isinstance(attention, Attention) else []
        try:
            with torch.inference_mode():
                image, target = network_image(source), network_image(driving)
                pose = self.network.locate(target, None)
                prediction = self.network(image, self.network.locate(image, None), pose)
        finally:
            for hook in hooks:
                hook.remove()
        return Explanation(
            to_app_image(prediction.image)[0].numpy(),
            app_keypoints(pose),
            tuple(part[0, 0].numpy() for part in prediction.motion.occlusions),
            kept[0] if kept else None,
        )


def read_figure_network(path: Path) -> FigureNetwork:
    """Read a trained network. Raises ModelError if there is none or it has no learned keypoints."""
    trained = read_trained_network(path)
    preset = trained.config.preset
    if not isinstance(trained.network, AnimationModel):
        raise ModelError(f"{path} is {preset!r}, which has no keypoints: give a network of the paper's Table 2")
    return FigureNetwork(preset, trained.network)


def far_frames(pictures: Sequence[Image], count: int) -> list[int]:
    """Return the numbers of pictures that differ most, by mean level, from the first and from one another.

    Each next one is the farthest from all before it, the first picture included: that one is not among them.
    """
    stack = np.stack(pictures).astype(np.int16)
    nearest = np.abs(stack - stack[0]).mean((1, 2, 3))
    chosen: list[int] = []
    for _ in range(min(count, len(pictures) - 1)):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.abs(stack - stack[chosen[-1]]).mean((1, 2, 3)))
    return chosen


def read_scenes(folders: Sequence[Path], size_px: int) -> list[Scene]:
    """Return a scene per clip below the folders; photos among the clips are left out.

    Raises DataError if a folder or clip cannot be read, or if a clip has too few pictures.
    """
    scenes = []
    for trial in (trial for folder in folders for trial in self_reenactments(folder)):
        pictures = [picture for picture, _ in trial.frames(size_px)]
        if len(pictures) <= FAR_FRAMES:
            raise DataError(f"{trial.driving} has {len(pictures)} picture(s): a clip needs {FAR_FRAMES + 1} or more")
        far = far_frames(pictures, FAR_FRAMES)
        scenes.append(Scene(pictures[0], tuple(pictures[index] for index in far)))
    return scenes


def keypoint_sheet(fomm: FigureNetwork, ours: FigureNetwork, scenes: Sequence[Scene]) -> Image:
    """Return a line per clip: its pictures with FOMM's keypoints, then with ours (Figure 13)."""
    cell_px = WIDTH_PX // (2 * (1 + FAR_FRAMES))
    lines = [
        [
            draw_dots(picture, network.keypoints(picture), cell_px, DOT_PX)
            for network in (fomm, ours)
            for picture in (scene.source, *scene.driving)
        ]
        for scene in scenes
    ]
    return contact_sheet(
        lines, [name for network in (fomm, ours) for name in [network.name] * (1 + FAR_FRAMES)], cell_px
    )


def side_by_side_sheet(fomm: FigureNetwork, ours: FigureNetwork, scenes: Sequence[Scene]) -> Image:
    """Return a line per clip: source, then driving | FOMM | ours of each far picture (Figures 11 and 12)."""
    lines = []
    for scene in scenes:
        cells = [scene.source]
        for driving in scene.driving:
            cells += [driving, *(network.explain(scene.source, driving).prediction for network in (fomm, ours))]
        lines.append(cells)
    labels = ["source", *["driving = truth", fomm.name, ours.name] * FAR_FRAMES]
    return contact_sheet(lines, labels, WIDTH_PX // len(labels))


def occlusion_sheet(fomm: FigureNetwork, ours: FigureNetwork, scenes: Sequence[Scene]) -> Image:
    """Return a line per clip: source | driving | ours | its occlusion maps | FOMM's; white keeps the warped source."""
    lines, means = [], []
    for scene in scenes:
        mine, theirs = (network.explain(scene.source, scene.driving[0]) for network in (ours, fomm))
        maps = (*mine.occlusions, *theirs.occlusions)
        greys = [grey(occlusion, ours.image_size) for occlusion in maps]
        lines.append([scene.source, scene.driving[0], mine.prediction, *greys])
        means.append([occlusion.mean() for occlusion in maps])
    names = [ours.name] * len(mine.occlusions) + [fomm.name] * len(theirs.occlusions)
    shown = zip(names, maps, np.mean(means, axis=0), strict=True)
    labels = ["source", "driving", ours.name, *(f"{name} {len(of)} px, mean {mean:.2f}" for name, of, mean in shown)]
    return contact_sheet(lines, labels, WIDTH_PX // len(labels))


def attention_sheet(networks: Sequence[FigureNetwork], scenes: Sequence[Scene]) -> Image:
    """Return a line per clip: driving, then each network's place attention as heat over it and channel weights as bars.

    A network's weights differ little from picture to picture, so dark to light is from their minimum to their maximum
    in the whole sheet, which the labels say.
    """
    size = networks[0].image_size
    columns: list[list[Image]] = [[scene.driving[0] for scene in scenes]]
    labels = ["driving"]
    for network in networks:
        found = [network.explain(scene.source, scene.driving[0]).attention for scene in scenes]
        maps = [attention for attention in found if attention is not None]
        places, place_range = _stretched([attention.place for attention in maps])
        bars, bar_range = _stretched([np.tile(attention.channels, (size, 1)) for attention in maps])
        columns.append([_heat(place, scene.driving[0]) for place, scene in zip(places, scenes, strict=True)])
        columns.append([grey(bar, WIDTH_PX) for bar in bars])
        labels += [f"{network.name}, {place_range}", f"channels, {bar_range}"]
    return contact_sheet(list(zip(*columns, strict=True)), labels, WIDTH_PX // len(labels))


def draw(options: argparse.Namespace) -> list[Path]:
    """Write the four pictures and return where they are. Raises AvatarifyError if that cannot be done."""
    fomm, ours, *more = (read_figure_network(path) for path in (options.fomm, options.ours, *options.more))
    sizes = sorted({network.image_size for network in (fomm, ours, *more)})
    if len(sizes) > 1:
        raise ConfigError(f"networks can be shown at one picture size only, found {', '.join(map(str, sizes))} px")
    for network in (ours, *more):
        if not isinstance(network.network.dense_motion.attention, Attention):
            raise ConfigError(f"the network {network.name!r} has no attention module to show: give one that has it")
    scenes = read_scenes(options.clips, sizes[0])
    for name in SHEETS:
        require_place(_sheet_path(options, name), "--out")
    sheets = (
        keypoint_sheet(fomm, ours, scenes),
        side_by_side_sheet(fomm, ours, scenes),
        occlusion_sheet(fomm, ours, scenes),
        attention_sheet([ours, *more], scenes),
    )
    paths = []
    for name, sheet in zip(SHEETS, sheets, strict=True):
        paths.append(_sheet_path(options, name))
        write_picture(paths[-1], sheet, JPEG_QUALITY)
    return paths


def _sheet_path(options: argparse.Namespace, name: str) -> Path:
    path: Path = options.out / f"{options.prefix}-{name}.jpg"
    return path


def _stretched(maps: Sequence[FloatArray]) -> tuple[list[FloatArray], str]:
    """Stretch maps to [0, 1] by one scale; return them and what 0 and 1 were."""
    low, high = (float(end(part)) for end, part in ((np.min, np.stack(maps)), (np.max, np.stack(maps))))
    return [(part - low) / max(high - low, 1e-6) for part in maps], f"{low:.2f}-{high:.2f}"


def _heat(values: FloatArray, picture: Image) -> Image:
    """Lay a map in [0, 1] over a picture, from dark violet to yellow."""
    heat = cv2.applyColorMap(levels(values, len(picture)), cv2.COLORMAP_INFERNO)[..., ::-1]
    blended: Image = np.rint(HEAT_OPACITY * heat + (1 - HEAT_OPACITY) * picture).astype(np.uint8)
    return blended


def build_parser() -> ProgramParser:
    """Return the command line's parser."""
    parser = ProgramParser(prog="python training/paper_figures.py", description=DESCRIPTION, examples=EXAMPLES)
    add = parser.add_argument
    add("--fomm", type=Path, required=True, metavar="NETWORK", help="the network to compare with")
    add("--ours", type=Path, required=True, metavar="NETWORK", help="the paper's network")
    add("--more", type=Path, nargs="+", default=[], metavar="NETWORK", help="networks whose attention to show too")
    add("--clips", type=Path, nargs="+", required=True, metavar="FOLDER", help="folders of clips")
    add("--out", type=Path, required=True, metavar="FOLDER", help="write the pictures there")
    add("--prefix", default="table2", help="how their names begin (default: table2)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code, see `program.command_line`."""
    options = build_parser().parse_args(arguments)
    configure_logging(options.verbose)
    return run_program(lambda: print(*draw(options), sep="\n"))


if __name__ == "__main__":
    sys.exit(main())
