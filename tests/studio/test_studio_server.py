"""The studio's web server: what it gives to its own page, and what it refuses to everybody else."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image as Pillow
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from avatarify_plus.errors import SinkError
from avatarify_plus.pictures.jpeg import jpeg_of
from avatarify_plus.studio import gallery as gallery_module
from avatarify_plus.studio import server as server_module
from avatarify_plus.studio.gallery import Gallery
from avatarify_plus.studio.server import StudioServer
from avatarify_plus.web.page_control import PageControl
from fakes import EXAMPLES, plain_picture

TOKEN = "the-right-token"
BEARER = {"authorization": f"Bearer {TOKEN}"}
WAIT_S = 5.0


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


class Client:
    """A browser that may say whatever it likes about where it comes from."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.own = f"127.0.0.1:{port}"

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str | None) -> Answer:
        """Send a request as the own page would, but for the headers given; None leaves one out."""
        wanted = {"host": self.own, "origin": f"http://{self.own}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        connection.putrequest(method, path, skip_host=True)
        for name, value in wanted.items():
            if value is not None:
                connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders()
        if body is not None:
            with contextlib.suppress(ConnectionError):  # the answer may come before all was sent
                connection.send(body)
        answer = connection.getresponse()
        found = Answer(answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()})
        connection.close()
        return found

    def talk(self, host: str = "", origin: str | None = None) -> ClientConnection:
        """Open a WebSocket."""
        stream = socket.create_connection(("127.0.0.1", self.port), WAIT_S)
        return connect(f"ws://{host or self.own}/talk", sock=stream, origin=origin or f"http://{self.own}", proxy=None)

    @contextlib.contextmanager
    def introduced(self) -> Iterator[ClientConnection]:
        """Open a WebSocket and say the token."""
        with self.talk() as page:
            page.send(json.dumps({"token": TOKEN}))
            yield page


PHOTO = (EXAMPLES / "avatar_1.jpg").read_bytes()


@pytest.fixture
def control() -> PageControl:
    control = PageControl()
    control.publish(phase="idle", photos=[])
    return control


@pytest.fixture
def gallery() -> Iterator[Gallery]:
    with Gallery() as gallery:
        yield gallery


@pytest.fixture
def client(control: PageControl, gallery: Gallery) -> Iterator[Client]:
    with StudioServer(control, gallery, TOKEN) as server:
        yield Client(server.port)


def test_the_page_and_its_parts_are_served_with_strict_headers(client: Client) -> None:
    for path, words in (("/", b"<title>avatarify studio"), ("/studio.js", b"WebSocket"), ("/studio.css", b"--accent")):
        answer = client.ask("GET", path)
        assert (answer.status, words in answer.body) == (200, True), path
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
    for path in ("/../server.py", "/%2e%2e/server.py", "/..%2fserver.py"):
        assert client.ask("GET", path).status == 404


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("evil.example", None),  # a name that was made to point here
        ("127.0.0.1:1", None),
        ("", "http://evil.example"),
        ("", "null"),
    ],
)
def test_strangers_get_nothing(client: Client, gallery: Gallery, host: str, origin: str | None) -> None:
    headers = {name: value for name, value in (("host", host), ("origin", origin)) if value}
    assert client.ask("GET", "/", **headers).status == 403
    assert client.ask("POST", "/photos", PHOTO, **BEARER, **headers).status == 403
    with pytest.raises(InvalidStatus), client.talk(host, origin):
        pass
    assert not gallery.photos


def test_a_photo_needs_the_token_and_an_origin(client: Client, gallery: Gallery) -> None:
    assert client.ask("POST", "/photos", PHOTO).status == 401
    assert client.ask("POST", "/photos", PHOTO, authorization="Bearer wrong").status == 401
    assert client.ask("POST", "/photos", PHOTO, **BEARER, origin=None).status == 403
    assert not gallery.photos


def test_a_photo_is_kept_under_a_harmless_name_and_announced(
    client: Client, control: PageControl, gallery: Gallery
) -> None:
    answer = client.ask("POST", "/photos", PHOTO, **BEARER, x_name="..%2F..%2Fetc%2Fm%C3%A4x%20one.jpg")
    assert answer.status == 200
    (photo,) = gallery.photos
    assert photo.path.parent == gallery.folder
    assert photo.path.name == json.loads(answer.body)["name"] == "0001-mäx_one.jpg"
    assert photo.path.read_bytes() == PHOTO
    assert photo.thumbnail.startswith("data:image/jpeg;base64,")
    assert control.requests() == [{"photos": True, "choose": "0001-mäx_one.jpg"}]


