"""Import a checkpoint of the original First Order Motion Model (Siarohin et al. 2019) as a model bundle."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.bundle import Manifest
from avatarify_plus.errors import ConfigError, ModelError
from avatarify_plus.network.checkpoint import is_plain, read_torch_file
from avatarify_plus.network.config import HourglassConfig, NetworkConfig, network_config
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.network.weights import build_model
from avatarify_plus.program.command_line import ProgramParser, configure_logging, run_program
from avatarify_plus.program.option_fields import positive
from export.fomm_config import FommConfig, read_config
from export.onnx_bundle import export_bundle, git_revision, print_summary, quiet_exporter

# isort: split
import torch
from torch import Tensor

BLURS = ("kp_detector.down.weight", "generator.dense_motion_network.down.weight")
"""FOMM stores its fixed anti-alias kernel, twice; its size says by how much pictures are reduced. Ours is computed."""

JACOBIAN, OCCLUSION = "kp_detector.jacobian", "generator.dense_motion_network.occlusion"
"""Heads that FOMM can be trained without; the first may have one map for all keypoints (`single_jacobian_map`)."""

PARALLEL = "module."
"""What torch's DataParallel puts before the names of tensors."""

SCALE_TOLERANCE = 0.01
"""How far a config's scale_factor may be off the one that the tensors show, as a share."""

CERTAIN = 100.0
"""A logit whose sigmoid is 1."""

