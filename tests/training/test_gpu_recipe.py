"""The recipe's whole way: pack here, train there in sessions, fetch chunks, join them."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from avatarify_plus.errors import DataError
from avatarify_plus.network.checkpoint import read_checkpoint
from export import onnx_bundle
from synthetic_cache import tiny_command
from training import gpu_recipe, train
from training.data.cache import build_cache, open_cache, read_clip
from training.transfer import dataset_archive as archive

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short clips cut from the bundled driver, one photo and one file that is not a clip."""
    folder = tmp_path_factory.mktemp("clips")
    frames = read_clip(ROOT / "examples" / "driver.mp4", 256)
    for name, first in (("a_1", 20), ("b_1", 100)):
        writer = cv2.VideoWriter(str(folder / f"{name}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, (256, 256))
        for frame in frames[first : first + 3]:
            writer.write(frame[..., ::-1])
        writer.release()
    cv2.imwrite(str(folder / "c_1.png"), frames[0][..., ::-1])
    (folder / "d_1.mp4").write_bytes(b"not a video")
    return folder


@pytest.fixture(scope="module")
def packed(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "pack"
    arguments = ["pack", "--data", str(clips), "--out", str(out), "--part-mb", "0.07", "--processes", "1"]
    assert gpu_recipe.main(arguments) == 0
    return out


def test_an_archive_holds_what_the_cache_holds(clips: Path, packed: Path, tmp_path: Path) -> None:
    (folder,) = (inner for inner in packed.iterdir() if archive.is_archive(inner))
    parts = list(folder.iterdir())
    assert len(parts) > 1 and max(part.stat().st_size for part in parts) < 72_000
    found = open_cache(archive.unpack(folder, tmp_path / "there", 256, 1))
    expected = build_cache(clips, packed.with_name("pack-cache"), 256, 1)
    assert [(c.name, c.identity, c.count) for c in found.clips] == [
        (c.name, c.identity, c.count) for c in expected.clips
    ]
    for ours, theirs in zip(found.clips, expected.clips, strict=True):
        rows, wanted = (slice(clip.start, clip.start + clip.count) for clip in (ours, theirs))
        np.testing.assert_array_equal(found.frames[:][rows], expected.frames[:][wanted])
        np.testing.assert_allclose(found.landmarks[:][rows, :, :2], expected.landmarks[:][wanted, :, :2], atol=1 / 8000)
    stamp = (tmp_path / "there" / "frames.u8").stat().st_mtime_ns
    archive.unpack(folder, tmp_path / "there", 256, 1)
    assert (tmp_path / "there" / "frames.u8").stat().st_mtime_ns == stamp  # decoded once
    (tmp_path / "some").mkdir()
    for part in sorted(parts)[:-1]:
        (tmp_path / "some" / part.name).write_bytes(part.read_bytes())
    with pytest.raises(DataError, match="bring the others too"):
        archive.unpack(tmp_path / "some", tmp_path / "nothing", 256, 1)


def test_sessions_resume_and_chunks_become_a_bundle(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick is one look at the trainer's clock: of 30, a session has 12."""
    ticks = itertools.count()
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    monkeypatch.setattr(gpu_recipe, "time", SimpleNamespace(monotonic=lambda: 0.0))  # unpacking takes none
    arguments = [
        *(
            "train",
            *tiny_command(packed, tmp_path / "run"),
            "--size",
            "tiny",
            "--set",
            "image_size=256",
            "motion_size=64",
        ),
        *("--stages", "64x2:1", "--minutes", "0.5", "--session-minutes", "0.35", "--processes", "1"),
        *("--chunks", str(tmp_path / "chunks"), "--chunk-mb", "0.02"),
    ]
    steps = [0]
    while train_is_unfinished(tmp_path / "run") and len(steps) < 6:
        assert gpu_recipe.main(arguments) == 0
        steps.append(read_checkpoint(tmp_path / "run" / "checkpoint.pt").step)
    assert 2 < len(steps) < 6 and steps == sorted(set(steps))
    chunks = list((tmp_path / "chunks").glob("chunk-*"))
    assert len(chunks) > 1 and max(chunk.stat().st_size for chunk in chunks) <= 20_000
    assert gpu_recipe.main(["join", str(tmp_path / "chunks"), str(tmp_path / "home.pt")]) == 0
    home, there = read_checkpoint(tmp_path / "home.pt"), read_checkpoint(tmp_path / "run" / "checkpoint.pt")
    for name, value in there.ema.items():
        torch.testing.assert_close(home.ema[name], value, atol=1e-4, rtol=1e-3)
    model, manifest = onnx_bundle.load(str(tmp_path / "home.pt"))
    assert manifest.training["steps"] == steps[-1] and model.config.size == "tiny"


def train_is_unfinished(out: Path) -> bool:
    return not (out / "checkpoint.pt").exists() or read_checkpoint(out / "checkpoint.pt").elapsed_s < 30


def test_the_defaults_are_the_recipe(tmp_path: Path) -> None:
    options = gpu_recipe.build_parser().parse_args(["train", "--data", "pack", "--out", "run"])
    assert {name: getattr(options, name) for name in gpu_recipe.DEFAULTS} == gpu_recipe.DEFAULTS
    chosen = gpu_recipe.build_parser().parse_args(["train", "--data", "pack", "--out", "run", "--minutes", "5"])
    assert chosen.minutes == 5 and chosen.session_minutes == gpu_recipe.DEFAULTS["session_minutes"]


def test_options_may_have_their_earlier_names() -> None:
    run = ["train", "--data", "archive", "--out", "run"]
    options = gpu_recipe.build_parser().parse_args(
        [*run, "--pieces", "p", "--pieces-hold", "weights", "--piece-mb", "2"]
    )
    assert (options.chunks, options.chunks_hold, options.chunk_mb) == (Path("p"), "weights", 2)
