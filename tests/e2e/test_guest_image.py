"""Building the emulated machine, as far as it goes without fetching anything."""

from pathlib import Path

import pytest

import guest_image
from avatarify_plus.program.ending import FAILED


def test_a_missing_command_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert guest_image.main([str(tmp_path / "guest")]) == FAILED
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("avatarify: error: apt-cache depends linux-image-amd64 failed (")
    assert printed.err.count("\n") == 1


def test_package_lists_without_a_kernel_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guest_image, "_run", lambda *command, folder=None: "")
    assert guest_image.main([str(tmp_path / "guest")]) == FAILED
    assert "do not name linux-image-amd64: apt-get update" in capsys.readouterr().err
