"""The network keeps the properties that the paper and the app rely on."""

import pytest
import torch

from avatarify_plus.errors import ConfigError
from avatarify_plus.network.attention import Attention
from avatarify_plus.network.blocks import antialias, coordinate_grid, heatmaps, invert, resize_deformation, warp
from avatarify_plus.network.config import PRESETS, NetworkConfig, network_config
from avatarify_plus.network.dense_motion import DenseMotion, Motion
from avatarify_plus.network.generator import Window
from avatarify_plus.network.model import AnimationModel, EncodedSource, frame_float_operations
from avatarify_plus.types import Keypoints


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def random_keypoints(batch: int, count: int) -> Keypoints:
    value = torch.rand(batch, count, 2) - 0.5
    return Keypoints(value, torch.eye(2) + 0.1 * torch.randn(batch, count, 2, 2))


def test_identity_warp_reproduces_the_picture() -> None:
    image = torch.rand(2, 3, 64, 64)
    grid = coordinate_grid(64, False, image).expand(2, -1, -1, -1)
    torch.testing.assert_close(warp(image, grid), image, atol=1e-5, rtol=0)


def test_upscaled_identity_deformation_still_reproduces_the_inside() -> None:
    image = torch.rand(1, 3, 256, 256)
    grid = coordinate_grid(64, False, image)[None]
    warped = warp(image, resize_deformation(grid, 256))
    torch.testing.assert_close(warped[..., 2:-2, 2:-2], image[..., 2:-2, 2:-2], atol=2e-4, rtol=0)


def test_warp_moves_pictures_backwards() -> None:
    image = torch.zeros(1, 1, 8, 8)
    image[..., 4, 6] = 1
    grid = coordinate_grid(8, False, image)[None] + torch.tensor([2 * 2 / 8, 0.0])
    assert warp(image, grid)[0, 0, 4, 4] == pytest.approx(1, abs=1e-5)


def test_closed_form_inverse_equals_torchs() -> None:
    matrix = torch.randn(5, 7, 2, 2)
    torch.testing.assert_close(invert(matrix), torch.linalg.inv(matrix), atol=1e-3, rtol=1e-3)


def test_heatmap_peaks_at_its_keypoint() -> None:
    value = torch.tensor([[[-0.5, 0.25]]])
    peak = heatmaps(value, 64, 0.01, False)[0, 0].flatten().argmax()
    x, y = coordinate_grid(64, False, value).flatten(0, 1)[peak]
    assert abs(float(x) + 0.5) < 2 / 64 and abs(float(y) - 0.25) < 2 / 64


def test_antialias_keeps_constants_inside() -> None:
    small = antialias(torch.full((1, 3, 256, 256), 0.3), 64)
    assert small.shape == (1, 3, 64, 64)
    torch.testing.assert_close(small[..., 4:-4, 4:-4], torch.full((1, 3, 56, 56), 0.3))


def test_sparse_motion_without_motion_is_the_identity() -> None:
    motion = DenseMotion(network_config("ours", "tiny", keypoint_count=4))
    keypoints = random_keypoints(2, 4)
    sparse = motion.sparse_motion(keypoints, keypoints)
    grid = coordinate_grid(64, False, sparse)
    torch.testing.assert_close(sparse, grid.expand_as(sparse), atol=1e-4, rtol=0)


def test_sparse_motion_maps_driving_keypoints_to_the_sources() -> None:
    motion = DenseMotion(network_config("ours", "tiny", keypoint_count=4))
    source, driving = random_keypoints(1, 4), random_keypoints(1, 4)
    centre = coordinate_grid(64, False, source.value)[40, 20]
    driving = Keypoints(centre.expand(1, 4, 2), driving.jacobian)
    sparse = motion.sparse_motion(source, driving)[0, 1:, 40, 20]
    torch.testing.assert_close(sparse, source.value[0], atol=1e-5, rtol=0)


