"""The paper's figures show what the rows' networks computed, from frames chosen by the pictures alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatarify_plus.network.attention import Attention
from avatarify_plus.pictures.images import read_picture
from avatarify_plus.types import Image, Keypoints
from training import paper_figures
from training.contact_sheet import write_picture
from training.evaluation.figures import draw_dots, keypoint_colours
from training.evaluation.trained_network import TrainedNetwork, write_trained_network
from training.networks import base_config, build_network
from training.paper_figures import far_frames, main, occlusion_sheet, read_figure_network, read_scenes

SIZE = 64
MOTION_SIZE = 16
NAMES = ("attention", "keypoints", "occlusion", "side-by-side")


def pictures(count: int, seed: int) -> list[Image]:
    """Return noise of which each picture is brighter than the one before."""
    noise = np.random.default_rng(seed).integers(0, 60, (SIZE, SIZE, 3))
    return [(noise + 180 * index / max(count - 1, 1)).astype(np.uint8) for index in range(count)]


def write_clip(folder: Path, shown: list[Image]) -> Path:
    for index, picture in enumerate(shown):
        write_picture(folder / f"{index}.png", picture)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained rows by their presets, and one of another size."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("rows")
    configs = {
        name: replace(base_config(name, "tiny"), image_size=SIZE, motion_size=MOTION_SIZE, keypoint_count=4)
        for name in ("fomm", "fomm-cbam", "ours", "x2face")
    }
    configs["larger"] = replace(configs["ours"], image_size=2 * SIZE, motion_size=2 * MOTION_SIZE)
    for name, config in configs.items():
        write_trained_network(TrainedNetwork(build_network(config).eval(), {}), folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in configs}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "a_1.mp4", pictures(5, 1))
    write_clip(folder / "b_1.mp4", pictures(4, 2))
    write_picture(folder / "photo.png", pictures(1, 3)[0])
    return folder


def command(rows: dict[str, Path], clips: Path, out: Path, **others: str) -> list[str]:
    chosen = {"fomm": "fomm", "ours": "ours", **others}
    return [
        *(word for option, row in chosen.items() for word in (f"--{option}", str(rows[row]))),
        *("--clips", str(clips), "--out", str(out)),
    ]


def test_the_frames_farthest_from_the_first_and_from_one_another_are_chosen() -> None:
    levels = [100, 110, 20, 105, 200, 90]
    shown = [np.full((4, 4, 3), level, np.uint8) for level in levels]
    assert far_frames(shown, 2) == [4, 2] and far_frames(shown, 3) == [4, 2, 1]
    assert 0 not in far_frames(shown, 5) and len(far_frames(shown, 9)) == 5


def test_four_pictures_are_written_and_stay_the_same(
    rows: dict[str, Path], clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("first", "second"):
        assert main(command(rows, clips, tmp_path / name, more="fomm-cbam")) == 0
    written = sorted((tmp_path / "first").iterdir())
    assert [path.name for path in written] == [f"table2-{name}.jpg" for name in NAMES]
    assert all(str(path) in capsys.readouterr().out for path in written[:1])
    for path in written:
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
        height, width = read_picture(path).shape[:2]
        assert width <= paper_figures.WIDTH_PX and height > 2 * 100 and path.stat().st_size < 400_000


def test_a_scene_is_a_clip_and_no_photo(clips: Path) -> None:
    scenes = read_scenes([clips], SIZE)
    assert len(scenes) == 2
    assert (scenes[0].source == pictures(5, 1)[0]).all() and (scenes[0].driving[0] == pictures(5, 1)[4]).all()


def test_attention_maps_are_what_the_module_multiplies_by() -> None:
    torch.manual_seed(0)
    for use_average in (False, True):
        module = Attention(8, 4, gain=2.0, use_average=use_average)
        feature = torch.randn(2, 8, 5, 5)
        channels = module.channel_weights(feature)
        place = module.place_weights(feature * channels)
        assert channels.shape == (2, 8, 1, 1) and place.shape == (2, 1, 5, 5)
        assert torch.equal(module(feature), feature * channels * place)


@pytest.mark.parametrize(("name", "maps"), [("fomm", 1), ("fomm-cbam", 1), ("ours", 3)])
def test_a_look_is_the_networks_own(rows: dict[str, Path], name: str, maps: int) -> None:
    row = read_figure_network(rows[name])
    source, _, driving = pictures(3, 4)
    explain = row.explain(source, driving)
    with torch.inference_mode():
        images = torch.from_numpy(np.stack([source, driving])).permute(0, 3, 1, 2).float() / 255
        poses = [row.network.locate(image[None], None) for image in images]
        expected = row.network(images[:1], *poses).image[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(explain.prediction - expected).max() <= 0.51
    assert np.allclose(explain.keypoints.value, row.keypoints(driving).value)
    assert [len(levels) for levels in explain.occlusions] == [MOTION_SIZE << level for level in range(maps)]
    assert not row.network.dense_motion.attention._forward_pre_hooks  # none is left behind
    if name == "fomm":
        assert explain.attention is None
        return
    assert explain.attention is not None
    assert explain.attention.channels.shape == (row.network.config.motion_channels,)
    assert explain.attention.place.shape == (MOTION_SIZE, MOTION_SIZE)
    assert all(part.min() >= 0 and part.max() <= 1 for part in explain.attention)


def test_white_is_where_the_warped_source_is_kept(rows: dict[str, Path], clips: Path) -> None:
    fomm, ours = (read_figure_network(rows[name]) for name in ("fomm", "ours"))
    head = fomm.network.dense_motion.occlusion
    assert isinstance(head, torch.nn.Conv2d) and head.bias is not None
    scenes = read_scenes([clips], SIZE)
    levels = []
    for bias in (20.0, -20.0):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.constant_(head.bias, bias)
        cell_px = paper_figures.WIDTH_PX // 7
        levels.append(occlusion_sheet(fomm, ours, scenes)[-cell_px:, -cell_px:].mean())
    assert levels == [255, 0]


def test_dots_are_where_the_keypoints_are() -> None:
    value = np.array([[-0.5, 0], [0.5, 0.5]], np.float32)
    drawn = draw_dots(np.zeros((32, 32, 3), np.uint8), Keypoints(value, None), 200, 4)
    for (x, y), colour in zip([(50, 100), (150, 150)], keypoint_colours(2), strict=True):
        assert tuple(drawn[y, x]) == colour
    assert (drawn.any(-1)).mean() < 0.01


def test_what_cannot_be_drawn_is_named_in_one_line(
    rows: dict[str, Path], clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = write_clip(tmp_path / "short" / "c_1.mp4", pictures(1, 5)).parent
    (tmp_path / "file").write_text("no folder")
    missing = rows | {"missing": tmp_path / "missing"}
    for arguments, reason in (
        (command(rows, tmp_path / "nowhere", tmp_path / "out"), "there is no folder"),
        (command(rows, short, tmp_path / "out"), "has 1 picture(s)"),
        (command(rows, clips, tmp_path / "out", fomm="x2face"), "has no keypoints"),
        (command(rows, clips, tmp_path / "out", more="larger"), "found 64, 128 px"),
        (command(rows, clips, tmp_path / "out", more="fomm"), "'fomm' has no attention"),
        (command(missing, clips, tmp_path / "out", ours="missing"), "missing"),
        (command(rows, clips, tmp_path / "file"), "cannot write"),
    ):
        assert main(arguments) == 1
        printed = capsys.readouterr().err
        assert printed.startswith("avatarify: error: ") and reason in printed and printed.count("\n") == 1
    assert not (tmp_path / "out").exists()
