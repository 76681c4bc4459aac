"""A signal is heard by a program whose engine was closed in another thread."""

import subprocess
import sys

import pytest

SCRIPT = """
import gc, os, signal, threading
from avatarify_plus.bundle import open_bundle
from avatarify_plus.engines import open_engine

engines = [open_engine(open_bundle("live-256"), "openvino", 1)]
other = threading.Thread(target=lambda: (engines.clear(), gc.collect()))
other.start()
other.join()
signal.signal(signal.SIGTERM, lambda number, frame: print("heard"))
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the stack for signals is Linux's")
def test_a_signal_after_an_engine_was_closed_elsewhere_is_heard() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr
