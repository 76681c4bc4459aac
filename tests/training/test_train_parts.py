"""The painters of mouth and eyes are trained on squares cut out once."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatarify_plus.network.checkpoint import Checkpoint, read_checkpoint
from avatarify_plus.network.config import network_config
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.network.parts import PART_PX
from synthetic_cache import write_cache
from training.loop.checkpoint import write_checkpoint
from training.objective.parts import PartSample
from training.train_parts import FIELDS, Crops, main


@pytest.fixture
def start(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = network_config(
        "ours-skip",
        "tiny",
        image_size=64,
        motion_size=16,
        keypoints="mesh",
        keypoint_count=20,
        photo_reach=1.5,
        contour_width=4,
    )
    path = tmp_path / "start.pt"
    write_checkpoint(path, Checkpoint(config, AnimationModel(config).state_dict(), 5, 50, 1.0, {"seed": 3}, None))
    return path


def test_painters_are_added_and_the_rest_stays(start: Path, tmp_path: Path) -> None:
    data = write_cache(tmp_path / "cache", {"anna_0": 4, "ben_0": 4, "eva_0": 1}, size=64)
    out = tmp_path / "parts"
    command = [str(start), "--data", str(data), "--out", str(out), "--photo-px", "64", "--width", "4"]
    command += ["--pairs", "16", "--minutes", "0.03"]
    assert main(command) == 0
    before, after = read_checkpoint(start), read_checkpoint(out / "checkpoint.pt")
    assert after.config == replace(before.config, part_width=4)
    for name, value in before.ema.items():
        torch.testing.assert_close(after.ema[name], value)
    assert after.training["painters"]["pairs"] == 16 and after.samples == 50
    # squares are cut once: a second run finds them
    times = {path: path.stat().st_mtime_ns for path in (out / "crops").glob("*.u8")}
    (out / "crops" / "done.txt").write_text("16")
    assert main(command) == 0
    assert (out / "crops" / "done.txt").read_text() == "16" and len(times) == 11


def squares(count: int, level: float) -> dict[str, PartSample]:
    """Return what is cut out of so many pairs, all of one level."""
    samples = {}
    for part, number in (("mouth", 1), ("eye", 2)):
        side = PART_PX[part]
        shapes = {name: (number * count, 2 if "contours" in name else 3, side, side) for name in FIELDS}
        values = {name: torch.full(shape, level) for name, shape in shapes.items()}
        samples[part] = PartSample(**values, is_photo=torch.ones(count, dtype=torch.bool))
    return samples


def test_a_number_of_pairs_that_fills_no_batch_is_cut(tmp_path: Path) -> None:
    crops = Crops(tmp_path / "crops", 5)
    crops.write(0, squares(4, 0.2), 4)
    crops.write(4, squares(4, 0.6), 1)
    for values in crops.arrays.values():
        assert (values[:4] == 51).all() and (values[4] == 153).all()
    assert crops.is_photo.tolist() == [1] * 5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, Linux's full disk")
def test_a_disk_that_cannot_take_the_squares_is_an_error(tmp_path: Path) -> None:
    """Files of zeros have room on any disk until something is written to them."""
    crops = Crops(tmp_path / "crops", 4)
    (tmp_path / "crops" / "mouth-given.u8").unlink()
    (tmp_path / "crops" / "mouth-given.u8").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        crops.write(0, squares(4, 0.2), 4)


def test_a_network_without_its_photos_size_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_cache(tmp_path / "cache", {"anna_0": 2}, size=64)
    assert main(["live-256", "--data", str(data), "--out", str(tmp_path / "out")]) == 1
    assert "photo_reach" in capsys.readouterr().err
