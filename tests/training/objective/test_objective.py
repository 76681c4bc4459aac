"""One training step: every loss reaches what it should train, and nothing else."""

import pytest
import torch
from torch import Tensor, nn

from avatarify_plus.network.blocks import coordinate_grid
from avatarify_plus.network.config import network_config
from avatarify_plus.network.generator import Painting, Window
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.types import Keypoints
from training.data.flow import Flow
from training.data.pairs import Batch
from training.objective.discriminator import DiscriminatorConfig, MultiScaleDiscriminator
from training.objective.identity import IdentityNetwork
from training.objective.losses import occlusion_loss, restoration_loss, wrongness
from training.objective.objective import LossWeights, TrainingModel
from training.objective.perceptual import perceptual_network

WINDOW = Window(top=8, left=16, size=32)


@pytest.fixture(scope="module")
def perceptual() -> nn.Module:
    return perceptual_network("efficientnet-lite0")


@pytest.fixture(scope="module")
def batch() -> Batch:
    torch.manual_seed(0)
    keypoints = [Keypoints(torch.rand(2, 20, 2) - 0.5, torch.eye(2).expand(2, 20, 2, 2).clone()) for _ in range(2)]
    mesh = torch.rand(2, 478, 2)
    images = [torch.rand(2, 3, 256, 256) for _ in range(2)]
    return Batch(images[0], images[1], keypoints[0], keypoints[1], mesh, torch.zeros(2, dtype=torch.bool))


def objective(
    perceptual: nn.Module, weights: LossWeights, keypoints: str = "both", judged: bool = False, known: bool = False
) -> TrainingModel:
    torch.manual_seed(1)
    count, learned = {"both": (24, 4), "mesh": (20, 0), "learned": (20, 0)}[keypoints]
    config = network_config("ours-skip", "tiny", keypoints=keypoints, keypoint_count=count, learned_count=learned)
    discriminator = MultiScaleDiscriminator(DiscriminatorConfig(width=4), count) if judged else None
    identity = IdentityNetwork().eval() if known else None
    model = AnimationModel(config)
    return TrainingModel(model, perceptual, weights, 1, identity, discriminator).train()


def reached(losses: list[Tensor], module: nn.Module) -> int:
    gradients = torch.autograd.grad(sum(losses), list(module.parameters()), retain_graph=True, allow_unused=True)
    return sum(gradient is not None for gradient in gradients)


def test_generator_and_discriminator_share_a_backward_pass_but_no_gradient(perceptual: nn.Module, batch: Batch) -> None:
    step = objective(perceptual, LossWeights(adversarial=1.0), judged=True)
    losses = step(batch, WINDOW, False)
    assert step.discriminator is not None
    deceiving = [losses["adversarial"], losses["feature matching"]]
    assert reached(deceiving, step.discriminator) == 0
    assert reached(deceiving, step.model) > 0
    assert reached([losses["discriminator"]], step.model) == 0
    assert reached([losses["discriminator"]], step.discriminator) > 0
    sum(losses.values()).backward()
    assert not [name for name, parameter in step.named_parameters() if parameter.grad is None], "DDP wants them all"
    groups = step.parameter_groups(1e-3)
    assert [group["peak"] for group in groups] == [1e-3, 2e-4]
    assert sum(len(group["params"]) for group in groups) == len(list(step.parameters()))


def test_the_discriminator_is_kept_with_the_checkpoint(perceptual: nn.Module) -> None:
    first, second = (objective(perceptual, LossWeights(adversarial=1.0), judged=True) for _ in range(2))
    assert first.discriminator is not None and second.discriminator is not None
    for parameter in first.discriminator.parameters():
        parameter.data.add_(0.5)
    second.load_extra_state(first.extra_state())
    for left, right in zip(first.discriminator.parameters(), second.discriminator.parameters(), strict=True):
        torch.testing.assert_close(left, right)
    assert objective(perceptual, LossWeights()).extra_state() == {}