PREFIXES = {
    "kp_detector.predictor.encoder.down_blocks.": "detector.hourglass.down_blocks.",
    "kp_detector.predictor.decoder.up_blocks.": "detector.hourglass.up_blocks.",
    "kp_detector.kp.": "detector.keypoint_head.",
    "kp_detector.jacobian.": "detector.jacobian_head.",
    "generator.dense_motion_network.hourglass.encoder.down_blocks.": "dense_motion.hourglass.down_blocks.",
    "generator.dense_motion_network.hourglass.decoder.up_blocks.": "dense_motion.hourglass.up_blocks.",
    "generator.dense_motion_network.mask.": "dense_motion.mask_head.",
    "generator.dense_motion_network.occlusion.": "dense_motion.occlusion.",
    "generator.bottleneck.r": "generator.residual_blocks.",
    "generator.first.": "generator.first.",
    "generator.down_blocks.": "generator.down_blocks.",
    "generator.up_blocks.": "generator.up_blocks.",
    "generator.final.": "generator.final.",
}
"""FOMM's prefixes of tensor names to ours; what follows a prefix is the same."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_program(lambda: _main(arguments))


def _main(arguments: list[str] | None) -> None:
    parser = ProgramParser(
        prog="python export/import_fomm.py",
        description=__doc__,
        examples=(
            "python export/import_fomm.py vox-adv-cpk.pth.tar",
            "python export/import_fomm.py mgif-cpk.pth.tar --config mgif-256.yaml",
        ),
    )
    parser.add_argument("checkpoint", type=Path, help="such as vox-adv-cpk.pth.tar")
    parser.add_argument(
        "out", type=Path, nargs="?", help="folder to write (default: the checkpoint's name without suffix)"
    )
    parser.add_argument("--name", help="name in the manifest (default: OUT's)")
    parser.add_argument(
        "--licence", default="as the imported checkpoint", help="licence of the weights (default: %(default)s)"
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="YAML",
        help="its own config, such as vox-adv-256.yaml, which says what the tensors do not (default: what most have)",
    )
    parser.add_argument(
        "--image-size",
        type=positive,
        metavar="PX",
        help=f"side of the pictures that it was trained on (default: the config's, else {FommConfig().image_size})",
    )
    parser.add_argument(
        "--force", action=argparse.BooleanOptionalAction, default=False, help="replace OUT if it is a bundle"
    )
    options = parser.parse_args(arguments)
    configure_logging(options.verbose)
    quiet_exporter()
    out = options.out or Path(options.checkpoint.name.partition(".")[0])
    settings = read_config(options.config) if options.config else FommConfig()
    model = import_model(options.checkpoint, options.image_size or settings.image_size, settings)
    manifest = Manifest(
        name=options.name or out.resolve().name,
        network=model.config,
        training={"data": f"imported from {options.checkpoint.name}"},
        revision=git_revision(),
        licence=options.licence,
    )
    print_summary(out, export_bundle(model, out, manifest, force=options.force))


def import_model(path: Path, image_size: int, settings: FommConfig | None = None) -> AnimationModel:
    """Build our model from FOMM's generator and kp_detector; widths, depths and counts are taken from the tensors.

    settings: what the tensors do not say. Raises ModelError naming what is missing, unknown or of another shape.
    """
    values = read_torch_file(path)
    tensors: dict[str, Tensor] = {}
    for part in ("generator", "kp_detector"):
        if not isinstance(values.get(part), dict):
            raise ModelError(f"{path} is not a First Order Motion Model checkpoint: it lacks {part!r}")
        tensors |= {
            f"{part}.{name.removeprefix(PARALLEL)}": tensor
            for name, tensor in values[part].items()
            if isinstance(name, str) and isinstance(tensor, Tensor)
        }
    odd = [name for name, tensor in tensors.items() if not is_plain(tensor)]
    if odd:
        raise ModelError(f"{path} holds no plain numbers: {odd[0]}{' and others' if odd[1:] else ''}")
    tensors = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    config = infer_config(tensors, image_size, str(path), settings or FommConfig())
    for name in BLURS:
        tensors.pop(name, None)
    complete_heads(tensors)
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise ModelError(
            f"{path} holds numbers that are not finite, in {broken[0]}{' and others' if broken[1:] else ''}"
        )
    weights = {our_name(name): tensor for name, tensor in tensors.items()}
    # Checkpoints of early PyTorch have no batch counters, and nothing reads them.
    for name in [name for name in weights if name.endswith(".running_var")]:
        weights.setdefault(name.replace("running_var", "num_batches_tracked"), torch.tensor(0))
    return build_model(config, weights, str(path), their_name)


def infer_config(tensors: Mapping[str, Tensor], image_size: int, origin: str, settings: FommConfig) -> NetworkConfig:
    """Return the network's config by the shapes of FOMM's tensors. Raises ModelError if one is missing or odd."""

    def shape(name: str) -> torch.Size:
        if name not in tensors:
            raise ModelError(f"{origin} is not a known form of First Order Motion Model checkpoint: {name} is missing")
        if tensors[name].ndim != 4:
            raise ModelError(
                f"{origin} is not a First Order Motion Model checkpoint: {name} is no convolution's weight"
            )
        return tensors[name].shape

    def hourglass(prefix: str) -> HourglassConfig:
        depth = max(1, count_blocks(tensors, f"{prefix}.decoder.up_blocks."))
        widths = [shape(f"{prefix}.encoder.down_blocks.{level}.conv.weight")[0] for level in range(depth)]
        return HourglassConfig(shape(f"{prefix}.decoder.up_blocks.{depth - 1}.conv.weight")[0], max(widths), depth)

    # FOMM has no kernel where pictures are not reduced.
    ratios = {blur_ratio(shape(name)) if name in tensors else 1 for name in BLURS}
    if len(ratios) > 1:
        raise ModelError(f"{origin} reduces pictures for keypoints and for motion differently, which is not supported")
    ratio = ratios.pop()
    for scale, part in (
        (settings.detector_scale, "kp_detector_params"),
        (settings.motion_scale, "dense_motion_params"),
    ):
        if scale is not None and abs(scale * ratio - 1) > SCALE_TOLERANCE:
            raise ModelError(
                f"{origin} reduces pictures to 1/{ratio}, and the scale_factor of the config's {part} is {scale:g}: "
                "give the config that belongs to it"
            )
    detector, motion = hourglass("kp_detector.predictor"), hourglass("generator.dense_motion_network.hourglass")
    unit = ratio * 2 ** max(detector.depth, motion.depth)
    if image_size % unit:
        raise ModelError(
            f"{origin} takes pictures of {unit} px or a multiple: give --image-size one, found {image_size}"
        )
    try:
        return replace(
            network_config("fomm", "paper"),
            size="imported",
            image_size=image_size,
            motion_size=image_size // ratio,
            keypoint_count=shape("kp_detector.kp.weight")[0],
            temperature=settings.temperature,
            heatmap_variance=settings.heatmap_variance,
            corner_aligned_grid=True,
            detector_padding=settings.padding,
            detector=detector,
            motion=motion,
            generator_width=shape("generator.first.conv.weight")[0],
            generator_max_width=shape("generator.down_blocks.1.conv.weight")[0],
            residual_blocks=count_blocks(tensors, "generator.bottleneck.r"),
            final_kernel=shape("generator.final.weight")[-1],
        )
    except ConfigError as error:
        raise ModelError(f"{origin} holds a network that is not supported: {error}") from error


def complete_heads(tensors: dict[str, Tensor]) -> None:
    """Give a checkpoint the heads that it was trained without, or with one map, so that it computes what it did.

    One map for the jacobians of all keypoints is repeated for each of them; without jacobians they are the identity,
    and without an occlusion map everything is kept. A head that lacks only its weight or its bias stays as it is.
    """
    keypoint_head = tensors["kp_detector.kp.weight"]
    weight, bias = f"{JACOBIAN}.weight", f"{JACOBIAN}.bias"
    count = len(keypoint_head)
    if weight not in tensors and bias not in tensors:
        tensors[weight] = torch.zeros(4 * count, *keypoint_head.shape[1:])
        tensors[bias] = torch.eye(2).flatten().repeat(count)
    elif all(name in tensors and tensors[name].shape[:1] == (4,) for name in (weight, bias)):
        tensors |= {name: torch.cat([tensors[name]] * count) for name in (weight, bias)}
    mask = tensors.get("generator.dense_motion_network.mask.weight")
    weight, bias = f"{OCCLUSION}.weight", f"{OCCLUSION}.bias"
    if mask is not None and weight not in tensors and bias not in tensors:
        tensors |= {weight: torch.zeros_like(mask[:1]), bias: torch.full((1,), CERTAIN)}


def blur_ratio(shape: torch.Size) -> int:
    """Return by how much FOMM's anti-alias kernel reduces: the inverse of 2 * round(4 (n - 1) / 2) + 1 = width."""
    return (shape[-1] - 1) // 4 + 1


def count_blocks(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """Return how many numbers follow a prefix among the names."""
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})


def our_name(name: str) -> str:
    """Turn FOMM's tensor name into ours; an unknown one stays as it is."""
    for theirs, ours in PREFIXES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def their_name(name: str) -> str:
    """Turn our tensor name into FOMM's, for error messages."""
    for theirs, ours in PREFIXES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


if __name__ == "__main__":
    sys.exit(main())
