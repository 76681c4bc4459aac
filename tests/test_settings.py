"""Settings survive restarts, hand editing, damage and folders that cannot be written."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from avatarify_plus import settings
from avatarify_plus.config import AppConfig

KEPT: dict[str, Any] = {"zoom": 1.25, "shift_x": -0.04, "search": False, "mirror_preview": False, "strength": 1.5}


@pytest.fixture
def file() -> Path:
    path = settings.path()
    path.parent.mkdir(parents=True)
    return path


def test_without_a_file_there_is_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert settings.load() == {}
    assert not caplog.records
    assert not settings.path().exists()


def test_what_was_kept_comes_back_and_fits_the_config() -> None:
    settings.save(KEPT)
    assert settings.load() == KEPT
    config = AppConfig(avatar=(Path("a.jpg"),), **settings.load())
    assert {name: getattr(config, name) for name in KEPT} == KEPT


def test_keeping_again_changes_only_what_is_new() -> None:
    settings.save(KEPT)
    settings.save({"zoom": 0.5})
    assert settings.load() == KEPT | {"zoom": 0.5}


def test_letters_that_no_file_can_hold_are_carried_along_as_they_were() -> None:
    settings.path().parent.mkdir(parents=True, exist_ok=True)
    settings.path().write_text('{"half of an emoji \\ud83d": "\\udc00", "zoom": 2.0}')
    settings.save({"zoom": 0.5})
    assert json.loads(settings.path().read_text("utf-8")) == {"half of an emoji \ud83d": "\udc00", "zoom": 0.5}


def test_every_field_that_persists_can_be_kept() -> None:
    defaults = AppConfig(avatar=(Path("a.jpg"),))
    names = [name for name, field in AppConfig.__dataclass_fields__.items() if field.metadata.get("persists")]
    values = {name: not value if isinstance(value := getattr(defaults, name), bool) else value + 0.25 for name in names}
    settings.save(values)
    assert settings.load() == values
    settings.save({name: getattr(defaults, name) for name in names})
    assert json.loads(settings.path().read_text("utf-8")) == {}, "what is as at first needs no keeping"


def test_what_was_kept_is_listed_and_gives_way_to_the_command_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "avatarify_plus.settings")
    settings.mark_notice_shown()
    config = AppConfig(avatar=(Path("a.jpg"),), zoom=2.0)
    assert settings.KeptSettings({"avatar", "zoom"}).applied(config) is not None and not caplog.records
    settings.save({"zoom": 1.25, "mirror_output": True, "search": False})
    applied = settings.KeptSettings({"avatar", "zoom"}).applied(config)
    assert (applied.zoom, applied.mirror_output, applied.search) == (2.0, True, False)
    (record,) = caplog.records
    assert record.getMessage().startswith("kept from earlier calls: mirror output on, search off (Shift+R")


def test_other_fields_cannot_be_kept() -> None:
    with pytest.raises(ValueError, match="camera"):
        settings.save({"camera": "1"})


def test_an_edited_file_is_taken_as_far_as_it_makes_sense(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    edited = '\ufeff{"zoom": 2, "search": 1, "strength": 99, "overlay": true, "smoothing": NaN, "colour": "red"}'
    file.write_text(edited, "utf-8")
    values = settings.load()
    assert values == {"zoom": 2.0}
    assert isinstance(values["zoom"], float)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    for part in (str(file), "search must be true or false", "strength must be", "overlay", "smoothing", "colour"):
        assert part in record.getMessage()
    settings.save({"zoom": 3.0})
    assert json.loads(file.read_text("utf-8"))["colour"] == "red"  # what is not ours stays


@pytest.mark.parametrize("content", [b"", b'{"zoom": 2,}', b"[1, 2]", b"\xff\xfe\x00", b"[" * 100_000])
def test_a_damaged_file_is_kept_aside(content: bytes, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_bytes(content)
    assert settings.load() == {}
    (record,) = caplog.records
    assert "damaged" in record.getMessage()
    assert file.with_name(settings.DAMAGED).read_bytes() == content
    settings.save(KEPT)
    assert settings.load() == KEPT
    assert len(caplog.records) == 1


def test_a_folder_that_cannot_be_made_costs_a_warning(config_home: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocking = config_home / "avatarify_plus"
    blocking.write_text("a file in the folder's place")
    try:
        assert settings.load() == {}
        assert settings.notice_pending()
        caplog.clear()
        settings.save(KEPT)
        settings.mark_notice_shown()
        assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    finally:
        blocking.unlink()


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failing_write_leaves_the_file_as_it_was(
    failing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.save(KEPT)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if failing == "fsync" else (Path, "replace")), fail)
    settings.save({"zoom": 3.0})
    monkeypatch.undo()
    assert "No space left" in caplog.text
    assert settings.load() == KEPT
    assert list(settings.path().parent.iterdir()) == [settings.path()]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    file.symlink_to(tmp_path / "elsewhere.json")
    settings.save(KEPT)
    assert file.is_symlink()
    assert json.loads((tmp_path / "elsewhere.json").read_text("utf-8")) == KEPT


def test_the_notice_is_shown_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "avatarify_plus.settings")
    for _ in range(2):
        settings.KeptSettings(()).applied(AppConfig(avatar=(Path("a.jpg"),)))
    assert [record.getMessage() for record in caplog.records] == [settings.NOTICE]
    assert not settings.notice_pending()
    settings.save(KEPT)
    assert settings.load() == KEPT
    assert len(settings.NOTICE.splitlines()) == 3


def test_tests_have_a_folder_of_their_own(config_home: Path) -> None:
    assert settings.path().is_relative_to(config_home)
