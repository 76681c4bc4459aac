"""The avatars to choose from: order, switching, reloading, and what becomes of bad files."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from avatarify_plus.errors import SourceError
from avatarify_plus.pictures.images import load_photo
from avatarify_plus.session.avatars import MAX_KEPT, Avatar, Avatars, photos_in, require_photo
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
    for name in ("10.heic", "2.jpg", "._2.jpg", ".hidden.png"):
        (folder / name).write_text("x")
    photos = photos_in([folder / "c.png", folder, folder / "a.png"])
    assert [photo.name for photo in photos] == ["c.png", "2.jpg", "10.heic", "a.png", "b.png"]


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no photos; put \.jpg"):
        photos_in([tmp_path])


def test_only_the_first_is_prepared_at_start(folder: Path) -> None:
    preparation = FakePreparation()
    avatars = Avatars([folder], preparation)
    assert preparation.prepared == ["a.png"]
    assert (avatars.name, avatars.number, avatars.count) == ("a", 1, 3)
    assert avatars.avatar.encoded == "a"


def test_choosing_and_stepping_prepare_what_is_not_ready(folder: Path) -> None:
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
    assert preparation.prepared == ["a.png", "c.png"]
    while avatars.work():
        pass
    assert preparation.prepared == ["a.png", "c.png", "b.png"]
    avatars.choose(2)
    assert len(preparation.prepared) == 3, "what work has done is not done again"


@pytest.fixture
def large_folder(tmp_path: Path) -> Path:
    for number in range(1, 2001):
        (tmp_path / f"{number}.png").write_text(str(number))
    return tmp_path


def test_a_large_folder_costs_no_more_than_it_shows(large_folder: Path) -> None:
    """What lies around the current one is made ready, the nearest first, and what is far away is let go."""
    preparation = FakePreparation()
    avatars = Avatars([large_folder], preparation)
    assert (preparation.prepared, avatars.count) == (["1.png"], 2000)
    while avatars.work():
        pass
    assert preparation.prepared == [f"{n}.png" for n in (1, 2, 2000, 3, 1999, 4, 1998, 5, 1997)]
    assert len(preparation.prepared) == MAX_KEPT
    avatars.choose(1000)
    assert (avatars.name, preparation.prepared[-1]) == ("1000", "1000.png")
    while avatars.work():
        pass
    assert set(preparation.prepared[MAX_KEPT:]) == {f"{n}.png" for n in range(996, 1005)}
    avatars.choose(1)
    assert preparation.prepared[-1] == "1.png", "it was let go"
    for _ in range(30):
        avatars.step(1)
        avatars.work()
    assert len(avatars._ready) <= MAX_KEPT


def test_of_many_bad_photos_some_are_named_and_the_rest_is_counted(
    large_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1, 1901):
        (large_folder / f"{number}.png").write_text("bad")
    avatars = Avatars([large_folder], FakePreparation())
    assert (avatars.name, avatars.count) == ("1901", 100)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 10
    assert told[0] == "no face found in 1.png; this avatar is left out"
    assert told[-1] == "1891 more avatars are left out, too"


def test_a_bad_photo_is_named_and_left_out_when_it_is_met(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "a.png").write_text("bad")
    avatars = Avatars([folder, folder / "missing.png"], FakePreparation())
    assert (avatars.name, avatars.count) == ("b", 3)
    while avatars.work():
        pass
    assert (avatars.name, avatars.count) == ("b", 2)
    assert [record.getMessage() for record in caplog.records] == [
        "no face found in a.png; this avatar is left out",
        "no face found in missing.png; this avatar is left out",
    ]


@pytest.mark.parametrize("places", [1, -1])
def test_stepping_passes_over_bad_photos(folder: Path, places: int) -> None:
    (folder / "d.png").write_text("d")
    (folder / "b.png").write_text("bad")
    (folder / "c.png").write_text("bad")
    (folder / "e.png").write_text("bad")
    avatars = Avatars([folder], FakePreparation())
    avatars.step(places)
    assert avatars.name == "d"
    avatars.step(places)
    assert (avatars.name, avatars.number, avatars.count) == ("a", 1, 2)


def test_choosing_a_bad_photo_changes_nothing_but_the_list(folder: Path) -> None:
    (folder / "b.png").write_text("bad")
    avatars = Avatars([folder], FakePreparation())
    avatars.choose(2)
    assert (avatars.name, avatars.number, avatars.count) == ("a", 1, 2)
    avatars.choose(2)
    assert avatars.name == "c"


def test_a_photo_that_was_mended_is_there_after_reloading(folder: Path) -> None:
    (folder / "b.png").write_text("bad")
    avatars = Avatars([folder], FakePreparation())
    avatars.choose(2)
    assert avatars.count == 2
    (folder / "b.png").write_text("good again")
    avatars.reload()
    avatars.choose(2)
    assert (avatars.count, avatars.avatar.encoded) == (3, "good again")


def test_nobody_left_is_the_first_ones_error(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "a.png").write_text("bad")
    with pytest.raises(SourceError, match=r"no face found in a\.png"):
        Avatars([folder / "a.png"], FakePreparation())
    assert not caplog.records  # the error says it


def test_reloading_prepares_only_what_changed_one_at_a_time(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    preparation = FakePreparation()
    avatars = Avatars([folder], preparation)
    while avatars.work():
        pass
    avatars.choose(2)
    (folder / "aa.png").write_text("new")
    (folder / "b.png").write_text("other")
    (folder / "c.png").unlink()
    with caplog.at_level(logging.INFO, "avatarify_plus.session.avatars"):
        avatars.reload()
    assert (avatars.name, avatars.avatar.encoded, avatars.count) == ("b", "b", 3)
    assert caplog.records[-1].getMessage() == "3 avatars can be chosen"
    assert avatars.work()
    assert preparation.prepared[3:] == ["b.png"], "what changed comes first"
    assert avatars.work() and not avatars.work()
    assert preparation.prepared[3:] == ["b.png", "aa.png"]
    assert (avatars.name, avatars.number, avatars.count, avatars.avatar.encoded) == ("b", 3, 3, "other")


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
    avatars = Avatars([folder / "a.png"], FakePreparation())
    (folder / "a.png").write_text("bad")
    avatars.reload()
    avatars.work()
    assert (avatars.name, avatars.avatar.encoded) == ("a", "a")
    assert "no face found in a.png; this avatar is left out" in caplog.text
    avatars.reload()
    before = len(caplog.records)
    avatars.work()
    assert len(caplog.records) == before  # it is not tried again until it changes


def test_looking_whether_a_photo_can_be_read_warns_of_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is warned of when it is encoded."""
    (tmp_path / "cut.jpg").write_bytes((EXAMPLES / "avatar_1.jpg").read_bytes()[:-300])
    require_photo([tmp_path / "cut.jpg"])
    assert not caplog.records
    load_photo(tmp_path / "cut.jpg")
    assert "is damaged, its last" in caplog.text


@pytest.mark.skipif(os.name == "nt", reason="the message is the system's")
def test_one_readable_photo_is_enough_to_begin(tmp_path: Path) -> None:
    require_photo([tmp_path / "nobody.jpg", EXAMPLES / "avatar_1.jpg"])
    with pytest.raises(SourceError, match=r"cannot read the photo .*nobody\.jpg: No such file"):
        require_photo([tmp_path / "nobody.jpg"])
