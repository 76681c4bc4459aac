"""The avatars to choose from: order, switching, reloading, and what becomes of bad files."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from avatarify_plus.errors import SourceError
from avatarify_plus.session.avatars import Avatar, Avatars, photos_in, require_photo
from fakes import EXAMPLES


class FakePreparation:
    """Prepares a file by its content; those that say "bad" cannot be used."""

    def __init__(self) -> None:
        self.prepared: list[str] = []

    def __call__(self, path: Path) -> Avatar:
        text = path.read_text() if path.exists() else "bad"
        self.prepared.append(path.name)
        if text == "bad":
            raise SourceError(f"no face found in {path.name}")
        anything: Any = text
        return Avatar(anything, anything)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.png").write_text(name)
    (tmp_path / "notes.txt").write_text("not a photo")
    return tmp_path


def test_folders_are_read_by_name_and_nothing_comes_twice(folder: Path) -> None:
    photos = photos_in([folder / "c.png", folder, folder / "a.png"])
    assert [photo.name for photo in photos] == ["c.png", "a.png", "b.png"]


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no photos; put \.jpg"):
        photos_in([tmp_path])


def test_all_are_prepared_at_start_and_the_first_is_shown(folder: Path) -> None:
    preparation = FakePreparation()
    avatars = Avatars([folder], preparation)
    assert preparation.prepared == ["a.png", "b.png", "c.png"]
    assert (avatars.name, avatars.number, avatars.count) == ("a", 1, 3)
    assert avatars.avatar.encoded == "a"


def test_choosing_and_stepping_prepare_nothing(folder: Path) -> None:
    preparation = FakePreparation()
    avatars = Avatars([folder], preparation)
    seen = []
    for move in (
        lambda: avatars.choose(3),
        lambda: avatars.step(1),
        lambda: avatars.step(-1),
        lambda: avatars.choose(9),
    ):
        move()
        seen.append((avatars.name, avatars.number))
    assert seen == [("c", 3), ("a", 1), ("c", 3), ("c", 3)]  # there is no ninth
    assert len(preparation.prepared) == 3


def test_a_bad_photo_is_named_and_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "a.png").write_text("bad")
    avatars = Avatars([folder, folder / "missing.png"], FakePreparation())
    assert (avatars.name, avatars.count) == ("b", 2)
    assert [record.getMessage() for record in caplog.records] == [
        "no face found in a.png; this avatar is left out",
        "no face found in missing.png; this avatar is left out",
    ]


def test_nobody_left_is_the_first_ones_error(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "a.png").write_text("bad")
    with pytest.raises(SourceError, match=r"no face found in a\.png"):
        Avatars([folder / "a.png"], FakePreparation())
    assert not caplog.records  # the error says it


def test_reloading_prepares_only_what_changed_one_at_a_time(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    preparation = FakePreparation()
    avatars = Avatars([folder], preparation)
    avatars.choose(2)
    (folder / "aa.png").write_text("new")
    (folder / "b.png").write_text("other")
    (folder / "c.png").unlink()
    with caplog.at_level(logging.INFO, "avatarify_plus.session.avatars"):
        avatars.reload()
        assert (avatars.name, avatars.avatar.encoded, avatars.count) == ("b", "b", 2)
        avatars.work()
        assert preparation.prepared[3:] == ["aa.png"]
        avatars.work()
        avatars.work()
    assert preparation.prepared[3:] == ["aa.png", "b.png"]
    assert (avatars.name, avatars.number, avatars.count, avatars.avatar.encoded) == ("b", 3, 3, "other")
    assert caplog.records[-1].getMessage() == "3 avatars are ready"


def test_the_shown_avatar_stays_when_its_file_is_gone(folder: Path) -> None:
    avatars = Avatars([folder], FakePreparation())
    (folder / "a.png").unlink()
    avatars.reload()
    assert (avatars.name, avatars.number, avatars.avatar.encoded) == ("a", 0, "a")
    avatars.step(1)
    assert (avatars.name, avatars.number) == ("c", 2)
    for name in ("b", "c"):
        (folder / f"{name}.png").unlink()
    avatars.reload()  # an empty folder changes nothing
    assert (avatars.name, avatars.number) == ("c", 2)


def test_a_photo_that_was_spoiled_meanwhile_keeps_its_older_version(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    avatars = Avatars([folder], FakePreparation())
    (folder / "a.png").write_text("bad")
    avatars.reload()
    avatars.work()
    assert (avatars.name, avatars.avatar.encoded) == ("a", "a")
    assert "no face found in a.png; this avatar is left out" in caplog.text
    avatars.reload()
    before = len(caplog.records)
    avatars.work()
    assert len(caplog.records) == before  # it is not tried again until it changes


@pytest.mark.skipif(os.name == "nt", reason="the message is the system's")
def test_one_readable_photo_is_enough_to_begin(tmp_path: Path) -> None:
    require_photo([tmp_path / "nobody.jpg", EXAMPLES / "avatar_1.jpg"])
    with pytest.raises(SourceError, match=r"cannot read the photo .*nobody\.jpg: No such file"):
        require_photo([tmp_path / "nobody.jpg"])
