"""Moving figures are written as our loader reads them, once, and the same from the same seed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from figure_assets import write_assets
from training import moving_figures, train
from training.data.datasets import find_clips, stream_pictures
from training.figures.cartoon import draw_cartoon


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_assets(tmp_path_factory.mktemp("assets"))


def animals(out: Path, *more: str) -> list[str]:
    return ["animals", str(out), "--train", "1", "--test", "1", "--size", "32", "--processes", "1", *more]


def bodies(out: Path, assets: Path, *more: str) -> list[str]:
    return ["bodies", *animals(out, "--assets", str(assets), "--frames", "2", *more)[1:]]


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_animals_are_read_as_they_were_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "animals"
    assert moving_figures.main(animals(out)) == 0
    assert f"1 training and 1 test clips of animals in {out}" in capsys.readouterr().out
    assert [clip.path.name for clip in find_clips(out)] == ["00000.gif"]
    drawn = draw_cartoon(np.random.default_rng([0, True, 0]), 32)
    read = list(stream_pictures(find_clips(out, "test")[0].path))
    assert len(read) == len(drawn)
    assert np.abs(np.stack(read).astype(int) - np.stack(drawn)).mean() < 0.5  # a palette of 256 colours
    assert train.main(["--data", str(out), "--val", str(out), "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    taken = capsys.readouterr().out
    assert "1 video, by their names of 1 person" in taken and "validation" in taken


def test_bodies_are_clips_of_their_pictures(tmp_path: Path, assets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bodies"
    assert moving_figures.main(bodies(out, assets)) == 0
    clips = find_clips(out)
    assert [(clip.path.name, clip.identity) for clip in clips] == [("00000#000000#000002.mp4", "00000")]
    pictures = np.stack(list(stream_pictures(clips[0].path)))
    assert pictures.shape == (2, 32, 32, 3) and pictures.std() > 10
    assert train.main(["--data", str(out), "--val", str(out), "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    assert "1 folder of frames, by their names of 1 person" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["animals", "bodies"])
def test_the_same_command_goes_on_and_the_same_seed_repeats(kind: str, tmp_path: Path, assets: Path) -> None:
    def command(name: str, *more: str) -> list[str]:
        return animals(tmp_path / name, *more) if kind == "animals" else bodies(tmp_path / name, assets, *more)

    assert moving_figures.main(command("a")) == 0
    made = content(tmp_path / "a")
    (kept,), (lost,) = ((tmp_path / "a" / split).iterdir() for split in ("train", "test"))
    stamp = kept.stat().st_mtime_ns
    draft = lost.rename(lost.with_name(f".{lost.name}"))
    if kind == "bodies":
        (draft / "0000099.png").write_bytes(b"a draft that broke off")
    assert moving_figures.main(command("a")) == 0
    again = content(tmp_path / "a")
    assert kept.stat().st_mtime_ns == stamp and {name: again[name] for name in made} == made
    assert kind == "animals" or again.keys() == made.keys()
    assert moving_figures.main(command("b", "--seed", "1")) == 0
    others = content(tmp_path / "b")
    assert others.keys() == made.keys() and all(others[name] != made[name] for name in made)


def test_other_figures_want_another_folder(tmp_path: Path, assets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures"
    assert moving_figures.main(animals(out)) == 0
    refused: list[tuple[Callable[[], object], list[str], str]] = [
        (lambda: None, animals(out, "--size", "40"), "holds clips of figure animals, seed 0, size 32; asked for"),
        (lambda: None, bodies(out, assets), "asked for figure bodies, seed 0, size 32, frames 2"),
        (lambda: (out / "figures.json").write_text("{"), animals(out), "figures.json is damaged"),
        (lambda: (out / "figures.json").unlink(), animals(out), "holds something else"),
        (lambda: None, bodies(tmp_path / "b", tmp_path / "no"), "must hold two or more folders of each kind"),
    ]
    for prepare, command, words in refused:
        prepare()
        capsys.readouterr()
        assert moving_figures.main(command) == 1
        error = capsys.readouterr().err
        assert error.startswith("avatarify: error: ") and error.count("\n") == 1 and words in error
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["animals", "out", "--size", "16"], "must be at least 32, found 16"),
        (["animals", "out", "--train", "0"], "must be at least 1"),
        (["animals", "out", "--seed", "-1"], "must not be negative"),
        (["animals", "out", "--seed", "one"], "'one' is not a whole number"),
        (["bodies", "out"], "--assets"),
        (["plants", "out"], "plants"),
    ],
)
def test_a_wrong_option_is_one_line(command: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        moving_figures.main(command)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and words in error and error.count("\n") == 1


def test_the_record_says_what_was_asked_for(tmp_path: Path) -> None:
    assert moving_figures.main(animals(tmp_path / "a", "--seed", "3")) == 0
    record = json.loads((tmp_path / "a" / "figures.json").read_text())
    assert record == {"figure": "animals", "seed": 3, "size": 32, "frames": None}
