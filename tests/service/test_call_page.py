"""A call as people make it: the real service and model, the page in a real browser with a webcam that plays a film."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("aiortc")

import av

from chromium import CHROMIUM, Page, browser_page
from fakes import EXAMPLES
from pages import CHANGE, NAMELESS

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "the-token-of-the-tests"
SIZE = (640, 480)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium")


def webcam_film(path: Path, count: int = 60) -> Path:
    """Write the example driver as Chromium takes a webcam's pictures (YUV4MPEG2)."""
    with av.open(str(EXAMPLES / "driver.mp4")) as film, path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{SIZE[0]} H{SIZE[1]} F30:1 Ip A1:1 C420jpeg\n".encode())
        for _, frame in zip(range(count), film.decode(video=0), strict=False):
            file.write(b"FRAME\n" + frame.reformat(*SIZE, "yuv420p").to_ndarray().tobytes())
    return path


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Served:
    """The command `avatarify serve`, which can be started again at the same address."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/#{TOKEN}"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it can be reached."""
        command = [sys.executable, "run.py", "serve", "--port", str(self.port), "--callers", "2", "--size", "480x270"]
        environment = os.environ | {"AVATARIFY_TOKEN": TOKEN}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        next(line for line in self.process.stderr if re.search(r"http://\S+", line))

    def kill(self) -> None:
        """End it without a word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            assert self.process.stderr is not None
            self.process.stderr.close()
            self.process = None


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    served = Served()
    served.start()
    yield served
    served.kill()


@pytest.fixture(scope="module")
def webcam(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    film = webcam_film(tmp_path_factory.mktemp("webcam") / "driver.y4m")
    return (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        "--allow-loopback-in-peer-connection",  # for machines without a network
        f"--use-file-for-fake-video-capture={film}",
    )


@pytest.fixture(scope="module")
def page(served: Served, webcam: tuple[str, ...]) -> Iterator[Page]:
    with browser_page(*webcam) as page:
        yield page


def shown(page: Page, more: int) -> None:
    """Wait until so many more pictures of the avatar were shown."""
    before = int(page.value("document.body.dataset.shown ?? '0'"))
    page.wait(f"Number(document.body.dataset.shown) > {before + more}")


def test_the_page_opens_and_after_two_clicks_the_avatar_moves(served: Served, page: Page) -> None:
    page.open(served.url)
    page.wait("document.querySelectorAll('#photos li').length >= 1")
    assert page.wait("document.getElementById('consent').open")
    assert "127.0.0.1" in page.value("document.getElementById('consent-mark').textContent")  # where pictures go
    page.click("#agree")
    page.wait("!document.getElementById('consent').open && !document.getElementById('go').disabled")
    assert "#" not in page.value("location.href")
    page.click("#go")
    shown(page, 5)
    assert page.value(CHANGE) > 0.3
    assert page.value("document.getElementById('driver').width") == SIZE[0]
    assert page.value("document.getElementById('sent').height") == 270, "the strip with the number is cut off"
    page.wait("JSON.parse(document.getElementById('latency').dataset.ms).page.length > 5")
    page.wait("document.getElementById('fps').textContent !== '–'")
    assert page.value("document.getElementById('status').textContent") == "live"
    assert page.value(NAMELESS) == []
    assert page.value("document.getElementById('face-model').offsetParent === null"), "models are made at home"
    assert not page.errors


def test_a_photo_is_dragged_in_and_one_that_is_none_is_named(page: Page, tmp_path: Path) -> None:
    count = page.value("document.querySelectorAll('#photos li').length")
    shutil.copy(EXAMPLES / "avatar_3.jpg", tmp_path / "mine.jpg")
    page.drop_file("#drop", tmp_path / "mine.jpg")
    page.wait(f"document.querySelectorAll('#photos li').length === {count + 1}")
    page.wait("document.querySelector('#photos li:last-child button').getAttribute('aria-pressed') === 'true'")
    (tmp_path / "no.jpg").write_bytes(b"this is no photo")
    page.choose_file("#file", tmp_path / "no.jpg")
    assert "no.jpg" in page.wait("document.getElementById('photo-error').textContent")
    assert page.value("document.querySelectorAll('#photos li').length") == count + 1


def test_keys_and_hiding(page: Page) -> None:
    page.press("p")
    page.wait("document.getElementById('panic').ariaPressed === 'true'")
    time.sleep(1)
    assert page.value(CHANGE) < 0.3  # a still card, but for the encoder's last touches
    page.click("#panic")
    page.wait("document.getElementById('panic').ariaPressed === 'false'")
    page.press("m")
    page.wait("document.querySelector('input[name=mouth]').value > 1.05")
    shown(page, 3)
    assert page.value(CHANGE) > 0.3


def test_a_recording_is_saved_by_the_browser(page: Page, tmp_path: Path) -> None:
    page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.click("#record")
    page.wait("document.getElementById('record').ariaPressed === 'true'")
    time.sleep(2)
    page.click("#record")
    name = page.wait("document.getElementById('saved').textContent").partition(": ")[2]
    end_s = time.monotonic() + 20
    while not (tmp_path / name).is_file():
        assert time.monotonic() < end_s, list(tmp_path.iterdir())
        time.sleep(0.1)
    with av.open(str(tmp_path / name)) as film:
        frames = list(film.decode(video=0))
    assert len(frames) > 5 and frames[0].width == 480


def test_a_service_that_is_started_again_is_found_with_photo_and_settings(served: Served, page: Page) -> None:
    served.kill()
    page.wait("document.getElementById('trouble').textContent.includes('broke off')")
    served.start()
    begun_s = time.monotonic()
    page.wait("document.getElementById('trouble').hidden")
    shown(page, 3)
    took_s = time.monotonic() - begun_s
    page.wait("document.querySelector('#photos li:last-child button').getAttribute('aria-pressed') === 'true'")
    assert "mine" in page.value("document.querySelector('#photos li:last-child button').ariaLabel")
    page.wait("document.querySelector('input[name=mouth]').value > 1.05")
    assert page.value(CHANGE) > 0.3
    print(f"pictures again {took_s:.1f} s after the service")


def test_stopping_lets_the_webcam_go(page: Page) -> None:
    page.click("#go")
    page.wait("document.getElementById('go').textContent === 'Start'")
    page.wait("document.getElementById('status').textContent === 'ready'")
    assert page.value("document.getElementById('driver').dataset.empty") == "true"
    page.click("#go")
    shown(page, 3)


def test_a_wrong_token_gets_nothing(served: Served) -> None:
    with browser_page() as stranger:
        stranger.open(served.url.partition("#")[0] + "#wrong")
        stranger.wait("document.getElementById('trouble').textContent.includes('without its key')")
        assert stranger.value("document.querySelectorAll('#photos li').length") == 0


def test_without_a_webcam_one_is_told_so(served: Served) -> None:
    with browser_page("--use-fake-ui-for-media-stream") as page:  # which allows what is not there
        page.open(served.url)
        page.wait("document.getElementById('consent').open")
        page.click("#agree")
        page.wait("!document.getElementById('consent').open && !document.getElementById('go').disabled")
        page.click("#go")
        page.wait("/webcam/.test(document.getElementById('trouble').textContent)")
        assert not page.value("document.getElementById('go').disabled")
