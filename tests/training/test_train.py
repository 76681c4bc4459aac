"""Training learns, saves and resumes."""

import json
from pathlib import Path

import pytest
import torch

from avatarify_plus.network.checkpoint import read_checkpoint
from avatarify_plus.network.config import network_config
from avatarify_plus.network.model import AnimationModel
from synthetic_cache import rendered
from training.config import StepConfig
from training.data.cache import Cache
from training.data.pairs import PairOptions
from training.loop.ranks import joined_ranks
from training.loop.schedule import Stage
from training.networks import build_network
from training.objective.losses import perceptual_pyramid
from training.train import build_objective, main


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_one_pair_overfits(cache: Cache) -> None:
    batch = rendered(cache, PairOptions(photo_share=0), Stage(64, 64, 1, 1), 1)
    config = network_config("ours-skip", "tiny", keypoints="mesh", keypoint_count=20, image_size=64, motion_size=32)
    model = AnimationModel(config).train()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(25):
        loss = (model(batch.source, batch.source_keypoints, batch.driving_keypoints).image - batch.driving).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]


def test_training_runs_saves_and_resumes(clips: Path, tmp_path: Path) -> None:
    def command(steps: int) -> list[str]:
        shape = ["--preset", "ours-skip", "--size", "tiny", "--stages", "64x1:0.5,128/64x1:0.5"]
        return [
            *("--data", str(clips), "--val", str(clips), "--out", str(tmp_path), *shape),
            *("--steps", str(steps), "--seed", "1", "--precision", "fp32", "--device", "cpu"),
        ]

    assert main(command(2)) == 0
    first = read_checkpoint(tmp_path / "checkpoint.pt")
    assert first.step == 2 and first.training["data"]["identities"] == 2
    assert list(tmp_path.glob("sheet-*.png")) and (tmp_path / "loss.png").exists()
    assert main(command(4)) == 0
    second = read_checkpoint(tmp_path / "checkpoint.pt")
    assert second.step == 4 and second.elapsed_s > first.elapsed_s
    other = [*command(6), "--keypoints", "learned"]
    assert main(other) == 1  # the run folder holds another network


def test_the_perceptual_loss_is_of_as_many_scales_as_asked_for() -> None:
    options = StepConfig(size="tiny", perceptual_scales=2, weight=("identity=0",), compile=False)
    with joined_ranks("cpu") as ranks:
        objective = build_objective(options, build_network(options.network()), ranks)
    pictures: list[torch.Size] = []

    def seen(picture: torch.Tensor) -> list[torch.Tensor]:
        pictures.append(picture.shape)
        return []

    batch = torch.rand(1, 3, 64, 64)
    perceptual_pyramid(seen, batch, batch, batch[:, :1], objective.scales)  # type: ignore[arg-type]
    assert sorted({shape[-1] for shape in pictures}) == [32, 64]


def test_a_dry_run_says_what_the_data_are_taken_for_and_writes_nothing(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--data", str(clips), "--val", str(clips), "--out", str(tmp_path / "run"), "--dry-run"]
    assert main(command) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{clips}: ") and "by their names of 3 people" in said[0]
    assert said[-1].startswith(f"validation: {clips}: ")
    assert not (tmp_path / "run").exists()
    assert main(["--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run"), "--dry-run"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_learned_keypoints_train_from_the_mesh(clips: Path, tmp_path: Path) -> None:
    shape = ["--preset", "ours", "--size", "tiny", "--stages", "64x2:1", "--keypoints", "learned", "--mesh-warmup", "1"]
    arguments = ["--data", str(clips), "--out", str(tmp_path), *shape, "--steps", "2", "--device", "cpu"]
    assert main(arguments) == 0
    assert (
        json.loads(json.dumps(read_checkpoint(tmp_path / "checkpoint.pt").config.to_dict()))["keypoints"] == "learned"
    )
