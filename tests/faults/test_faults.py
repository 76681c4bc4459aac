"""Whatever write fails, a program ends with one line, and what was there is whole; see `writers.py`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

KINDS = (
    "settings",
    "studio's model",
    "report",
    "picture",
    "film",
    "film, mkv",
    "film, gif",
    "live film",
    "folder of pictures",
    "photo in the studio",
    "checkpoint",
    "log",
    "cache",
    "archive",
    "unpacked archive",
    "chunks",
    "joined chunks",
    "model",
    "int8",
    "own model",
    "engine",
)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile what lets writes fail."""
    if not sys.platform.startswith("linux"):
        pytest.skip("writes are let fail by what Linux preloads")
    if shutil.which("gcc") is None:
        pytest.skip("needs a compiler: apt install gcc")
    library = tmp_path_factory.mktemp("shim") / "failing_writes.so"
    source = Path(__file__).with_name("failing_writes.c")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


@pytest.fixture(scope="module")
def found(shim: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the program that lets writes fail has found."""
    folder = tmp_path_factory.mktemp("disk") / "disk"
    command = [sys.executable, str(Path(__file__).with_name("writers.py")), str(folder)]
    environment = os.environ | {"LD_PRELOAD": str(shim)}
    ended = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=300)
    assert ended.stdout.startswith("{"), ended.stderr[-3000:]
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_failing_write_costs_one_line_and_nothing_that_was_there(found: dict[str, Any], kind: str) -> None:
    assert found[kind]["tries"] >= 4 and found[kind]["calls"] >= 4, "writes are not seen"
    assert found[kind]["findings"] == []


def test_every_kind_is_looked_at(found: dict[str, Any]) -> None:
    assert tuple(found) == (*KINDS, "written in place")


def test_what_is_written_in_place_is_found(found: dict[str, Any]) -> None:
    problems = "\n".join(found["written in place"]["findings"])
    assert "a.txt is neither the old nor the new one" in problems and "kill" in problems
    assert "a traceback" in problems
