"""A file is replaced whole or not at all, and looks as if it had been written in place."""

import os
import stat
import sys
from pathlib import Path

import pytest

from avatarify_plus.program.whole_file import replaced, write_whole


def test_a_file_is_new_or_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    write_whole(file, "grün\n")
    assert file.read_bytes() == "grün\n".encode()
    write_whole(file, b"\x00\x01")
    assert file.read_bytes() == b"\x00\x01"
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt), replaced(file) as draft:
        draft.write_text("half of the ne")
        assert file.read_text() == "old"
        raise KeyboardInterrupt
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_the_disk_has_the_content_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("sync"), sync(handle)))
    monkeypatch.setattr(Path, "replace", lambda draft, to: (done.append("replace"), replace(draft, to)))
    with replaced(tmp_path / "a.txt") as draft:
        draft.write_text("new")
    assert done == ["sync", "replace"]


def test_a_draft_whose_closing_fails_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close = os.close

    def fail(handle: int) -> None:
        close(handle)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "close", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_whole(tmp_path / "a.txt", "new")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions, and links need rights")
def test_permissions_and_links_stay(tmp_path: Path) -> None:
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    write_whole(link, "new")
    assert link.is_symlink() and target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    mask = os.umask(0o022)
    try:
        write_whole(tmp_path / "other.txt", "new")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "other.txt").stat().st_mode) == 0o644


@pytest.mark.skipif(sys.platform == "win32", reason="there is no /dev/null")
def test_what_is_no_plain_file_is_written_to() -> None:
    write_whole(Path(os.devnull), "gone")
    assert not Path(os.devnull).is_file()
