"""A folder takes another's place, and one of the two is there whatever happens."""

from pathlib import Path

import pytest

from avatarify_plus.program.whole_folder import copy_folder, put_folder


def folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "a.txt").write_text(text)
    return path


def test_a_folder_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    target = folder(tmp_path / "model", "old")
    put_folder(folder(tmp_path / "made", "new"), target)
    assert (target / "a.txt").read_text() == "new"
    copy_folder(folder(tmp_path / "made", "newer"), target)
    assert (target / "a.txt").read_text() == "newer"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "model"]


def test_the_old_one_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, made = folder(tmp_path / "model", "old"), folder(tmp_path / "made", "new")
    rename = Path.rename

    def fail(path: Path, to: Path) -> Path:
        if path == made:
            raise OSError(5, "Input/output error")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="Input/output"):
        put_folder(made, target)
    assert (target / "a.txt").read_text() == "old" and (made / "a.txt").read_text() == "new"


def test_what_a_killed_program_left_is_found_again(tmp_path: Path) -> None:
    folder(tmp_path / ".model.old", "old")  # killed between the two names
    made = tmp_path / "made"
    with pytest.raises(OSError):
        put_folder(made, tmp_path / "model")  # there is nothing to put there
    assert (tmp_path / "model" / "a.txt").read_text() == "old"
    folder(tmp_path / ".model.old", "older")  # killed while it was deleted
    folder(tmp_path / ".model.new", "half")
    copy_folder(folder(made, "new"), tmp_path / "model")
    assert (tmp_path / "model" / "a.txt").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "model"]


def test_half_a_copy_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, made = folder(tmp_path / "model", "old"), folder(tmp_path / "made", "new")
    (made / "gone").symlink_to("nowhere")
    with pytest.raises(OSError):
        copy_folder(made, target)
    assert (target / "a.txt").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "model"]


def test_a_link_to_a_folder_is_replaced_and_not_followed(tmp_path: Path) -> None:
    real = folder(tmp_path / "real", "kept")
    (tmp_path / "model").symlink_to(real)
    put_folder(folder(tmp_path / "made", "new"), tmp_path / "model")
    assert (tmp_path / "model" / "a.txt").read_text() == "new" and (real / "a.txt").read_text() == "kept"
