"""Painters of parts learn from squares that lie where the app cuts them, and from nothing else."""

import numpy as np
import pytest
import torch
from torch import nn

from avatarify_plus.engines.photo_engine import PLACES
from avatarify_plus.face.contours import contour_points, part_squares
from avatarify_plus.network.config import network_config
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.network.parts import PART_PX
from avatarify_plus.pictures.photo_layers import cut_square
from synthetic_cache import rendered, write_cache
from training.data.cache import Cache, open_cache
from training.data.pairs import Batch, PairOptions
from training.loop.loader import BatchNeeds
from training.loop.schedule import Stage
from training.objective.losses import gradient_difference
from training.objective.objective import LossWeights, TrainingModel
from training.objective.parts import PartLosses, cut, cut_parts, hide
from training.objective.perceptual import perceptual_network

REACH = 1.5


@pytest.fixture(scope="module")
def perceptual() -> nn.Module:
    return perceptual_network("efficientnet-lite0")


@pytest.fixture(scope="module")
def photo_cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return open_cache(write_cache(tmp_path_factory.mktemp("photos"), {"anna_0": 4, "ben_0": 4, "eva_0": 1}, size=128))


def batch_of(cache: Cache, photos: float = 0.0, photo_size: int | None = 128) -> Batch:
    options = PairOptions(photo_share=photos, still_share=0, smallest_square=0.7, apart=0.5)
    return rendered(cache, options, Stage(64, 64, 4, 1), 1, needs=BatchNeeds(0, REACH, photo_size, 32))


def network() -> AnimationModel:
    torch.manual_seed(0)
    config = network_config(
        "ours-skip",
        "tiny",
        image_size=64,
        motion_size=16,
        keypoints="mesh",
        keypoint_count=20,
        photo_reach=REACH,
        contour_width=4,
        part_width=4,
    )
    return AnimationModel(config)


def test_the_photo_goes_on_around_the_sources_square(photo_cache: Cache) -> None:
    batch = batch_of(photo_cache)
    assert batch.photo is not None and batch.sharp is not None
    assert batch.photo.shape == (4, 3, 192, 192) and batch.sharp.shape == (4, 3, 128, 128)
    square = torch.nn.functional.avg_pool2d(batch.photo[..., 32:160, 32:160], 2)
    torch.testing.assert_close(square, batch.source.contiguous(), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(batch.sharp, 2), batch.driving.contiguous())


