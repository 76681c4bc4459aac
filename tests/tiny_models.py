"""Tiny networks with random weights, and the checkpoints that training would write of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avatarify_plus.network.model import AnimationModel


def lively_model(
    preset: str, keypoints: str, count: int, learned_count: int = 0, image_size: int = 256, **changes: Any
) -> AnimationModel:
    """Build a tiny network whose every part shows in its output, batch statistics and jacobians included."""
    import torch

    from avatarify_plus.network.config import network_config
    from avatarify_plus.network.model import AnimationModel

    torch.manual_seed(0)
    anchor_radius = 0.25 if learned_count else 0.0
    config = network_config(
        preset,
        "tiny",
        keypoints=keypoints,
        keypoint_count=count,
        learned_count=learned_count,
        anchor_radius=anchor_radius,
        image_size=image_size,
        **changes,
    )
    model = AnimationModel(config).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_mean"):
                tensor.normal_(0, 0.2)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif name == "detector.jacobian_head.weight" or "hint_heads" in name:
                tensor.normal_(0, 0.05)
            elif name.startswith("parts.") and ".final." in name:
                tensor.normal_(0, 0.005)
            elif "contour_heads" in name and name.endswith(("1.weight", "1.bias")):
                tensor.normal_(0, 0.2)
            elif name == "dense_motion.mask_head.weight":
                tensor.mul_(10)
    return model


def photo_model() -> AnimationModel:
    """Build a tiny network that leaves the photo to its own size, reads contours and paints mouth and eyes."""
    fields = {"photo_reach": 1.5, "contour_width": 4, "part_width": 4}
    return lively_model("ours-skip", "both", 24, learned_count=4, **fields)


def save_as_training_does(model: AnimationModel, path: Path) -> None:
    """Write a training checkpoint."""
    import torch

    values = {"config": model.config.to_dict(), "ema": model.state_dict(), "step": 3, "samples": 12}
    torch.save(values | {"training": {"data": "none"}}, path)