def test_what_is_no_photo_or_too_large_is_refused_in_one_line(
    client: Client, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = client.ask("POST", "/photos", b"GIF89a nothing", **BEARER, x_name="fun.gif")
    assert answer.status == 400
    assert "fun.gif" in answer.error and str(gallery.folder) not in answer.error
    monkeypatch.setattr(server_module, "MAX_BYTES", 1000)
    answer = client.ask("POST", "/photos", PHOTO, **BEARER)
    assert (answer.status, "more than" in answer.error) == (400, True)
    monkeypatch.undo()
    monkeypatch.setattr(gallery_module, "MAX_COUNT", 0)
    answer = client.ask("POST", "/photos", PHOTO, **BEARER)
    assert (answer.status, "take one away first" in answer.error) == (400, True)
    assert not gallery.photos and not list(gallery.folder.iterdir())


def test_photos_are_gone_with_the_studio() -> None:
    with Gallery() as gallery:
        gallery.add("a.jpg", PHOTO)
        assert gallery.folder.stat().st_mode & 0o077 == 0
    assert not gallery.folder.exists()


@pytest.mark.parametrize("first", ['{"token": "wrong"}', '{"token": 5}', "[]", "not JSON", '{"start": true}', b"bytes"])
def test_a_conversation_begins_with_the_token(client: Client, control: PageControl, first: str | bytes) -> None:
    with client.talk() as page:
        page.send(first)
        with pytest.raises(ConnectionClosed) as refused:
            page.recv(WAIT_S)
    assert refused.value.rcvd is not None and refused.value.rcvd.code == 1008
    assert not control.requests()


def test_who_says_nothing_is_not_waited_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "FIRST_MESSAGE_S", 0.05)
    with client.talk() as page, pytest.raises(ConnectionClosed):
        page.recv(WAIT_S)


def _pictures_of(message: bytes) -> tuple[int, bytes, bytes]:
    number, length, _ = struct.unpack("<IId", message[:16])
    return number, message[16 : 16 + length], message[16 + length :]


def _next(page: ClientConnection) -> tuple[str, Any]:
    """Return the next message's kind and content."""
    message = page.recv(WAIT_S)
    return ("pictures", _pictures_of(message)) if isinstance(message, bytes) else ("state", json.loads(message))


def test_a_page_gets_states_and_pictures_no_faster_than_it_shows_them(client: Client, control: PageControl) -> None:
    with client.introduced() as page:
        assert _next(page) == ("state", {"phase": "idle", "photos": []})
        control.show(time.time(), None, plain_picture(90, 720, 1280))
        kind, (number, driver, sent) = _next(page)
        assert (kind, number, driver, sent[:2]) == ("pictures", 1, b"", b"\xff\xd8")
        for level in (100, 110, 120):  # the page is busy
            control.show(time.time(), plain_picture(level), plain_picture(level))
            time.sleep(0.02)
        control.publish(phase="running")
        assert _next(page) == ("state", {"phase": "running"})  # and no picture before it
        page.send(json.dumps({"shown": 1}))
        kind, (number, driver, _) = _next(page)
        assert (kind, number, driver[:2]) == ("pictures", 4, b"\xff\xd8")  # the newest, not the next


def test_a_driver_that_is_all_there_is_to_see_is_large(client: Client, control: PageControl) -> None:
    with client.introduced() as page:
        _next(page)
        widths = []
        for number, sent in enumerate((None, plain_picture(90)), start=1):
            control.show(time.time(), plain_picture(90, 360, 640), sent)
            _, (_, driver, _) = _next(page)
            widths.append(Pillow.open(io.BytesIO(driver)).width)
            page.send(json.dumps({"shown": number}))
    assert widths == [640, server_module.DRIVER_PX]


def test_requests_reach_the_loop_and_nonsense_does_not(client: Client, control: PageControl) -> None:
    with client.introduced() as page:
        for message in ('{"set": {"mouth": 1.5}}', "nonsense", "[1, 2]", '{"press": "panic"}'):
            page.send(message)
        asked: list[dict[str, Any]] = []
        for _ in range(100):
            asked += control.requests()
            if len(asked) >= 2:
                break
            time.sleep(0.02)
    assert asked == [{"set": {"mouth": 1.5}}, {"press": "panic"}]


def test_a_message_that_is_too_long_ends_its_conversation_alone(client: Client, control: PageControl) -> None:
    with client.introduced() as page, client.introduced() as other:
        page.send("x" * (server_module.MAX_MESSAGE + 1))
        with pytest.raises(ConnectionClosed):
            for _ in range(100):
                page.recv(WAIT_S)
        control.publish(phase="running")
        assert "phase" in _next(other)[1]


def test_it_listens_on_loopback_alone_and_a_taken_port_is_named(control: PageControl, gallery: Gallery) -> None:
    with StudioServer(control, gallery, TOKEN) as server:
        assert server._server._socket.getsockname()[0] == "127.0.0.1"
        assert server.url == f"http://127.0.0.1:{server.port}/#{TOKEN}"
        with pytest.raises(SinkError, match=rf"cannot serve at 127\.0\.0\.1:{server.port}"):
            StudioServer(control, gallery, TOKEN, server.port)


def test_large_pictures_are_reduced_for_the_page() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (720, 1280, 3)).astype(np.uint8)
    assert len(jpeg_of(noise, 320)) < len(jpeg_of(noise)) / 8


def test_a_full_disk_is_told_to_the_page_and_leaves_no_half_photo(
    client: Client, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        with open(path, "wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    answer = client.ask("POST", "/photos", PHOTO, x_name="me.png", **BEARER)
    assert answer.status == 400 and "me.png" in answer.error and "No space left" in answer.error
    assert not gallery.photos and not list(gallery.folder.iterdir())