def test_channel_attention_of_the_paper_ignores_the_average() -> None:
    module = Attention(8, 4, gain=2.0, use_average=False)
    feature = torch.zeros(1, 8, 6, 6)
    feature[..., 2, 3] = 1.0
    shifted = feature.clone()
    shifted[..., 0, 0] = 0.5  # changes the average, not the maximum
    weights = [module.mlp(f.amax((2, 3), keepdim=True)) for f in (feature, shifted)]
    torch.testing.assert_close(weights[0], weights[1])
    cbam = Attention(8, 4, gain=1.0, use_average=True)
    assert not torch.allclose(cbam(feature)[..., 2, 3], cbam(shifted)[..., 2, 3])


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("keypoints", ["learned", "mesh", "both"])
def test_every_preset_animates(preset: str, keypoints: str) -> None:
    learned = 1 if keypoints == "both" else 0
    config = network_config(
        preset,
        "tiny",
        keypoints=keypoints,
        keypoint_count=4,
        learned_count=learned,
        image_size=128,
        motion_size=32,
    )
    model = AnimationModel(config).eval()
    image = torch.rand(1, 3, 128, 128)
    source = model.locate(image, random_keypoints(1, 4 - learned))
    prediction = model(image, source, random_keypoints(1, 4))
    assert prediction.image.shape == image.shape
    shown = prediction.image.detach()
    assert float(shown.min()) >= 0 and float(shown.max()) <= 1
    assert len(prediction.motion.occlusions) == (1 if config.occlusion == "single" else 3)
    torch.testing.assert_close(prediction.motion.mask.sum(1), torch.ones(1, 32, 32))
    prediction.image.mean().backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None and not name.startswith("detector")]
    assert not unused


def test_blend_with_full_occlusion_maps_gives_the_photo_back() -> None:
    config = network_config("ours-skip", "tiny", keypoints="mesh", keypoint_count=4)
    model = AnimationModel(config).eval()
    for head in model.dense_motion.occlusion.heads:
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.constant_(head.bias, 30.0)
    image, keypoints = torch.rand(1, 3, 256, 256), random_keypoints(1, 4)
    with torch.no_grad():
        prediction = model(image, keypoints, keypoints).image
    torch.testing.assert_close(prediction[..., 2:-2, 2:-2], image[..., 2:-2, 2:-2], atol=1e-3, rtol=0)


@pytest.mark.parametrize("preset", ["ours", "ours-skip"])
def test_a_decoded_window_equals_the_whole_away_from_its_border(preset: str) -> None:
    config = network_config(preset, "tiny", keypoints="mesh", keypoint_count=4)
    model = AnimationModel(config).eval()
    image, source, driving = torch.rand(1, 3, 256, 256), random_keypoints(1, 4), random_keypoints(1, 4)
    with torch.no_grad():
        whole = model(image, source, driving).image
        part = model(image, source, driving, Window(top=8, left=16, size=32)).image
    assert part.shape == (1, 3, 128, 128)
    inside = whole[..., 32:160, 64:192]
    torch.testing.assert_close(part[..., 24:-24, 24:-24], inside[..., 24:-24, 24:-24], atol=1e-5, rtol=0)


def test_detector_jacobians_start_as_the_identity() -> None:
    config = network_config("ours", "tiny", keypoint_count=4)
    keypoints = AnimationModel(config).eval().detect(torch.rand(2, 3, 256, 256))
    assert keypoints.value.shape == (2, 4, 2)
    torch.testing.assert_close(keypoints.jacobian, torch.eye(2).expand(2, 4, 2, 2), atol=1e-5, rtol=0)


def test_mixed_keypoints_are_the_meshs_and_then_the_detectors() -> None:
    config = network_config("ours-skip", "tiny", keypoints="both", keypoint_count=6, learned_count=2)
    model = AnimationModel(config).eval()
    image, mesh = torch.rand(2, 3, 256, 256), random_keypoints(2, 4)
    found, detected = model.locate(image, mesh), model.detect(image)
    assert found.value.shape == (2, 6, 2) and found.jacobian.shape == (2, 6, 2, 2)
    torch.testing.assert_close(found.value[:, :4], mesh.value)
    torch.testing.assert_close(found.jacobian[:, 4:], detected.jacobian)


def test_anchored_keypoints_start_at_their_anchors() -> None:
    config = network_config("ours", "tiny", keypoint_count=8, anchor_radius=0.2)
    model = AnimationModel(config).eval()
    value = model.detect(torch.rand(1, 3, 256, 256)).value[0]
    anchors = model.detector.anchors
    assert float((anchors.abs().amax(1) - 0.7).abs().max()) < 1e-6, "on a square's border"
    assert float(torch.pdist(anchors).min()) > 0.6, "spread out"
    torch.testing.assert_close(value, anchors, atol=0.12, rtol=0)  # drawn inwards where the prior passes the border


