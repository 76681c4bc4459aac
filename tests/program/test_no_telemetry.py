"""Nothing is sent anywhere, and nothing is left at home.

The programs run with an empty home, and with a proxy on this machine that notes every request and refuses it.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from avatarify_plus.program.checkout import child_environment
from fakes import EXAMPLES

ROOT = Path(__file__).resolve().parents[2]
APP = [str(ROOT / "run.py"), "--avatar", str(EXAMPLES / "avatar_2.jpg"), "--camera", str(EXAMPLES / "driver.mp4")]
LIMIT_S = 180.0
NOTES_S = 0.2
"""How long a request may take to reach the proxy's notes."""


class NotingProxy:
    """A proxy on the loopback interface. requests: the first line of each, all of which it refuses."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            with connection:
                connection.settimeout(NOTES_S)
                try:
                    self.requests.append(connection.recv(4096).partition(b"\r\n")[0].decode(errors="replace"))
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
                except OSError as error:
                    self.requests.append(f"a connection without a request: {error}")

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def proxy() -> Iterator[NotingProxy]:
    noting = NotingProxy()
    yield noting
    noting.close()


def run_at_empty_home(home: Path, proxy: NotingProxy, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run Python in a user's empty home, behind the proxy."""
    home.mkdir()
    kept = {
        name: value
        for name, value in child_environment().items()
        if not name.startswith("XDG_") and name.lower() != "no_proxy" and name not in ("CI", "MPLCONFIGDIR")
    }
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"), proxy.url)
    homes = {"HOME": str(home), "USERPROFILE": str(home)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=home,
        env=kept | proxies | homes,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def left_in(home: Path) -> list[str]:
    """Return the files in a home, by their paths there."""
    return sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())


def test_the_proxy_notes_what_is_asked_for(proxy: NotingProxy, tmp_path: Path) -> None:
    code = "import urllib.request; urllib.request.urlopen('http://example.invalid/ping')"
    assert "403" in run_at_empty_home(tmp_path / "home", proxy, ["-c", code]).stderr
    assert [line.split()[:2] for line in proxy.requests] == [["GET", "http://example.invalid/ping"]]


@pytest.mark.parametrize("options", [[], ["--no-config", "--engine", "onnxruntime"]], ids=["default", "onnxruntime"])
def test_a_run_asks_for_nothing_and_leaves_nothing(options: list[str], proxy: NotingProxy, tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "out.mp4"
    done = run_at_empty_home(home, proxy, [*APP, "--output", str(out), "--seconds", "1", *options])
    assert done.returncode == 0, done.stderr
    assert out.exists()
    assert proxy.requests == []
    assert left_in(home) == []


def test_the_doctor_asks_for_nothing_and_leaves_nothing(proxy: NotingProxy, tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = run_at_empty_home(home, proxy, ["-m", "avatarify_plus", "doctor"])
    assert "automatic choice  openvino on CPU" in done.stdout, done.stderr
    assert proxy.requests == []
    assert left_in(home) == []


def test_the_face_mesh_does_without_matplotlib_and_leaves_it_to_others() -> None:
    code = (
        "import sys; from avatarify_plus.face.mesh import FaceMesh; FaceMesh(tracking=False).close(); "
        "assert 'matplotlib' not in sys.modules; import matplotlib; assert matplotlib.__version__"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
