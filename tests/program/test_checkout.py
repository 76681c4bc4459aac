"""Where the package runs from, and that its modules are found from any folder."""

import subprocess
from pathlib import Path

import pytest

from avatarify_plus import __file__ as package_file
from avatarify_plus.program import checkout as module
from avatarify_plus.program.checkout import app_command, checkout, child_environment, module_command

ROOT = Path(__file__).resolve().parents[2]


def test_the_tests_run_from_a_checkout() -> None:
    assert checkout() == ROOT
    assert app_command() == "python run.py"


def test_a_package_without_the_project_around_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGE", tmp_path / "site-packages" / "avatarify_plus")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert checkout() is None
    assert app_command() == "avatarify"
    assert "PYTHONPATH" not in child_environment()


def test_a_child_finds_this_package_from_any_folder_and_others_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "besides.py").write_text("import avatarify_plus; print(avatarify_plus.__file__)")
    monkeypatch.setenv("PYTHONPATH", str(other))
    done = subprocess.run(
        module_command("besides", []), cwd=tmp_path, env=child_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == package_file
