"""A little fuzzing in every run; `tests/fuzz/fuzz.py` does it for hours."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")
FILES = "400"
"""So many files each reader gets, always the same ones: a run of the tests is to say what a change did."""


@pytest.mark.parametrize("target", ["photo", "film", "settings", "manifest", "graph", "request"])
def test_readers_take_or_refuse_what_they_get(target: str, tmp_path: Path) -> None:
    command = [sys.executable, str(FUZZ), "--target", target, "--files", FILES, "--seed", "1"]
    environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path), "WIN_PD_OVERRIDE_LOCAL_APPDATA": str(tmp_path)}
    ended = subprocess.run(
        [*command, "--out", str(tmp_path / "files")], env=environment, text=True, capture_output=True, timeout=120
    )
    assert ended.returncode == 0, f"{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
    assert f"{target}: " in ended.stdout and ", 0 findings" in ended.stdout


def test_a_reader_that_fails_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("fuzz", FUZZ)
    assert spec is not None and spec.loader is not None
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    broken = fuzz.Target(lambda: [b"0123456789"], ".txt", lambda path: int(path.read_bytes()))
    monkeypatch.setattr(fuzz, "TARGETS", {"number": broken})
    count, findings = fuzz.fuzz("number", 60, 50, 1, tmp_path)
    assert count == 50 and findings and findings[0].startswith("number: ValueError in test_fuzz.py:")
    assert list(tmp_path.glob("number-1-*.txt")), "the file that it failed with is kept"
    assert fuzz.mutated(b"abc", random.Random(3)) == fuzz.mutated(b"abc", random.Random(3)), "the same by the same seed"
