"""A remote call over a line of 20 ms there and back that loses a packet in a hundred, with a server that dies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("aiortc")

from slow_line import FAR, SlowLine, slow_line, why_not

from fakes import EXAMPLES, read_video

ROOT = Path(__file__).resolve().parents[2]
PORT = 8470
PATIENCE_S = 90.0
LATENCY = re.compile(r"([\d.]+) fps, latency (\d+) ms")


@pytest.fixture
def line() -> Iterator[SlowLine]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with ExitStack() as stack:
        try:
            line = stack.enter_context(slow_line(0.010, 0.01))
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces with a tunnel between them: {error}")
        yield line


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    named = ["-subj", f"/CN={FAR}", "-addext", f"subjectAltName=IP:{FAR}", "-days", "2"]
    try:
        subprocess.run([*command, *named, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except OSError:
        pytest.skip("no openssl")
    return certificate, key


class Told:
    """A program, and what it says, line by line with the time."""

    def __init__(self, command: list[str]) -> None:
        environment = os.environ | {"AVATARIFY_TOKEN": "the-token-of-the-tests"}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        self.lines: list[tuple[float, str]] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            self.lines.append((time.monotonic(), text))

    def wait(self, pattern: str, since_s: float = 0.0) -> tuple[float, str]:
        """Wait for a line that was said since a time."""
        end_s = time.monotonic() + PATIENCE_S
        while True:
            for said_s, text in self.lines:
                if said_s >= since_s and re.search(pattern, text):
                    return said_s, text
            assert time.monotonic() < end_s, f"{pattern} was not said: {[text for _, text in self.lines]}"
            time.sleep(0.02)

    def end(self, with_kill: bool = False) -> None:
        """End it."""
        if with_kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait(60)
        self._thread.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()


def test_pictures_arrive_their_age_is_told_and_a_new_server_is_found(
    line: SlowLine, certificate: tuple[str, str], tmp_path: Path
) -> None:
    film = tmp_path / "call.mp4"
    served = [sys.executable, "run.py", "serve", "--host", FAR, "--port", str(PORT), "--name", f"{FAR}:{PORT}"]
    served += ["--certificate", certificate[0], "--key", certificate[1], "--size", "480x270"]
    called = [sys.executable, "run.py", "--no-config", "--avatar", str(EXAMPLES / "avatar_3.jpg"), "--live"]
    called += ["--camera", str(EXAMPLES / "driver.mp4"), "--no-preview", "--no-virtual-camera", "--log-stats"]
    called += ["--remote", f"https://{FAR}:{PORT}", "--remote-certificate", certificate[0], "--output", str(film)]
    server = Told(line.command(line.far, *served))
    try:
        server.wait("avatars for up to")
        caller = Told(line.command(line.near, *called))
        try:
            _, text = caller.wait(r"[1-9][\d.]* fps, latency [1-9]")
            found = LATENCY.search(text)
            assert found is not None and int(found[2]) >= 20, "no picture is younger than the line is long"
            caller.wait(r"[1-9][\d.]* fps", since_s=time.monotonic() + 2)
            server.end(with_kill=True)
            caller.wait("broke off")
            server = Told(line.command(line.far, *served))
            ready_s, _ = server.wait("avatars for up to")
            back_s, _ = caller.wait("pictures come from", since_s=ready_s - 1)
            print(f"found {back_s - ready_s:.2f} s after the server was ready; {line.lost_count} packets lost")
            caller.wait(r"[1-9][\d.]* fps", since_s=back_s)
        finally:
            caller.end()
    finally:
        server.end()
    assert line.lost_count > 10
    pictures, _ = read_video(film)
    assert len(pictures) > 30
