"""A comparison trains every row under one budget, goes on where it stopped, and prints what it measured."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from avatarify_plus.errors import ConfigError, DataError, ModelError
from avatarify_plus.network.config import network_config
from avatarify_plus.pictures.images import View
from fakes import example_driver
from synthetic_cache import tiny_command, write_cache
from training import ablation, train
from training.evaluation.network_animation import NetworkAnimation
from training.evaluation.studies import STUDIES, TABLE_2, TABLE_2_TAICHI, Study, find_study
from training.evaluation.study_page import Measured, read_measured, tables, write_tables
from training.evaluation.trained_network import TrainedNetwork, read_trained_network, write_trained_network
from training.networks import TRAINABLE, base_config, build_network
from training.networks.x2face import CODE, X2Face

ROOT = Path(__file__).resolve().parents[2]
MEASURED = Measured(
    preset="fomm",
    seed=0,
    scores={"l1": 0.05, "psnr_db": 20.0, "akd_px": 4.0, "mkr": 0.0, "aed": 0.5},
    baseline={"l1": 0.06, "psnr_db": 19.0, "akd_px": 9.0, "mkr": 0.0, "aed": 0.3},
    parameters=1_500_000,
    frame_operations=1_100_000_000,
    steps=2,
    samples=8,
    clips=3,
    stride=5,
)
TINY = Study(
    name="tiny",
    title="Tiny",
    data_note="blobs",
    rows=("fomm", "ours", "x2face"),
    size="tiny",
    keypoint_count=4,
    stages="64x4:1",
    steps=2,
    rate=1e-3,
    train=(
        *("--weight", "identity=0", "perceptual=0", "--precision", "fp32", "--device", "cpu"),
        *("--set", "image_size=64", "motion_size=16"),
    ),
    row_train={"x2face": ("--apart", "0.5")},
    stride=1,
    paper={"TaiChiHD": TABLE_2_TAICHI},
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setitem(STUDIES, "tiny", TINY)
    return TINY


def tiny_network(preset: str = "ours") -> TrainedNetwork:
    config = replace(base_config(preset, "tiny"), image_size=64, motion_size=16, keypoint_count=4)
    return TrainedNetwork(build_network(config).eval(), {"seed": 3, "steps": 7, "samples": 28})


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (64, 64, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_a_command_of_the_trainer(name: str) -> None:
    study = STUDIES[name]
    assert set(study.rows) <= set(TRAINABLE)
    for row in study.rows:
        parsed, _ = train.read_command(["--data", "d", "--out", "o", *study.arguments(row, 5)])
        assert (parsed.preset, parsed.seed, parsed.steps) == (row, 5, study.steps)
        config = parsed.network()
        assert config.preset == row and (row == "x2face" or config.keypoint_count == study.keypoint_count)
    arguments = {row: study.arguments(row, 0)[2:] for row in study.rows}
    shared = arguments["fomm"]
    assert all(arguments[row] == shared for row in TABLE_2 if row in study.rows)  # nothing but the preset differs
    assert all(own[: len(shared)] == shared for own in arguments.values())


def test_the_rows_of_table_2_differ_in_attention_and_occlusion_only() -> None:
    configs = [network_config(preset, "narrow") for preset in TABLE_2]
    assert [config.attention for config in configs] == ["none", "cbam", "max-pool", "cbam", "max-pool"]
    assert [config.occlusion for config in configs] == [*["single"] * 3, *["multi-scale"] * 2]
    parts = {"preset": "same", "attention": "none", "occlusion": "single", "occlusion_first": True, "final_kernel": 7}
    assert len({replace(config, **parts) for config in configs}) == 1  # type: ignore[arg-type]


def test_clips_are_decoded_at_the_rows_size(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = argparse.Namespace(data=[tmp_path], val=tmp_path, out=tmp_path, train=[])
    decoded: list[tuple[int, str, str]] = []
    monkeypatch.setattr(
        ablation, "build_cache", lambda folder, root, size, _, split, subject: decoded.append((size, split, subject))
    )
    monkeypatch.setitem(STUDIES, "tiny", replace(study, subject="any"))
    ablation.decode(ablation.make_run(STUDIES["tiny"], "fomm", 0, options).config, options)
    assert decoded == [(64, "train", "any"), (64, "val", "any")]


def test_an_unknown_study_or_row_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown study 'nothing'"):
        find_study("nothing")
    with pytest.raises(ConfigError, match="no row theirs"):
        ablation.chosen_rows(TINY, ["theirs", "ours"])
    assert ablation.chosen_rows(TINY, ["ours", "fomm"]) == ("fomm", "ours")


def test_the_baseline_starts_by_repeating_the_source_and_learns_to_move() -> None:
    network = tiny_network("x2face").network
    assert isinstance(network, X2Face)
    source, driving = torch.nn.functional.interpolate(torch.rand(4, 3, 8, 8), size=64, mode="bilinear").split(2)
    pose = network.locate(driving, None)
    assert pose.value.shape == (2, CODE // 2, 2)
    found = network(source, network.locate(source, None), pose)
    assert torch.allclose(found.image, source, atol=1e-5) and found.motion.deformation.shape == (2, 16, 16, 2)
    network.train()
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    target = source.roll(3, 3)
    losses = []
    for _ in range(40):
        loss = (network(source, pose, network.locate(target, None)).image - target).abs()[..., 8:-8].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_pose_alone_decides_where_the_baseline_samples() -> None:
    network = tiny_network("x2face").network
    for head in (network.decoder[-1], network.embedded_offset):  # type: ignore[union-attr, index]
        torch.nn.init.normal_(head.weight, std=0.05)
    first, second = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        source = network.encode_source(first, network.locate(first, None))
        grids = [
            network.animate(source, network.locate(driving, None)).motion.deformation for driving in (first, second)
        ]
        again = network.animate(source, network.locate(second, None)).motion.deformation
    assert not torch.allclose(*grids) and torch.equal(grids[1], again)


@pytest.mark.parametrize("preset", ["ours", "fomm", "monkey-net", "x2face"])
def test_a_stored_row_is_the_row(preset: str, tmp_path: Path) -> None:
    row = tiny_network(preset)
    write_trained_network(row, tmp_path / "rows" / "a.safetensors")
    again = read_trained_network(tmp_path / "rows" / "a.safetensors")
    assert again.config == row.config and again.training == row.training and again.parameters == row.parameters
    pictures = []
    for each in (row, again):
        puppet = NetworkAnimation(each, "absolute")
        puppet.set_source(View(picture(0), None, has_face=False))
        pictures.append(puppet.animate(View(picture(1), None, has_face=False), 0.0).astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 2  # half precision


def test_what_half_precision_cannot_hold_is_stored_as_it_is(tmp_path: Path) -> None:
    row = tiny_network("x2face")
    state = row.network.state_dict()
    with torch.no_grad():
        state["decoder.0.bias"][0] = 1e6
        state["decoder.2.norm.running_var"].fill_(1e7)
        state["embedder.up_blocks.0.norm.running_var"].fill_(1e-9)
    write_trained_network(row, tmp_path / "a.safetensors")
    again = read_trained_network(tmp_path / "a.safetensors").network.state_dict()
    weights = {name for name, _ in row.network.named_parameters()}
    for name, value in state.items():
        torch.testing.assert_close(again[name], value, rtol=1e-3, atol=1e-6 if name in weights else 0)


ROWS = ROOT / "training" / "rows"


@pytest.mark.parametrize(
    "path", sorted(ROWS.rglob("*.safetensors")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_the_stored_rows_are_those_of_the_study(path: Path) -> None:
    study, row = find_study(path.parent.name), read_trained_network(path)
    assert all(tensor.isfinite().all() for tensor in row.network.state_dict().values())
    assert path.stem == f"{row.config.preset}-seed{row.training['seed']}" and row.config.preset in study.rows
    asked, _ = train.read_command(
        [*study.arguments(row.config.preset, row.training["seed"]), "--data", ".", "--out", "."]
    )
    assert row.config == asked.network() and row.training["steps"] == asked.steps
    assert row.training["peak_rate"] == asked.rate and path.stat().st_size < 10e6


@pytest.mark.parametrize("path", sorted(ROWS.rglob("*.json")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_stored_scores_are_those_of_the_study(path: Path) -> None:
    study, measured = find_study(path.parent.name), read_measured(path)
    assert path.stem == f"{measured.preset}-seed{measured.seed}" and measured.preset in study.rows
    assert (measured.steps, measured.stride) == (study.steps, study.stride) and measured.clip_scores["l1"]


def test_the_stored_rows_are_small() -> None:
    assert sum(path.stat().st_size for path in ROWS.rglob("*.safetensors")) < 40e6


@pytest.mark.parametrize("folder", sorted({path.parent for path in ROWS.rglob("*.json")}), ids=lambda path: path.name)
def test_the_page_has_the_tables_of_what_was_stored(folder: Path, tmp_path: Path) -> None:
    page, fresh = ROOT / "docs" / "results.md", tmp_path / "page.md"
    fresh.write_text(page.read_text())
    assert ablation.main(["page", folder.name, "--out", str(folder), "--page", str(fresh)]) == 0
    assert fresh.read_text() == page.read_text()


def test_what_is_not_a_trained_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no checkpoint"):
        read_trained_network(tmp_path)
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot read the trained network"):
        read_trained_network(tmp_path / "a.safetensors")
    mesh = replace(network_config("ours", "tiny"), keypoints="mesh", keypoint_count=20)
    write_trained_network(TrainedNetwork(build_network(mesh), {}), tmp_path / "mesh.safetensors")
    with pytest.raises(ModelError, match="face mesh"):
        read_trained_network(tmp_path / "mesh.safetensors")
    with pytest.raises(ConfigError, match="reconstruction only"):
        NetworkAnimation(tiny_network(), "relative")


def test_operations_grow_with_what_the_network_does() -> None:
    fomm, ours, baseline = (tiny_network(preset).frame_operations for preset in ("fomm", "ours", "x2face"))
    assert baseline > 0 and 0 < fomm != ours > 0


def test_a_study_trains_goes_on_and_does_not_mix_budgets(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = write_cache(tmp_path / "data", {"a_1": 4, "b_1": 4}), tmp_path / "runs"
    measured: list[str] = []

    def measure(paths: list[Path], *_: object) -> None:
        for path in paths:
            measured.append(path.name)
            scores = replace(MEASURED, preset=read_trained_network(path).config.preset).to_dict()
            (path / ablation.SCORES).write_text(json.dumps(scores))

    monkeypatch.setattr(ablation, "measure", measure)
    page = tmp_path / "docs" / "results.md"
    command = ["run", "tiny", "--data", str(data), "--val", str(data), "--out", str(out), "--page", str(page)]
    assert ablation.main([*command, "--rows", "fomm", "x2face", "--parallel", "2"]) == 0
    assert sorted(measured) == ["fomm-seed0", "x2face-seed0"]
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("*/checkpoint.pt")}
    assert len(stamps) == 2
    assert ablation.main(command) == 0  # only what is missing
    assert measured[2:] == ["ours-seed0"] and all(path.stat().st_mtime_ns == at for path, at in stamps.items())
    text = page.read_text()
    assert "seeds 0. `x2face` has `--apart 0.5` besides. Data: blobs." in text
    assert text.count("| FOMM (`fomm`) |") == 1 and "`x2face`" in text and text.count("<!-- tiny") == 2
    monkeypatch.setitem(STUDIES, "tiny", replace(study, rate=2e-3))
    assert ablation.main(command) == 1


def test_a_row_that_fails_is_named(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_cache(tmp_path / "data", {"a_1": 4})
    monkeypatch.setitem(STUDIES, "tiny", replace(study, train=(*study.train, "--warm-start", "nowhere.pt")))
    assert ablation.main(["run", "tiny", "--data", str(data), "--val", str(data), "--out", str(tmp_path / "r")]) == 1
    error = capsys.readouterr().err
    assert "fomm, seed 0 ended after 0 of 2 steps" in error and "no checkpoint at nowhere.pt" in error


def test_a_wrong_option_of_the_trainer_ends_a_study_before_it_begins(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_cache(tmp_path / "data", {"a_1": 4}), tmp_path / "runs"
    command = ["run", "tiny", "--data", str(data), "--val", str(data), "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        ablation.main([*command, "--train", "--weight", "beauty=1"])
    assert ended.value.code == 2 and not out.exists()
    assert "--weight knows no field 'beauty'" in capsys.readouterr().err


def test_rows_are_measured_from_their_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_cache(tmp_path / "data", {"a_1": 4})
    assert (
        train.main(
            [*tiny_command(data, tmp_path / "run", "--preset", "ours", "--keypoints", "learned", "--steps", "1")]
        )
        == 0
    )
    assert ablation.main(["store", str(tmp_path / "run"), "--to", str(tmp_path / "rows")]) == 0
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "a_1.mp4").write_bytes((ROOT / "examples" / "driver.mp4").read_bytes())
    rows = [str(tmp_path / "run"), str(tmp_path / "rows" / "run.safetensors")]
    capsys.readouterr()
    assert ablation.main(["evaluate", *rows, "--val", str(clips), "--study", "faces", "--processes", "1"]) == 0
    out = capsys.readouterr().out
    assert out.count("parameters") == 2 and "repeat the source" in out


def test_the_tables_show_mean_spread_and_difference(tmp_path: Path) -> None:
    def run(preset: str, seed: int, l1: float) -> Measured:
        clips = {"l1": {"a": l1, "b": 1.1 * l1}, "aed": {"a": None, "b": None}}
        scores = MEASURED.scores | {"l1": l1, "aed": None}
        return replace(MEASURED, preset=preset, seed=seed, scores=scores, clip_scores=clips)

    found = [run("fomm", 0, 0.050), run("fomm", 1, 0.040), run("ours", 0, 0.045), run("ours", 1, 0.038)]
    text = tables(TINY, found)
    assert "0.0450 ± 0.0050" in text and "0.0415 ± 0.0035" in text
    ours = next(line for line in text.splitlines() if line.startswith("| the paper's network (`ours`) | L1"))
    assert "| -7.8 % | -10.0 to -5.0 % | -10.0, -5.0 |" in ours  # each seed against its own FOMM
    assert "| TaiChiHD -4.9 % | confirmed |" in ours  # the paper's: 0.058 of 0.061
    assert text.count("(`ours`)") == 2  # AKD was not measured by clip, AED not at all
    assert "| - |" in text  # AED was not measured
    page = tmp_path / "page.md"
    page.write_text("# Results\n\nBefore.\n")
    write_tables(page, TINY, found[:1])
    page.write_text(page.read_text() + "\nAfter.\n")
    write_tables(page, TINY, found)
    written = page.read_text()
    assert written.startswith("# Results\n\nBefore.\n") and written.endswith("\nAfter.\n")
    assert written.count("0.0450 ± 0.0050") == 1 and json.dumps(written).count("## Tiny") == 1
    with pytest.raises(DataError, match="no measured run of tiny in"):
        ablation.write_page(TINY, [tmp_path], page)


def test_a_rate_that_is_mostly_zero_is_not_compared() -> None:
    def run(preset: str, seed: int, rate: float) -> Measured:
        rates = {"a": rate, "b": 0.0, "c": 0.0}
        return replace(MEASURED, preset=preset, seed=seed, clip_scores={"l1": {"a": 0.04}, "mkr": rates})

    found = [run("fomm", 0, 0.01), run("fomm", 1, 0.01), run("ours", 0, 0.0), run("ours", 1, 0.0)]
    text = tables(TINY, found)
    assert "(`ours`) | L1" in text and "(`ours`) | MKR" not in text and "nan" not in text


def test_what_was_measured_elsewhere_is_on_the_page_too(study: Study, tmp_path: Path) -> None:
    for seed in (0, 1):
        run = tmp_path / "elsewhere" / f"fomm-seed{seed}"
        run.mkdir(parents=True)
        scores = MEASURED.scores | {"l1": 0.03 + 0.02 * seed}
        (run / ablation.SCORES).write_text(json.dumps(replace(MEASURED, seed=seed, scores=scores).to_dict()))
    first, second = (str(tmp_path / "elsewhere" / f"fomm-seed{seed}") for seed in (0, 1))
    stored, here, page = tmp_path / "stored", tmp_path / "here", tmp_path / "page.md"
    assert ablation.main(["store", first, second, "--to", str(stored), "--scores-alone"]) == 0
    assert sorted(path.name for path in stored.iterdir()) == ["fomm-seed0.json", "fomm-seed1.json"]
    (here / "fomm-seed0").mkdir(parents=True)
    scores = MEASURED.scores | {"l1": 0.07}  # the same run again: counts once, as the first folder has it
    (here / "fomm-seed0" / ablation.SCORES).write_text(json.dumps(replace(MEASURED, seed=0, scores=scores).to_dict()))
    assert ablation.main(["page", "tiny", "--out", str(here), str(stored), "--page", str(page)]) == 0
    assert "| 2 | 0.0600 ± 0.0100 |" in page.read_text()


@pytest.mark.parametrize(
    "change",
    [
        *({"preset": 5}, {"steps": 10**30}, {"seed": None}, {"scores": [1]}, {"baseline": {"l1": "a"}}, {"more": 1}),
        *({"clip_scores": [1]}, {"clip_scores": {"l1": 1}}, {"clip_scores": {"l1": {"a": "b"}}}),
    ],
)
def test_scores_that_are_none_are_one_line(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(MEASURED.to_dict()))
    assert read_measured(path) == MEASURED
    for text in (json.dumps(MEASURED.to_dict() | change), "{", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(
            DataError, match=r"scores\.json does not hold what .*: delete it and measure that run again$"
        ):
            read_measured(path)


def test_what_a_stored_network_says_wrong_is_one_line(tmp_path: Path) -> None:
    header = b'{"a": {"dtype": "one\\ntwo", "shape": [], "data_offsets": [0, 0]}}'
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ModelError, match="cannot read the trained network") as caught:
        read_trained_network(tmp_path / "a.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["voxceleb1", "taichihd", "mgif"])
def test_a_data_set_is_one_command(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = find_study(name)
    small = ("--precision", "fp32", "--device", "cpu", "--set", "image_size=64", "motion_size=16")
    weights = ("--weight", "perceptual=0", "pixels=1")
    row = {"voxceleb1": "x2face", "taichihd": "fomm-cbam", "mgif": "ours"}[name]
    tiny = replace(full, size="tiny", stages="64x2:1", steps=2, train=(*full.train, *weights, *small), stride=2)
    monkeypatch.setitem(STUDIES, name, tiny)
    data = stand_in(name, tmp_path / "data")
    page = tmp_path / "page.md"
    command = ["run", name, "--data", str(data), "--out", str(tmp_path / "runs"), "--page", str(page)]
    assert ablation.main([*command, "--rows", row, "--processes", "1"]) == 0
    measured = json.loads((tmp_path / "runs" / f"{row}-seed0" / "scores.json").read_text())
    assert measured["clips"] == 1 and 0 < measured["scores"]["l1"] < 1
    assert (measured["scores"]["aed"] is None) == (name != "voxceleb1")
    assert f"(`{row}`)" in page.read_text() and full.data_note in page.read_text()


def stand_in(name: str, folder: Path) -> Path:
    """Write a data set of two training clips and one test clip in its own layout."""
    frames = example_driver(6, 128) if name == "voxceleb1" else [moving_square(shift) for shift in range(6)]
    endings = {"voxceleb1": "#v#000001#000006.mp4", "taichihd": "#000001#000006.mp4", "mgif": ".gif"}
    for split, clip in (("train", "id10001"), ("train", "id10002"), ("test", "id10003")):
        path = folder / split / f"{clip}{endings[name]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == "taichihd":  # folders of frames, as its loader leaves them
            path.mkdir()
            for number, frame in enumerate(frames):
                Image.fromarray(frame).save(path / f"{number:07}.png")
        elif name == "mgif":
            first, *others = (Image.fromarray(frame) for frame in frames)
            first.save(path, save_all=True, append_images=others, duration=40)
        else:
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (128, 128))
            for frame in frames:
                writer.write(frame[..., ::-1])
            writer.release()
    return folder


def moving_square(shift: int) -> np.ndarray:
    picture = np.full((64, 64, 3), 230, np.uint8)
    picture[20:40, 10 + 4 * shift : 30 + 4 * shift] = (200, 40, 90)
    return picture