def test_squares_are_cut_as_the_app_cuts_them(photo_cache: Cache) -> None:
    batch = batch_of(photo_cache)
    assert batch.contours is not None and batch.sharp is not None and batch.driving_mesh is not None
    assert batch.photo is not None and batch.source_mesh is not None
    pictures = {"driving": (batch.sharp, batch.driving_mesh, 1.0), "source": (batch.photo, batch.source_mesh, REACH)}
    for side, (picture, meshes, reach) in pictures.items():
        for part, size in PART_PX.items():
            found = cut(picture, getattr(batch.contours, side)[part], size, reach).unflatten(0, (len(picture), -1))
            for index, mesh in enumerate(meshes.numpy()):
                image = (picture[index].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
                squares = part_squares(contour_points(mesh) * 2 - 1)
                for place, name in enumerate(PLACES[part]):
                    expected = cut_square(np.ascontiguousarray(image), squares[name].matrix, 128, size)
                    difference = found[index, place].permute(1, 2, 0).numpy() * 255 - expected
                    assert np.abs(difference).mean() < 1.5


def test_only_photos_are_hidden_and_only_inside_their_contours(photo_cache: Cache) -> None:
    torch.manual_seed(0)
    for photos in (0.0, 1.0):
        batch = batch_of(photo_cache, photos)
        assert batch.sharp is not None
        sample = cut_parts(batch.sharp, batch, REACH)["mouth"]
        given, reference = hide("mouth", sample)
        changed = [float((a - b).abs().max()) for a, b in ((given, sample.given), (reference, sample.reference))]
        assert (max(changed) > 0) == (photos == 1)
        far = torch.nn.functional.max_pool2d(sample.contours[:, 1:2], 11, 1, 5) == 0
        assert float(((given - sample.given).abs() * far).max()) == 0


def test_painters_learn_and_nothing_else_does(perceptual: nn.Module, photo_cache: Cache) -> None:
    model, losses = network(), PartLosses(perceptual, adversarial=0.1)
    batch = batch_of(photo_cache)
    assert batch.sharp is not None
    picture = torch.rand_like(batch.sharp).requires_grad_()
    found = losses(model, picture.detach(), batch)
    assert {name.split()[0] for name in found} == {"mouth", "eye"}
    torch.stack(list(found.values())).sum().backward()
    assert picture.grad is None and all(p.grad is None for p in model.generator.parameters())
    assert all(p.grad is not None for p in model.parts.parameters())
    assert all(p.grad is not None for p in losses.discriminators.parameters())
    # the painters' losses do not reach the discriminator, nor the discriminator's the painters
    losses.zero_grad()
    found = losses(model, picture.detach(), batch)
    judged = list(losses.discriminators.parameters())
    deceiving = torch.autograd.grad(found["mouth adversarial"], judged, allow_unused=True, retain_graph=True)
    assert all(gradient is None for gradient in deceiving)
    judging = torch.autograd.grad(found["mouth discriminator"], list(model.parts.parameters()), allow_unused=True)
    assert all(gradient is None for gradient in judging)


def test_a_painter_overfits_a_mouth(perceptual: nn.Module, photo_cache: Cache) -> None:
    model, losses = network(), PartLosses(perceptual, adversarial=0.0)
    batch = batch_of(photo_cache)
    assert batch.sharp is not None
    sample = cut_parts(torch.full_like(batch.sharp, 0.5), batch, REACH)["mouth"]
    optimiser = torch.optim.Adam(model.parts["mouth"].parameters(), 1e-2)
    values = []
    for _ in range(40):
        loss = losses.losses("mouth", model.parts["mouth"], sample)["mouth pixels"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.6 * values[0]


def test_a_step_trains_the_network_and_its_painters(perceptual: nn.Module, photo_cache: Cache) -> None:
    weights = LossWeights(identity=0, perceptual=0, flow=0)
    step = TrainingModel(network(), perceptual, weights, 1).train()
    batch = batch_of(photo_cache)
    losses = step(batch, None, False)
    assert {"pixels", "sharp", "mouth pixels", "eye perceptual", "mouth discriminator"} <= set(losses)
    groups = step.parameter_groups(1e-3)
    counted = [sum(p.numel() for p in group["params"]) for group in groups]
    assert sum(counted) == sum(p.numel() for p in step.parameters()) and len(groups) == 3
    torch.stack(list(losses.values())).sum().backward()
    contour_heads = [*step.model.generator.contour_heads, *step.model.dense_motion.occlusion.contour_heads]
    assert all(head[1].weight.grad.abs().max() > 0 for head in contour_heads)  # silent at first, but they learn
    again = TrainingModel(network(), perceptual, weights, 1)
    again.load_extra_state(step.extra_state())
    for name, value in step.part_losses.state_dict().items():
        torch.testing.assert_close(again.part_losses.state_dict()[name], value)


def test_blur_costs_slopes() -> None:
    picture = torch.zeros(1, 3, 16, 16)
    picture[..., 8:] = 1
    blurred = torch.nn.functional.avg_pool2d(picture, 5, 1, 2, count_include_pad=False)
    assert float(gradient_difference(picture, picture).max()) == 0
    assert float(gradient_difference(blurred, picture).mean()) > 0.3 * float((blurred - picture).abs().mean())
    assert float(gradient_difference(picture + 0.2, picture).max()) < 1e-6