def a_painter_at_work() -> tuple[AnimationModel, EncodedSource, Motion]:
    """Return an untrained model that shows what it paints, a source and a motion."""
    config = network_config("ours-skip", "tiny", keypoints="mesh", keypoint_count=4)
    model = AnimationModel(config).eval()
    model.dense_motion.occlusion.heads[-1].bias.data.fill_(-5)  # show what is painted
    source, driving = model.encode_source(torch.rand(1, 3, 256, 256), random_keypoints(1, 4)), random_keypoints(1, 4)
    with torch.no_grad():
        return model, source, model.dense_motion(source.small, source.heatmap, source.keypoints, driving)


def test_hints_change_nothing_before_training_and_something_after() -> None:
    model, source, motion = a_painter_at_work()
    with torch.no_grad():
        others = motion._replace(hints=tuple(torch.rand_like(hint) for hint in motion.hints))
        silent = [model.generator(source.features, m).picture for m in (motion, others)]
        torch.testing.assert_close(*silent)
        for head in model.generator.hint_heads:
            torch.nn.init.normal_(head.weight)
        pictures = [model.generator(source.features, m).picture for m in (motion, others)]
    assert float((pictures[0] - pictures[1]).abs().mean()) > 1e-3


def test_the_painter_learns_to_see_the_driving_keypoints() -> None:
    model, source, motion = a_painter_at_work()
    with torch.no_grad():
        elsewhere = motion._replace(heatmap=motion.heatmap.roll(8, dims=3))
        silent = [model.generator(source.features, m).picture for m in (motion, elsewhere)]
        torch.testing.assert_close(*silent)
        torch.nn.init.normal_(model.generator.pose_head[-1].weight)
        pictures = [model.generator(source.features, m).picture for m in (motion, elsewhere)]
    assert float((pictures[0] - pictures[1]).abs().max()) > 1e-3


@pytest.mark.parametrize("keypoints", ["learned", "mesh"])
def test_live_size_stays_within_twelve_gigaflop(keypoints: str) -> None:
    config = network_config("ours-skip", "live", keypoints=keypoints, keypoint_count=20)
    assert sum(frame_float_operations(config).values()) < 12e9


def test_paper_size_has_the_papers_widths() -> None:
    model = AnimationModel(network_config("ours", "paper"))
    assert [block.conv.out_channels for block in model.dense_motion.occlusion.up_blocks] == [64, 32]
    assert [block.conv.out_channels for block in model.generator.down_blocks] == [128, 256]
    assert len(model.generator.residual_blocks) == 6


def test_config_survives_json() -> None:
    config = network_config("ours-skip", "live", keypoints="mesh", keypoint_count=20)
    assert NetworkConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    "changes",
    [
        {"image_size": 100},
        {"keypoints": "guessed"},
        {"attention": "some"},
        {"keypoint_count": 0},
        {"keypoints": "both"},
        {"keypoints": "both", "learned_count": 10},
        {"learned_count": 3},
        {"motion_to_painter": True},
        {"keypoints_to_painter": 8},
    ],
)
def test_bad_configs_are_refused(changes: dict) -> None:
    with pytest.raises(ConfigError):
        network_config("ours", "tiny", **changes)


def test_unknown_config_fields_are_named() -> None:
    with pytest.raises(ConfigError, match="colour"):
        NetworkConfig.from_dict({"colour": 1})


def test_the_mask_prior_gives_each_keypoint_its_neighbourhood() -> None:
    torch.manual_seed(1)
    config = network_config("ours-skip", "tiny", keypoints="mesh", keypoint_count=4, heatmap_variance=0.003)
    model = AnimationModel(config).eval()
    assert config.mask_prior > 0
    driving = random_keypoints(1, 4)
    with torch.no_grad():
        mask = model(torch.rand(1, 3, 256, 256), random_keypoints(1, 4), driving).motion.mask[0]
    cells = ((driving.value[0] + 1) * 32).long()
    for index, (x, y) in enumerate(cells.tolist()):
        assert mask[:, y, x].argmax() == index + 1
    assert network_config("ours", "tiny").mask_prior == 0
