"""Own models are found by their names, listed and deleted with all that is left of them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from avatarify_plus import live
from avatarify_plus.adapt.command import main
from avatarify_plus.adapt.own_models import check_name, delete, film_folder, model_folder, own_models
from avatarify_plus.adapt.own_models import work_folder as work_folder_of
from avatarify_plus.bundle import ADAPTED, FOR_ONE_FACE, WEIGHTS, Manifest, open_bundle, write_manifest
from avatarify_plus.config import AppConfig
from avatarify_plus.errors import ConfigError, ModelError
from avatarify_plus.network.config import network_config

ABOUT = {"name": "anna", "from": "live-512", "on": "2026-01-31", "seconds_of_film": 48.5}


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep models and work in empty folders."""
    for kind in ("DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    yield


def make_model(name: str = "anna") -> Path:
    folder = model_folder(name)
    folder.mkdir(parents=True)
    for file in (WEIGHTS, "encode_source.onnx", "animate.onnx"):
        (folder / file).write_bytes(file.encode())
    write_manifest(
        folder, Manifest(name, network_config("ours-skip", "tiny", keypoints="mesh"), training={ADAPTED: ABOUT})
    )
    return folder


def test_an_own_model_is_opened_by_its_name() -> None:
    folder = make_model()
    assert open_bundle("anna").folder == folder
    with pytest.raises(ModelError, match=r"no model 'bob': .* one of your own \(anna\) or a shipped model \(live-256"):
        open_bundle("bob")


@pytest.mark.parametrize("is_for_one", [True, False])
def test_a_model_for_one_face_says_so_when_it_is_used(
    is_for_one: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_model()
    manifest = open_bundle(folder).manifest
    about = {ADAPTED: ABOUT | {FOR_ONE_FACE: is_for_one}}
    write_manifest(folder, replace(manifest, training=about, intended_use="For Anna alone."))
    monkeypatch.setattr(live, "choose_engine", lambda *args, **named: (object(), "no engine at all"))
    live.open_wanted_engine(AppConfig(avatar=(Path("a.jpg"),), model="anna"))
    assert ("anna: For Anna alone." in caplog.messages) == is_for_one


def test_models_are_listed_with_what_they_were_made_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert "no models of your own" in capsys.readouterr().out
    make_model()
    (make_model("zoe") / "animate.onnx").write_bytes(b"damaged")
    assert main(["--list"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "anna: from live-512 on 2026-01-31, 48.5 s of film"
    assert second.startswith("zoe: ") and "is damaged" in second


def test_deleted_means_deleted(capsys: pytest.CaptureFixture[str]) -> None:
    folders = [make_model(), work_folder_of("anna"), film_folder("anna")]
    for folder in folders[1:]:
        folder.mkdir(parents=True)
        (folder / "face.png").write_bytes(b"a face")
    other = make_model("annabel")
    assert main(["--delete", "anna"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"deleted {folder}" for folder in folders]
    assert not any(folder.exists() for folder in folders) and other.is_dir()
    assert main(["--delete", "anna"]) == 1
    assert "you have no model 'anna': your own models are annabel" in capsys.readouterr().err
    assert [model.name for model in own_models()] == ["annabel"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", ".hidden", "-x", "con", "live-512", "a" * 65, "ends."])
def test_names_that_cannot_be_are_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        check_name(name)
    with pytest.raises(ConfigError):
        delete(name)


@pytest.mark.parametrize("name", ["anna", "Anna Müller", "me-2", "x.y", "小明"])
def test_names_of_people_are_taken(name: str) -> None:
    check_name(name)
