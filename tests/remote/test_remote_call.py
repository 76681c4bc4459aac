"""Whole remote calls: the loop and its keys here, the avatar from a service on this machine."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatarify_plus import live
from avatarify_plus.camera import FrameSource, LiveCamera
from avatarify_plus.config import AppConfig
from avatarify_plus.errors import AvatarifyError, ConfigError, RemoteError
from avatarify_plus.pictures.badge import still_card
from avatarify_plus.preview.keys import press_of
from avatarify_plus.session.key_actions import KeyActions
from avatarify_plus.sinks import Outputs
from avatarify_plus.types import Image, Size
from fakes import EXAMPLES, FakeReader, FakeSink, example_driver, read_video

pytest.importorskip("aiortc")
from avatarify_plus.remote import session as remote
from avatarify_plus.remote.link import MAX_PX, RemoteLink, socket_address
from avatarify_plus.remote.peer import Received
from avatarify_plus.service.caller import Caller

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "service"))
from running import TOKEN, Running, running_service

PATIENCE_S = 20.0


def wait_until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def running() -> Iterator[Running]:
    with running_service() as running:
        yield running


def webcam() -> FrameSource:
    """Return a webcam that gives the same few pictures, 30 a second."""

    def pictures() -> Iterator[Image]:
        for picture in itertools.cycle(example_driver(4, 128)):
            time.sleep(1 / 30)
            yield picture

    return LiveCamera(FakeReader(pictures()))


def config_of(running: Running, **others: Any) -> AppConfig:
    """Return the options of a call."""
    options: dict[str, Any] = {
        "avatar": (EXAMPLES / "avatar_3.jpg", EXAMPLES / "avatar_1.jpg"),
        "remote": running.url,
        "token": TOKEN,
        "size": Size(128, 96),
        "preview": False,
        "virtual_camera": False,
        "config": False,
        "output": Path("unused.mp4"),
    }
    return AppConfig(**(options | others))


class Called:
    """A remote session in a loop of its own, as `live.run` has it, whose pictures are kept."""

    def __init__(self, config: AppConfig, driver: FrameSource | None = None) -> None:
        self._driver = driver or webcam()
        self.sink = FakeSink()
        self.failure: Exception | None = None
        self._stop = threading.Event()
        self._config = config
        self._presses: list[str] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with Outputs() as outputs, self._driver as driver:
                outputs.add(self.sink)
                with remote.open_remote(self._config, outputs, driver) as (session, frames):
                    self.session: Any = session
                    self.frames: Any = frames
                    keys = KeyActions(session, self._stop)
                    for frame in frames.frames(self._stop):
                        if frame is None:
                            session.idle(time.perf_counter())
                        else:
                            session.turn(frame)
                        while self._presses:
                            press = press_of(ord(self._presses.pop(0)))
                            assert press is not None
                            keys.obey(press)
        except AvatarifyError as failure:
            self.failure = failure

    def press(self, key: str) -> None:
        """Press a key."""
        self._presses.append(key)

    @property
    def frame_count(self) -> int:
        """How many pictures of the avatar came."""
        return int(self.session.timing.frame_count) if hasattr(self, "session") else 0

    def end(self) -> None:
        """End the call."""
        self._stop.set()
        self.join()

    def join(self) -> None:
        """Wait for the call's end."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


def test_the_avatar_comes_back_and_its_age_is_known(running: Running, tmp_path: Path) -> None:
    config = config_of(running, output=tmp_path / "call.mp4", seconds=4.0)
    summary = live.run(config, frame_source=webcam())
    assert summary.engine == "remote" and summary.device == running.url
    assert summary.frame_count > 10
    assert 0 < summary.latency_p50_ms < 2000
    pictures, _ = read_video(tmp_path / "call.mp4")
    assert pictures[-1].shape == (96, 128, 3)
    assert not running.service.callers, "the call has ended there, too"


def test_the_first_photo_is_the_avatar_and_keys_choose_the_other(running: Running) -> None:
    called = Called(config_of(running))
    try:
        wait_until(lambda: called.frame_count > 5 and len(running.service.callers) == 1)
        (caller,) = running.service.callers
        wait_until(lambda: caller.control.state["photo"].endswith("avatar_3.jpg"))
        wait_until(lambda: sum(photo.is_own for photo in caller.photos.photos) == 2)
        called.press("2")
        wait_until(lambda: caller.control.state["photo"].endswith("avatar_1.jpg"))
        assert called.session.shown_avatar[1:] == ("avatar_1", 2, 2)
        called.press("m")  # more of the mouth
        wait_until(lambda: caller.control.state["values"]["mouth"] == pytest.approx(1.1))
    finally:
        called.end()


def test_hiding_works_here_at_once(running: Running) -> None:
    called = Called(config_of(running))
    try:
        wait_until(lambda: called.frame_count > 3)
        called.press("p")
        wait_until(lambda: called.session.is_panicking)
        time.sleep(0.3)
        assert np.array_equal(called.sink.sent[-1][0], still_card(Size(128, 96)))
        called.press("p")
        called.press("0")
        wait_until(lambda: called.session.passes_through and not called.session.is_panicking)
        time.sleep(0.3)
        assert not np.array_equal(called.sink.sent[-1][0], still_card(Size(128, 96)))
    finally:
        called.end()


