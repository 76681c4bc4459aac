"""A model is made in steps that can be stopped and gone on with, and kept only if it is better."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avatarify_plus.adapt.adaptation import STEPS, Adaptation, Progress, StoppedError, Wish
from avatarify_plus.adapt.command import main
from avatarify_plus.adapt.material import OWN, Material
from avatarify_plus.adapt.own_models import model_folder, own_models, work_folder
from avatarify_plus.bundle import ADAPTED, Bundle, open_bundle
from avatarify_plus.program.examples import example
from films import write_film


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep models and work in empty folders."""
    for kind in ("DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))


def adapt(wish: Wish, tell: Callable[[Progress, threading.Event], None]) -> list[str]:
    """Adapt and return the names of the steps that were done, in order."""
    steps: dict[str, None] = {}
    stop = threading.Event()

    def note(progress: Progress) -> None:
        assert progress.left_s >= 0 and STEPS[progress.number - 1] == progress.step
        steps.setdefault(progress.step.name)
        tell(progress, stop)

    try:
        Adaptation(wish, note, stop, cores=1).run()
    except StoppedError:
        steps.setdefault("stopped")
    return list(steps)


def test_it_is_stopped_gone_on_with_and_kept_only_if_it_is_better(photo_bundle: Bundle) -> None:
    wish = Wish("anna", Material((example("driver.mp4"),), (example("avatar_2.jpg"),)), str(photo_bundle.folder), 0.02)

    def stop_at_export(progress: Progress, stop: threading.Event) -> None:
        if progress.step.name == "export":
            stop.set()

    names = [step.name for step in STEPS]
    assert adapt(wish, stop_at_export) == [*names[: names.index("export") + 1], "stopped"]
    assert not model_folder("anna").exists()
    assert (work_folder("anna") / "run" / "checkpoint.pt").is_file()
    assert adapt(wish, lambda progress, stop: None) == names[names.index("export") :]
    if model_folder("anna").exists():
        bundle = open_bundle("anna")
        assert bundle.has_graph("animate-int8") and (bundle.folder / "before-after.png").is_file()
        assert bundle.manifest.training[ADAPTED]["from"] == photo_bundle.manifest.name
        assert not work_folder("anna").exists() and [model.name for model in own_models()] == ["anna"]
    else:
        assert (work_folder("anna") / "held.png").is_file()


def test_a_stop_while_it_learns_goes_on_with_what_was_learned(photo_bundle: Bundle) -> None:
    wish = Wish("anna", Material((example("driver.mp4"),), ()), str(photo_bundle.folder), 60)

    def stop_early(progress: Progress, stop: threading.Event) -> None:
        has_learned = progress.step.name == "train" and (work_folder("anna") / "run" / "checkpoint.pt").is_file()
        if has_learned or progress.step.name == "export":
            stop.set()

    assert adapt(wish, stop_early)[-2:] == ["export", "stopped"]


def test_a_film_in_which_nothing_is_usable_is_one_line(
    tmp_path: Path, photo_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    film = write_film(tmp_path / "sky.mp4", [np.full((240, 320, 3), level, np.uint8) for level in range(60, 110)])
    arguments = ["anna", str(film), "--model", str(photo_bundle.folder), "--agreed"]
    assert main(arguments) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith("avatarify: error: the face can be used for 0 s of these films, and 8 s are needed: ")
    assert f"{film}: 0 of 2 s (1 x no face)" in line
    assert not model_folder("anna").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        ([], 2, "give a NAME, and either films or --webcam"),
        (["anna"], 2, "give a NAME, and either films or --webcam"),
        (["anna", "film.mp4", "--webcam"], 2, "give a NAME, and either films or --webcam"),
        (["anna", "film.mp4", "--minutes", "0"], 2, "--minutes must be above 0"),
        (["live-512", "film.mp4", "--agreed"], 1, "'live-512' is a shipped model's name"),
        (["anna", "film.mp4"], 1, "say --agreed if this is your own face"),
        (["anna", "film.mp4", "--agreed"], 1, "there is no film, photo or folder film.mp4"),
        (["anna", __file__, "--agreed", "--model", "nowhere"], 1, "no model 'nowhere'"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], code: int, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        assert main(arguments) == code
    except SystemExit as exit:
        assert exit.code == code
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line


def test_films_that_changed_are_cut_anew(tmp_path: Path, photo_bundle: Bundle) -> None:
    films = [tmp_path / "one.mp4", tmp_path / "two.mp4"]
    for film in films:
        film.write_bytes(example("driver.mp4").read_bytes())

    def stop_at_train(progress: Progress, stop: threading.Event) -> None:
        if progress.step.name == "train":
            stop.set()

    start = str(photo_bundle.folder)
    assert adapt(Wish("anna", Material((films[0],), ()), start, 5), stop_at_train)[0] == "cut"
    assert adapt(Wish("anna", Material((films[0],), ()), start, 5), stop_at_train)[0] == "train"
    assert adapt(Wish("anna", Material(tuple(films), ()), start, 5), stop_at_train)[0] == "cut"


def test_clips_that_were_being_divided_when_it_ended_are_cut_again(
    tmp_path: Path, photo_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"stands for a film")
    wish = Wish("anna", Material((film,), ()), str(photo_bundle.folder), 0.02)

    def cut(self: Adaptation, module: str, film: Path, folder: Path, *options: object, may_fail: bool = False) -> None:
        """Cut as the trainer does: what a note says is done is not done again."""
        if folder.exists():
            return
        folder.mkdir()
        for number in range(4):
            (folder / f"{number}.mp4").write_text(f"clip {number}")
        (folder / "report.json").write_text('{"seconds_kept": 20.0}')

    class KilledError(Exception):
        pass

    def replace(clip: Path, target: Path) -> Path:
        if clip.name == "2.mp4":
            raise KilledError
        return clip.rename(target)

    monkeypatch.setattr(Adaptation, "_child", cut)
    adaptation = Adaptation(wish, lambda progress: None, threading.Event())
    adaptation._prepare_folder()
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Path, "replace", replace)
        adaptation._cut()
    adaptation._cut()
    clips = [*(work_folder("anna") / OWN).iterdir(), *(work_folder("anna") / "held").iterdir()]
    assert sorted(clip.read_text() for clip in clips) == [f"clip {number}" for number in range(4)]
