"""The discriminator: what it sees, what it learns, and its losses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avatarify_plus.errors import ConfigError
from avatarify_plus.network.generator import Window
from avatarify_plus.types import Keypoints
from training.objective.discriminator import (
    DiscriminatorConfig,
    Judgement,
    MultiScaleDiscriminator,
    discriminator_loss,
    feature_matching,
    generator_loss,
)

SMALL = DiscriminatorConfig(scales=2, width=4, blocks=3)
SIZE = 64


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def some_keypoints(batch: int = 2, count: int = 5) -> Keypoints:
    return Keypoints(torch.rand(batch, count, 2) * 2 - 1, torch.eye(2).expand(batch, count, 2, 2))


def judged(prediction: float, feature: float = 0.0) -> list[Judgement]:
    return [Judgement([torch.full((1, 2, 4, 4), feature)], torch.full((1, 1, 2, 2), prediction))]


def test_every_scale_gives_every_blocks_features() -> None:
    discriminator = MultiScaleDiscriminator(SMALL, 5)
    keypoints = some_keypoints()
    full, half = discriminator(torch.rand(2, 3, SIZE, SIZE), discriminator.condition(keypoints, SIZE))
    assert [feature.shape[1] for feature in full.features] == [8, 16, 32]
    assert full.features[0].shape[-1] == (SIZE - 3) // 2 and half.features[0].shape[-1] == (SIZE // 2 - 3) // 2
    assert full.prediction.shape[:2] == half.prediction.shape[:2] == (2, 1)


def test_the_gradient_reaches_the_picture() -> None:
    discriminator = MultiScaleDiscriminator(SMALL, 5)
    condition = discriminator.condition(some_keypoints(), SIZE)
    fake = torch.rand(2, 3, SIZE, SIZE, requires_grad=True)
    generator_loss(discriminator(fake, condition)).backward()
    assert fake.grad is not None and (fake.grad.abs().sum((1, 2, 3)) > 0).all()


def test_the_losses_are_those_of_least_squares() -> None:
    assert float(generator_loss(judged(1.0))) == 0 and float(generator_loss(judged(0.0) * 2)) == 2
    assert float(discriminator_loss(judged(1.0), judged(0.0))) == 0
    assert float(discriminator_loss(judged(0.5), judged(0.5))) == pytest.approx(0.5)
    assert float(feature_matching(judged(0, 0.25), judged(0, 1.0))) == pytest.approx(0.75)


def test_feature_matching_is_zero_for_equal_pictures_and_pulls_the_prediction_only() -> None:
    discriminator = MultiScaleDiscriminator(SMALL, 5).eval()
    condition = discriminator.condition(some_keypoints(), SIZE)
    real = torch.rand(2, 3, SIZE, SIZE, requires_grad=True)
    fake = (real.detach() + 0.1 * torch.randn(real.shape)).requires_grad_()
    assert float(feature_matching(discriminator(real, condition), discriminator(real, condition)).detach()) == 0
    feature_matching(discriminator(real, condition), discriminator(fake, condition)).backward()
    assert real.grad is None
    assert fake.grad is not None and float(fake.grad.abs().sum()) > 0


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_few_steps_distinguish_real_pictures_from_noise(precision: torch.dtype) -> None:
    discriminator = MultiScaleDiscriminator(DiscriminatorConfig(width=8, blocks=3), 5)
    optimiser = torch.optim.Adam(discriminator.train().parameters(), 2e-3, betas=(0.5, 0.999))
    keypoints = some_keypoints(4)
    condition = discriminator.condition(keypoints, SIZE)

    def smooth_and_noise() -> tuple[Tensor, Tensor]:
        coarse = torch.rand(4, 3, 4, 4)
        smooth = torch.nn.functional.interpolate(coarse, size=SIZE, mode="bilinear", align_corners=False)
        return smooth, torch.rand(4, 3, SIZE, SIZE)

    for _ in range(50):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            loss = discriminator_loss(*(discriminator(picture, condition) for picture in smooth_and_noise()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    real, fake = (discriminator(picture, condition) for picture in smooth_and_noise())
    for judgement, wrong in zip(real, fake, strict=True):
        assert judgement.prediction.mean() > wrong.prediction.mean() + 0.3


def test_spectral_norm_bounds_the_singular_values() -> None:
    discriminator = MultiScaleDiscriminator(SMALL, 5).train()
    condition = discriminator.condition(some_keypoints(), SIZE)
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.mul_(5)
        for _ in range(20):  # of the power iteration, one a call
            discriminator(torch.rand(2, 3, SIZE, SIZE), condition)
    for layer in discriminator.eval().modules():
        if isinstance(layer, torch.nn.Conv2d):
            assert float(torch.linalg.matrix_norm(layer.weight.flatten(1), 2).detach()) == pytest.approx(1, abs=0.1)


def test_the_judgement_depends_on_the_keypoints_if_conditioned() -> None:
    picture = torch.rand(2, 3, SIZE, SIZE)
    for conditioned in (True, False):
        config = DiscriminatorConfig(width=4, blocks=3, keypoint_conditioned=conditioned)
        discriminator = MultiScaleDiscriminator(config, 5).eval()
        one, other = (discriminator(picture, discriminator.condition(some_keypoints(), SIZE))[0] for _ in range(2))
        assert torch.equal(one.prediction, other.prediction) is not conditioned


def test_a_window_is_shown_the_keypoints_of_its_place() -> None:
    discriminator = MultiScaleDiscriminator(DiscriminatorConfig(width=4, blocks=3), 5)
    keypoints, window = some_keypoints(), Window(3, 5, 8)
    whole = discriminator.condition(keypoints, SIZE)
    part = discriminator.condition(keypoints, SIZE, window)
    torch.testing.assert_close(part, whole[..., 12:44, 20:52])
    assert len(discriminator(torch.rand(2, 3, 32, 32), part)) == 1


def test_the_smallest_picture_is_as_stated() -> None:
    for config in (SMALL, DiscriminatorConfig(width=4)):
        discriminator = MultiScaleDiscriminator(config, 5)
        for side in (config.smallest_px, config.smallest_px - 2):
            condition = discriminator.condition(some_keypoints(), side)
            if side == config.smallest_px:
                assert min(judgement.prediction.shape[-1] for judgement in discriminator(condition[:, :3], condition))
            else:
                with pytest.raises((ValueError, RuntimeError)):
                    discriminator(condition[:, :3], condition)


def test_a_config_out_of_range_is_refused() -> None:
    for wrong in ({"scales": 0}, {"width": 0}, {"heatmap_variance": 0.0}):
        with pytest.raises(ConfigError, match="must be positive"):
            DiscriminatorConfig(**wrong)
