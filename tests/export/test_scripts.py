"""The programs in export/ run as scripts from any folder, and import the package before the runtimes it silences."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from avatarify_plus import __version__

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path for path in (ROOT / "export").glob("*.py") if "if not __package__:" in path.read_text())
OWN = ("avatarify_plus", "export")


def packages(path: Path) -> list[str]:
    """Return the top-level packages that a file imports at its top level, in order, without the standard library."""
    found: list[str] = []
    for node in ast.parse(path.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [name.partition(".")[0] for name in names]
    return [name for name in found if name not in sys.stdlib_module_names]


def test_there_are_scripts() -> None:
    assert {path.stem for path in SCRIPTS} >= {"onnx_bundle", "quantize", "trt", "parity"}


@pytest.mark.parametrize("path", [*SCRIPTS, ROOT / "export" / "__init__.py"], ids=lambda path: path.stem)
def test_the_package_is_imported_before_any_runtime(path: Path) -> None:
    imported = packages(path)
    assert imported[0] == "avatarify_plus"
    others = [index for index, name in enumerate(imported) if name not in OWN]
    own = [index for index, name in enumerate(imported) if name in OWN]
    assert not others or max(own) < min(others)


def test_a_script_runs_from_any_folder(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "export" / "trt.py"), "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"avatarify_plus {__version__}\n"
