"""Small files of the system are read, or are empty."""

from pathlib import Path

from avatarify_plus.program.system_file import read_system_file


def test_a_file_is_read_without_space_around_it(tmp_path: Path) -> None:
    (tmp_path / "name").write_bytes(b" a webcam \xff\n")
    assert read_system_file(tmp_path / "name") == "a webcam \ufffd"


def test_what_cannot_be_read_is_empty(tmp_path: Path) -> None:
    assert read_system_file(tmp_path / "missing") == read_system_file(tmp_path) == ""