def test_flow_teaches_the_motion_and_the_detector_but_not_the_painter(perceptual: nn.Module, batch: Batch) -> None:
    step = objective(perceptual, LossWeights(flow=2.0))
    grid = coordinate_grid(64, False, batch.source).expand(2, -1, -1, -1)
    losses = step(batch._replace(flow=Flow(grid + 0.1, torch.ones(2, 64, 64))), WINDOW, False)
    taught = [losses["flow"], losses["keypoint flow"]]
    assert all(float(loss.detach()) > 0 for loss in taught)
    assert reached(taught, step.model.dense_motion.hourglass) > 0
    assert step.model.detector is not None and reached([losses["keypoint flow"]], step.model.detector) > 0
    assert reached(taught, step.model.generator) == 0
    assert "flow" not in step(batch, WINDOW, False)


@pytest.mark.parametrize("keypoints", ["learned", "mesh", "both"])
def test_learned_keypoints_bring_their_equivariance(perceptual: nn.Module, batch: Batch, keypoints: str) -> None:
    losses = objective(perceptual, LossWeights(), keypoints)(batch, WINDOW, False)
    assert ("equivariance value" in losses) == (keypoints != "mesh")
    assert all(bool(torch.isfinite(value)) for value in losses.values())


def test_the_identity_loss_reaches_the_painter(perceptual: nn.Module, batch: Batch) -> None:
    step = objective(perceptual, LossWeights(identity=2.0), "mesh", known=True)
    losses = step(batch, WINDOW, False)
    assert float(losses["identity"].detach()) > 0
    assert reached([losses["identity"]], step.model.generator) > 0
    halved = objective(perceptual, LossWeights(identity=1.0), "mesh", known=True)(batch, WINDOW, False)
    torch.testing.assert_close(losses["identity"], 2 * halved["identity"])


def test_the_painter_learns_also_where_the_photo_prevails(perceptual: nn.Module, batch: Batch) -> None:
    step = objective(perceptual, LossWeights(painted=1.0), "mesh")
    step.model.dense_motion.occlusion.heads[-1].bias.data.fill_(100)  # the photo everywhere
    losses = step(batch, WINDOW, False)
    final = step.model.generator.final.weight
    gradients = [
        torch.autograd.grad(losses[name], final, retain_graph=True)[0].abs().max() for name in ("pixels", "painted")
    ]
    assert gradients[0] == 0 < gradients[1]
    assert "painted" not in objective(perceptual, LossWeights(painted=0.0), "mesh")(batch, WINDOW, False)


def test_an_occlusion_map_that_is_surely_wrong_still_learns() -> None:
    target = torch.rand(1, 3, 32, 32)
    logit = torch.full((1, 1, 32, 32), 9.0, requires_grad=True)
    right, wrong = target, 1 - target

    def gradient(warped: Tensor, painted: Tensor) -> float:
        kept = torch.sigmoid(logit)
        painting = Painting(kept * warped + (1 - kept) * painted, painted, warped, kept, ())
        loss = occlusion_loss(painting, target, torch.ones(1, 1, 32, 32))
        return float(torch.autograd.grad(loss, logit)[0].mean())

    assert gradient(wrong, right) > 100 * abs(gradient(right, wrong))
    assert gradient(wrong, right) > 0, "the map should fall where the photo is wrong"


def test_features_of_a_wrong_photo_are_kept_from_the_painter() -> None:
    target, weight = torch.full((1, 3, 64, 64), 0.5), torch.zeros(1, 1, 64, 64)
    weight[..., 16:48, :] = 1
    warped = target.clone()
    warped[..., :32] = 0.9  # lips where teeth should be
    logits = [torch.zeros(1, 1, side, side, requires_grad=True) for side in (16, 32)]
    gates = tuple(torch.sigmoid(logit) for logit in logits)
    loss = restoration_loss(gates, wrongness(warped, target), weight)
    for gradient in torch.autograd.grad(loss, logits):
        side = gradient.shape[-1]
        middle = gradient[0, 0, side // 2]
        assert middle[side // 4] > 0 > middle[3 * side // 4], "less of what is wrong, more of what is right"
        assert not gradient[0, 0, 0].any(), "elsewhere the reconstruction alone decides"


def test_only_the_window_is_compared(perceptual: nn.Module, batch: Batch) -> None:
    step = objective(perceptual, LossWeights(), "mesh")
    driving = batch.driving.clone()
    driving[..., :24, :] = 0  # above the window
    with torch.no_grad():
        before, after = (step(b, WINDOW, False) for b in (batch, batch._replace(driving=driving)))
    torch.testing.assert_close(before["pixels"], after["pixels"])
    torch.testing.assert_close(before["perceptual"], after["perceptual"])