def test_a_service_that_was_started_again_is_found_and_told_everything_again() -> None:
    with running_service() as running:
        port = running.server.port
        called = Called(config_of(running))
        wait_until(lambda: called.frame_count > 3)
        called.press("m")
        wait_until(lambda: called.session.config.mouth > 1)
    try:
        wait_until(lambda: called.frames.trouble is not None)
        wait_until(
            lambda: np.array_equal(called.sink.sent[-1][0], still_card(Size(128, 96)))
        )  # nobody sees a frozen face
        before = called.frame_count
        with running_service(port=port) as running:
            wait_until(lambda: called.frame_count > before + 3)
            (caller,) = running.service.callers
            assert caller.control.state["values"]["mouth"] == pytest.approx(1.1)
            assert caller.control.state["photo"].endswith("avatar_3.jpg")
            assert called.frames.trouble is None
            called.end()
    finally:
        called.end()


def test_a_wrong_token_is_said_in_one_line(running: Running, tmp_path: Path) -> None:
    config = config_of(running, token="another-token-altogether", output=tmp_path / "out.mp4", seconds=PATIENCE_S)
    with pytest.raises(RemoteError, match="does not let us in: wrong token"):
        live.run(config, frame_source=webcam())


def test_a_photo_that_cannot_be_used_is_said_in_one_line(running: Running, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes((EXAMPLES / "avatar_1.jpg").read_bytes() + bytes(11_000_000))
    config = config_of(running, avatar=(large,), output=tmp_path / "out.mp4", seconds=PATIENCE_S)
    with pytest.raises(RemoteError, match=r"cannot use the photo .*large\.png: photos may have 10 MB"):
        live.run(config, frame_source=webcam())


def test_a_full_service_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    with running_service(callers=1) as running:
        first = Called(config_of(running))
        wait_until(lambda: first.frame_count > 3)
        second = Called(config_of(running))
        try:
            wait_until(lambda: hasattr(second, "frames") and "all 1 places are taken" in str(second.frames.trouble))
            first.end()
            wait_until(lambda: second.frame_count > 3)
        finally:
            first.end()
            second.end()


def test_files_are_no_driver_of_a_call(running: Running, tmp_path: Path) -> None:
    config = config_of(running, camera=str(EXAMPLES / "driver.mp4"), output=tmp_path / "out.mp4")
    with pytest.raises(ConfigError, match="--remote is for live calls"):
        live.run(config)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("https://gpu.example.org:8470", "wss://gpu.example.org:8470/talk"),
        ("gpu.example.org", "wss://gpu.example.org/talk"),
        ("https://example.org/avatars/", "wss://example.org/avatars/talk"),
        ("http://127.0.0.1:8470/#token", "ws://127.0.0.1:8470/talk"),
    ],
)
def test_addresses(address: str, wanted: str) -> None:
    assert socket_address(address) == wanted


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://gpu.example.org", "where others can read them"),
        ("ftp://gpu.example.org", "must be an address such as"),
        ("https://", "must be an address such as"),
        ("https://[", "must be an address such as"),
        ("gpu.example.org:port", "must be an address such as"),
    ],
)
def test_addresses_that_are_refused(address: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        socket_address(address)


@pytest.mark.parametrize("message", ["{", "5", '[["state", 1]]', "[" * 100_000])
def test_what_is_no_news_is_no_server(message: str) -> None:
    link = RemoteLink("http://127.0.0.1:1", TOKEN, [], {})
    link._read('{"pictures": 3}')
    with pytest.raises(RemoteError, match=r"127\.0\.0\.1 is no avatarify server"):
        link._read(message)
    assert link.state == {"pictures": 3}


def test_a_token_is_never_shown(running: Running) -> None:
    assert TOKEN not in repr(replace(config_of(running), token=TOKEN))


def test_a_large_webcam_is_shrunk_before_it_is_sent(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: set[Size] = set()
    take = Caller.take

    def note(caller: Caller, received: Received) -> None:
        sizes.add(received.size)
        take(caller, received)

    monkeypatch.setattr(Caller, "take", note)

    def pictures() -> Iterator[Image]:
        picture = np.ascontiguousarray(np.resize(example_driver(1, 128)[0], (1080, 1920, 3)))
        while True:
            time.sleep(1 / 15)
            yield picture

    called = Called(config_of(running), LiveCamera(FakeReader(pictures())))
    try:
        wait_until(lambda: called.frame_count > 2)
    finally:
        called.end()
    assert sizes == {Size(MAX_PX, 540 + 18)}  # with the strip
    assert called.frames.newest.image.shape == (1080, 1920, 3)


def test_an_error_of_the_connections_own_is_said(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(RemoteLink, "_begin", fail)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    called = Called(config_of(running))
    called.join()
    assert "an error of its own" in str(called.failure)
