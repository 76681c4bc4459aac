"""What is given is sorted into films and photos, and photos become the squares that training reads."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from avatarify_plus.adapt.material import cut_photos, find_material
from avatarify_plus.errors import DataError
from avatarify_plus.pictures.decoding import write_png
from avatarify_plus.pictures.images import read_picture
from avatarify_plus.program.examples import example


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_folders_are_searched_and_what_is_named_itself_counts(tmp_path: Path) -> None:
    folder = tmp_path / "me"
    inside = [touch(folder / name) for name in ("a.mp4", "deep/b.MKV", "deep/c.jpg", "d.png")]
    for other in ("notes.txt", ".hidden.mp4", ".trash/e.mp4"):
        touch(folder / other)
    named = touch(tmp_path / "film-without-suffix")
    found = find_material([folder, named, named])
    assert set(found.films) == {inside[0], inside[1], named} and len(found.films) == 3
    assert set(found.photos) == {inside[2], inside[3]}


def test_photos_alone_and_what_is_not_there_are_refused(tmp_path: Path) -> None:
    photo = touch(tmp_path / "me.jpg")
    with pytest.raises(DataError, match=r"no film in .*me\.jpg: photos alone"):
        find_material([photo])
    with pytest.raises(DataError, match=r"there is no film, photo or folder .*nowhere"):
        find_material([photo, tmp_path / "nowhere"])


def test_squares_are_cut_and_photos_without_a_face_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    grey = tmp_path / "grey.png"
    write_png(grey, np.full((200, 300, 3), 128, np.uint8))
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"no picture")
    shutil.copy(example("avatar_2.jpg"), tmp_path / "me.jpg")
    assert cut_photos([grey, tmp_path / "me.jpg", damaged], tmp_path / "squares", 128) == 1
    (square,) = (tmp_path / "squares").iterdir()
    assert read_picture(square).shape == (128, 128, 3)
    assert "no face found in" in caplog.text and str(grey) in caplog.text and str(damaged) in caplog.text
