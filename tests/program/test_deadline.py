"""What takes too long inside a native library ends the program, with a line."""

import subprocess
import sys
import time

import pytest

from avatarify_plus.program.deadline import deadline

ENDLESS = """
from avatarify_plus.program.deadline import deadline
with deadline(0.2, "it never ends"):
    __import__("time").sleep(60)  # like a native library, it hears no exception of another thread's
"""


def test_the_program_ends_with_one_line() -> None:
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", ENDLESS], capture_output=True, text=True, timeout=50)
    assert (ended.returncode, ended.stderr) == (1, "avatarify: error: it never ends\n")
    assert time.monotonic() - began < 40


def test_what_is_done_in_time_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    ended: list[int] = []
    with deadline(0.05, "too late", ended.append):
        pass
    time.sleep(0.1)
    assert not ended and not capsys.readouterr().err
    with deadline(0.02, "too late", ended.append):
        time.sleep(0.3)
    assert ended == [1] and "too late" in capsys.readouterr().err
