"""The simplified network computes what the network computes."""

import pytest
import torch
from torch import nn

from avatarify_plus.network.blocks import UpBlock, model_float_operations
from avatarify_plus.network.config import network_config
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.network.simplify import PhaseUpBlock, simplify
from avatarify_plus.types import Keypoints
from tiny_models import lively_model


def lively_block(channels: int, out_channels: int) -> UpBlock:
    torch.manual_seed(0)
    block = UpBlock(channels, out_channels).eval()
    with torch.no_grad():
        nn.init.normal_(block.norm.weight)
        nn.init.normal_(block.norm.bias)
        block.norm.running_mean.normal_()  # type: ignore[union-attr]
        block.norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return block


@pytest.mark.parametrize(("channels", "out_channels", "size"), [(1, 1, 2), (5, 3, 7), (16, 8, 16)])
def test_an_up_block_in_phases_is_the_same(channels: int, out_channels: int, size: int) -> None:
    block = lively_block(channels, out_channels)
    x = torch.randn(2, channels, size, size + 1)
    with torch.inference_mode():
        torch.testing.assert_close(PhaseUpBlock(block)(x), block(x), atol=1e-5, rtol=1e-5)


def pose(count: int, seed: int) -> Keypoints:
    generator = torch.Generator().manual_seed(seed)
    value = torch.rand(1, count, 2, generator=generator) - 0.5
    return Keypoints(value, torch.eye(2) * 0.5 + 0.1 * torch.randn(1, count, 2, 2, generator=generator))


@pytest.mark.parametrize(
    ("preset", "keypoints", "count"), [("ours-skip", "mesh", 20), ("ours", "learned", 10), ("fomm", "learned", 10)]
)
def test_a_simplified_model_animates_alike(preset: str, keypoints: str, count: int) -> None:
    model = lively_model(preset, keypoints, count)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    simple = simplify(model)
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model(image, pose(count, 2), pose(count, 3)).image
        torch.testing.assert_close(simple(image, pose(count, 2), pose(count, 3)).image, expected, atol=1e-4, rtol=0)
    assert expected.std() > 0.01, "a picture with nothing in it proves nothing"
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_no_nearest_enlargement_is_left_before_a_convolution() -> None:
    simple = simplify(AnimationModel(network_config("ours-skip", "tiny", keypoints="mesh", keypoint_count=20)))
    assert not any(isinstance(module, UpBlock) and module.mode == "nearest" for module in simple.modules())


def test_it_spares_operations() -> None:
    model = AnimationModel(network_config("ours-skip", "live", keypoints="mesh", keypoint_count=20)).eval()
    image, still = torch.zeros(1, 3, 256, 256), Keypoints(torch.zeros(1, 20, 2), torch.eye(2).expand(1, 20, 2, 2))
    with torch.inference_mode():
        plain, simple = (model_float_operations(network, image, still, still) for network in (model, simplify(model)))
    assert simple < 0.85 * plain
