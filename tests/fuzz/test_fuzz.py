"""A little fuzzing in every run; `fuzz.py` and `guided.py` do it for hours."""

import importlib.util
import io
import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from avatarify_plus.errors import ModelError
from fuzz import fuzz
from mutation import changed_json, changed_lines, changed_message, changed_png, changed_zip, mutated
from targets import TARGETS, Target

FOLDER = Path(__file__).parent
TRAINING = ("checkpoint", "start", "network", "chunks", "metrics", "training-options", "scores", "log")
"""Of those that need torch, which takes its time, and whose files are large."""


def command(program: str, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this folder that keeps its files in a folder."""
    arguments = [sys.executable, str(FOLDER / program), *words, "--out", str(tmp_path / "files")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(arguments, env=environment, text=True, capture_output=True, timeout=600)


@pytest.mark.parametrize(("targets", "files"), [(tuple(TARGETS), "100"), (TRAINING, "15")])
def test_readers_take_or_refuse_what_they_get(targets: tuple[str, ...], files: str, tmp_path: Path) -> None:
    """The files are always the same ones: a run of the tests is to say what a change did."""
    ended = command("fuzz.py", tmp_path, "--target", *targets, "--files", files, "--seconds", "1000", "--seed", "1")
    assert ended.returncode == 0, f"{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
    assert ended.stdout.splitlines() == [f"{name}: {files} files, 0 findings" for name in targets]


def test_a_reader_that_fails_is_found_and_each_kind_once(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        if path.read_bytes() == b"0123456789":
            raise ModelError("refused, as it should be")
        if not path.read_bytes():
            raise ModelError("two\nlines")
        int(path.read_bytes())

    broken = Target(lambda folder: [b"0123456789"], ".txt", read)
    count, findings = fuzz("number", broken, 60, 50, 1, tmp_path)
    assert count == 50 and len(findings) == 2, findings
    assert any("x ValueError in test_fuzz.py:" in line for line in findings)
    assert any("x more than one line" in line for line in findings)
    kept = sorted(tmp_path.glob("number-1-*.txt"))
    assert len(kept) == 2 and all(any(str(path) in line for line in findings) for path in kept)


@pytest.mark.skipif(importlib.util.find_spec("atheris") is not None, reason="Atheris is here, which takes its time")
def test_guiding_is_skipped_where_there_is_no_atheris(tmp_path: Path) -> None:
    ended = command("guided.py", tmp_path, "pairs")
    assert ended.returncode == 0 and ended.stdout == "guided: skipped, there is no Atheris here (pip install atheris)\n"


@pytest.mark.parametrize("change", [mutated, changed_json, changed_lines, changed_zip, changed_png, changed_message])
def test_changes_are_the_same_by_the_same_seed_and_take_any_file(change: object) -> None:
    assert callable(change)
    for data in (b"", b"abc", b'{"a": [1, 2]}', b"\x89PNG\r\n\x1a\n", b"[" * 5000, b"PK\x03\x04"):
        found = {change(data, random.Random(seed)) for seed in (3, 3)}
        assert len(found) == 1


def test_what_is_changed_in_its_form_keeps_it(tmp_path: Path) -> None:
    """Most changes of each kind reach what lies behind the first check of a reader."""
    seeds = range(100)
    tree = json.dumps({"a": {"b": [1, 2, {"c": "d"}]}, "e": 5}).encode()
    loads = [
        json.loads(text)
        for seed in seeds
        if b"[[[" not in (text := changed_json(tree, random.Random(seed)))
        and b'{"a":{"a":' not in text
        and b"9" * 5000 not in text
    ]
    assert len(loads) > 80 and sum(value != json.loads(tree) for value in loads) > 60
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.json", tree)
        archive.writestr("b", b"0123456789")
    for seed in seeds:
        with zipfile.ZipFile(io.BytesIO(changed_zip(packed.getvalue(), random.Random(seed)))) as archive:
            assert archive.testzip() is None
