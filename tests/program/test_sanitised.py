"""The main job and the studio in Python's development mode: with checked memory, and every warning an error.

Nothing may stay open, and no thread may stay, when they are done.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avatarify_plus.program.checkout import child_environment
from fakes import EXAMPLES, example_driver, write_video

ROOT = Path(__file__).resolve().parents[2]

FILTERS_OF_OTHERS: tuple[str, ...] = ()
"""Filters of warnings that packages of others give, such as "ignore::DeprecationWarning:mediapipe", each with why: none
gives any by now."""

THREADS_OF_OTHERS = ("tqdm_monitor",)
"""Threads that packages of others keep: tqdm's looks after bars that stand still, one for the whole program."""

PROGRAM = f"""
import gc, os, sys, threading
from pathlib import Path
from avatarify_plus.__main__ import main

code = main(sys.argv[1:])
gc.collect()
names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
print("threads:", [name for name in names if name not in {THREADS_OF_OTHERS!r}])
folder = Path("/proc/self/fd")  # Linux's
links = [os.readlink(link) for link in folder.iterdir() if link.exists()] if folder.exists() else []
print("files:", [path for path in links if path.endswith((".mp4", ".jpg", ".json", ".onnx", ".task", ".part"))])
sys.exit(code)
"""
"""Run the command line and print what it leaves open."""

COMPLAINTS = re.compile(r"Traceback|Warning|Exception ignored|Fatal Python error|Debug memory block", re.MULTILINE)
"""How Python says that something is wrong, though the exit code may be that of success."""

LIMIT_S = 180.0


def sane(*arguments: str) -> subprocess.Popen[str]:
    """Start the command line in development mode."""
    checks = {"PYTHONDEVMODE": "1", "PYTHONMALLOC": "debug", "PYTHONWARNINGS": ",".join(("error", *FILTERS_OF_OTHERS))}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    environment = child_environment() | checks
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=pipe, stderr=subprocess.STDOUT)


def require_sane(said: str, code: int) -> None:
    """Assert that a program has ended well, complained about nothing and left nothing open."""
    assert code == 0, said[-3000:]
    assert not COMPLAINTS.search(said), said[-3000:]
    assert "threads: []" in said and "files: []" in said, said[-3000:]


def test_the_main_job_is_sane(tmp_path: Path) -> None:
    driver = write_video(tmp_path / "driver.mp4", example_driver(4))
    film = tmp_path / "film.mp4"
    process = sane("--avatar", str(EXAMPLES / "avatar_2.jpg"), "--camera", str(driver), "--output", str(film))
    require_sane(process.communicate(timeout=LIMIT_S)[0], process.returncode)
    assert film.stat().st_size > 1000


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_the_studio_is_sane(tmp_path: Path) -> None:
    driver = write_video(tmp_path / "driver.mp4", example_driver(4))
    photo = str(EXAMPLES / "avatar_2.jpg")
    process = sane("studio", "--avatar", photo, "--camera", str(driver), "--no-browser", "--no-config")
    assert process.stdout is not None
    begun = []
    for line in process.stdout:
        begun.append(line)
        if line.startswith("engine "):
            break
    time.sleep(1.0)  # its loop runs
    process.send_signal(signal.SIGINT)
    said = "".join(begun) + process.communicate(timeout=LIMIT_S)[0]
    require_sane(said, process.returncode)
    assert "the studio is at" in said


def test_what_is_not_sane_is_found() -> None:
    with pytest.raises(AssertionError):
        require_sane("Exception ignored in: <_io.FileIO>\nResourceWarning: unclosed file\nthreads: []\nfiles: []\n", 0)
    with pytest.raises(AssertionError):
        require_sane("threads: ['recording']\nfiles: []\n", 0)
