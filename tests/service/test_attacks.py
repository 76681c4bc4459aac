"""Somebody attacks the service while somebody is in a call: the call goes on, and nothing is left of the attack."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect

from avatarify_plus.service.admission import Limits
from avatarify_plus.types import Frame
from fakes import EXAMPLES, plain_picture

pytest.importorskip("aiortc")
from running import TOKEN, Running, running_service

from avatarify_plus.remote.link import RemoteLink
from avatarify_plus.web import http_server

PATIENCE_S = 20.0


class Victim:
    """An honest caller. count: the avatar's pictures that came."""

    def __init__(self, url: str) -> None:
        self.count = 0
        self._is_over = False
        self._link = RemoteLink(url, TOKEN, [EXAMPLES / "avatar_3.jpg"], {})
        self._threads = [threading.Thread(target=work) for work in (self._send, self._receive)]

    def __enter__(self) -> Victim:
        self._link.__enter__()
        for thread in self._threads:
            thread.start()
        self.gets_more()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over = True
        for thread in self._threads:
            thread.join()
        self._link.__exit__(None, None, None)

    def gets_more(self, more: int = 5) -> None:
        """Wait for more pictures."""
        wanted, end_s = self.count + more, time.monotonic() + PATIENCE_S
        while self.count < wanted:
            assert time.monotonic() < end_s, f"no pictures any more: {self._link.trouble}"
            time.sleep(0.02)
        assert self._link.trouble is None

    def _send(self) -> None:
        index = 0
        while not self._is_over:
            self._link.send(Frame(plain_picture(index % 200, 96, 128), index, time.perf_counter()))
            index += 1
            time.sleep(0.04)

    def _receive(self) -> None:
        while not self._is_over:
            self.count += self._link.newest(0.1) is not None


@pytest.fixture
def attacked() -> Iterator[tuple[Running, Victim]]:
    with running_service(callers=3, limits=Limits(token_s=1.0, photo_s=0.0)) as running, Victim(running.url) as victim:
        yield running, victim
        victim.gets_more()


def port_of(running: Running) -> int:
    return running.server.port


def line(running: Running, origin: str | None = None, **options: Any) -> Any:
    """Open a WebSocket as the page, or as a page of somebody else's."""
    url = running.url.replace("http", "ws") + "/talk"
    return connect(url, origin=origin or running.url, proxy=None, max_size=None, **options)  # type: ignore[arg-type]


def test_slow_requests_are_cut_off(attacked: tuple[Running, Victim], monkeypatch: pytest.MonkeyPatch) -> None:
    running, victim = attacked
    monkeypatch.setattr(http_server, "REQUEST_S", 0.5)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port_of(running)))) for _ in range(60)]
        for one in slow:
            one.sendall(b"GET / HTTP/1.1\r\nHost: ")
        victim.gets_more()
        for one in slow:
            one.settimeout(PATIENCE_S)
            with contextlib.suppress(ConnectionResetError):  # which is an end, too
                assert one.recv(1) == b""
        victim.gets_more()


@pytest.mark.parametrize("first", ['{"token": "guess"}', "", "{", "[" * 20_000, None])
def test_guessed_tokens_are_stopped_and_the_door_is_not_blocked(
    attacked: tuple[Running, Victim], first: str | None
) -> None:
    running, victim = attacked
    codes: list[int] = []
    for _ in range(30):
        try:
            with line(running) as stranger:
                if first is not None:
                    stranger.send(first)
                stranger.recv(PATIENCE_S)
        except ConnectionClosed as closed:
            codes.append(closed.rcvd.code if closed.rcvd is not None else 0)
        except InvalidStatus as refused:
            codes.append(refused.response.status_code)
        if first is None and len(codes) == 3:  # those that say nothing take their second each
            break
    assert set(codes) <= {1008, 403}
    if first is not None:
        assert codes[:10] == [1008] * 10 and codes[10:] == [403] * 20, "after ten nobody is listened to for a minute"
    victim.gets_more()


def test_ten_thousand_offers(attacked: tuple[Running, Victim]) -> None:
    running, victim = attacked
    with line(running) as attacker:
        attacker.send(json.dumps({"token": TOKEN}))
        drained = threading.Thread(target=_drain, args=(attacker,))
        drained.start()
        for number in range(10_000):
            attacker.send(json.dumps({"offer": f"v=0\r\ns={number}\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"}))
        victim.gets_more()
    drained.join(PATIENCE_S)
    assert "refused_total" in running.application.figures.text().decode()


def test_a_huge_description_and_a_huge_message(attacked: tuple[Running, Victim]) -> None:
    running, victim = attacked
    for text in ('{"offer": "%s"}' % ("a" * 64_500), '{"offer": "%s"}' % ("a" * 10_000_000)):
        with contextlib.suppress(ConnectionClosed), line(running) as attacker:
            attacker.send(json.dumps({"token": TOKEN}))
            attacker.send(text)
            while "error" not in json.loads(attacker.recv(PATIENCE_S)):
                pass
    victim.gets_more()


def test_a_photo_of_500_mb_is_refused_before_it_comes_and_not_kept_if_it_comes(
    attacked: tuple[Running, Victim],
) -> None:
    running, victim = attacked
    with line(running) as attacker:
        attacker.send(json.dumps({"token": TOKEN}))
        attacker.send(json.dumps({"photo": {"name": "../../etc/passwd", "bytes": 500_000_000}}))
        while True:
            news = json.loads(attacker.recv(PATIENCE_S))
            if "photo_error" in news:
                break
        assert news["photo_error"] == "photos may have 10 MB, this one has 500"
        for _ in range(500):
            attacker.send(bytes(60_000))
        attacker.send(json.dumps({"set": {"mouth": 0.5}}))
        victim.gets_more()
        call = next(each for each in running.service.callers if not each.frame_count)
        assert all(not photo.is_own for photo in call.photos.photos)


def test_other_pages_get_nothing(attacked: tuple[Running, Victim]) -> None:
    running, victim = attacked
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{port_of(running) + 1}"):
        with pytest.raises(InvalidHandshake), line(running, origin):
            pass
    victim.gets_more()


def test_a_replayed_token_takes_a_place_and_no_more_than_there_are(attacked: tuple[Running, Victim]) -> None:
    running, victim = attacked
    reasons: list[str] = []
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            one = stack.enter_context(line(running))
            one.send(json.dumps({"token": TOKEN}))
            try:
                one.recv(PATIENCE_S)
            except ConnectionClosed as closed:
                assert closed.rcvd is not None
                reasons.append(closed.rcvd.reason)
        assert reasons == ["all 3 places are taken"] * 18
        victim.gets_more()
    _until(lambda: running.service.free_places == 2)


def _drain(socket: Any) -> None:
    with contextlib.suppress(ConnectionClosed, TimeoutError):
        while True:
            socket.recv(PATIENCE_S)


def _until(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.02)
