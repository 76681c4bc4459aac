"""The service as its callers meet it: who gets in, what they may ask for, and what is left of them: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import json
import re
import socket
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import cv2
import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from avatarify_plus.config import AppConfig
from avatarify_plus.remote.peer import Peer, Received
from avatarify_plus.remote.stamp import read_stamp, stamp
from avatarify_plus.service.admission import Limits
from avatarify_plus.service.application import DONE, FULL, GOING, Access, Application, build_app
from avatarify_plus.service.caller import Caller
from avatarify_plus.service.photos import MAX_BYTES
from avatarify_plus.service.service import Service
from avatarify_plus.types import Size
from avatarify_plus.web.guard import REFUSED
from avatarify_plus.web.http_server import HttpServer
from fakes import EXAMPLES, FakeEngine, plain_picture

TOKEN = "the-right-token-of-this-test"
WAIT_S = 5.0
TOO_BIG = 1009
SIZE = Size(320, 180)
OFFERED = (EXAMPLES / "avatar_1.jpg", EXAMPLES / "avatar_2.jpg")
QUICK = Limits(photo_s=0.0, offers=1000, wrong_tokens=1000, unknown_each=32)
PHOTO = bytes(cv2.imencode(".jpg", plain_picture(120, 400, 400))[1])
PIECE = 1000


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Page:
    """A caller's WebSocket. state: all that it was told."""

    def __init__(self, line: ClientConnection) -> None:
        self.state: dict[str, Any] = {}
        self.line = line

    def ask(self, **request: Any) -> None:
        self.line.send(json.dumps(request))

    def hear(self) -> dict[str, Any]:
        """Return the next message."""
        news: dict[str, Any] = json.loads(self.line.recv(WAIT_S))
        self.state |= news
        return news

    def wait(self, is_so: Callable[[dict[str, Any]], Any]) -> None:
        """Hear messages until what was told is so."""
        end_s = time.monotonic() + WAIT_S
        while not is_so(self.state):
            assert time.monotonic() < end_s, self.state
            self.hear()

    def end(self) -> tuple[int, str]:
        """Wait until the server closes; return its code and reason."""
        end_s = time.monotonic() + WAIT_S
        while time.monotonic() < end_s:
            try:
                self.hear()
            except ConnectionClosed as closed:
                assert closed.rcvd is not None, "closed without a word"
                return closed.rcvd.code, closed.rcvd.reason
        raise AssertionError("the server does not close")

    def bring(self, content: bytes, name: str = "me.jpg", length: int | None = None) -> None:
        """Send a photo in pieces."""
        self.state.pop("added", None)
        self.state["photo_error"] = None
        self.ask(photo={"name": name, "bytes": len(content) if length is None else length})
        for begin in range(0, len(content), PIECE):
            self.line.send(content[begin : begin + PIECE])


class Served(NamedTuple):
    """A service, its application and where it is."""

    service: Service
    application: Application
    engine: FakeEngine
    server: HttpServer

    @property
    def own(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Ask for something by HTTP."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=WAIT_S)
        connection.putrequest(method, path, skip_host=True)
        for name, value in ({"host": self.own} | headers).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        found = Answer(answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()})
        connection.close()
        return found

    @contextlib.contextmanager
    def line(self, host: str = "", origin: str | None = None) -> Iterator[ClientConnection]:
        """Open a WebSocket; a program's unless it has an origin."""
        stream = socket.create_connection(("127.0.0.1", self.server.port), WAIT_S)
        with connect(
            f"ws://{host or self.own}/talk", sock=stream, origin=None if origin is None else Origin(origin), proxy=None
        ) as line:
            yield line

    @contextlib.contextmanager
    def caller(self) -> Iterator[Page]:
        """Let a caller in."""
        with self.line() as line:
            page = Page(line)
            page.ask(token=TOKEN)
            page.hear()
            yield page

    def figures(self) -> dict[str, float]:
        """Return what /metrics says, by names with their labels."""
        text = self.get("/metrics", authorization=f"Bearer {TOKEN}").body.decode()
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        return {name.removeprefix("avatarify_"): float(value) for name, value in lines}


def until(is_so: Callable[[], Any]) -> None:
    """Wait until something is so."""
    end_s = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@contextlib.contextmanager
def serving(limits: Limits = QUICK, callers: int = 3) -> Iterator[Served]:
    """Run a service whose engine is a stand-in, as `avatarify serve` does."""
    config = AppConfig(avatar=OFFERED, framing="none", size=SIZE)
    engine = FakeEngine("learned")
    with HttpServer("127.0.0.1", 0, limits.message) as server, Service(config, engine, callers) as service:
        app, application = build_app(service, Access(TOKEN, [f"127.0.0.1:{server.port}"], limits=limits))
        server.start(app)
        yield Served(service, application, engine, server)


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    """A service that several tests use one after the other."""
    with serving() as served:
        yield served


@pytest.fixture
def served(shared: Served) -> Iterator[Served]:
    """The shared service, which must be empty again after each test."""
    yield shared
    until(lambda: not shared.service.callers and shared.service.free_places == 3)


# --- the page ---


def test_the_page_and_its_parts_are_served_with_strict_headers(served: Served) -> None:
    for path, words in (("/", b"<title>avatarify"), ("/call.js", b"RTCPeerConnection"), ("/stamp.js", b"readStamp")):
        answer = served.get(path)
        assert (answer.status, words in answer.body) == (200, True), path
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers
    for path in ("/../guard.py", "/%2e%2e/guard.py", "/..%2fguard.py", "/docs", "/talk"):
        assert served.get(path).status == 404


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("evil.example", None),  # a name that was made to point here
        ("127.0.0.1:1", None),
        ("", "http://evil.example"),
        ("", "null"),
        ("", "https://OWN"),
        ("", "http://OWN.evil.example"),
    ],
)
def test_strangers_get_nothing(served: Served, host: str, origin: str | None) -> None:
    origin = None if origin is None else origin.replace("OWN", served.own)
    headers = {name: value for name, value in (("host", host), ("origin", origin)) if value}
    for path in ("/", "/call.js", "/talk"):
        assert served.get(path, **headers).status == 403
    with pytest.raises(InvalidStatus) as refused, served.line(host, origin):
        pass
    assert refused.value.response.status_code == 403


def test_the_own_page_and_programs_may_talk(served: Served) -> None:
    for origin in (None, f"http://{served.own}"):
        with served.line(origin=origin) as line:
            page = Page(line)
            page.ask(token=TOKEN)
            assert page.hear()["mode"] == "call"


def test_nobody_can_post(served: Served) -> None:
    assert served.get("/", "POST").status == 403
    assert served.get("/", "POST", origin=f"http://{served.own}").status == 405


# --- the door ---


@pytest.mark.parametrize(
    "first",
    [
        '{"token": "wrong"}',
        '{"token": 5}',
        '{"token": null}',
        '{"token": true}',
        json.dumps({"token": [TOKEN]}),
        json.dumps({"token": {TOKEN: TOKEN}}),
        json.dumps({"token": ""}),
        json.dumps({"token": TOKEN + " "}),
        json.dumps({"Token": TOKEN}),
        json.dumps([TOKEN]),
        json.dumps(TOKEN),
        "[]",
        "",
        "not JSON",
        "[" * 60_000,
        '{"offer": "v=0"}',
    ],
    ids=lambda first: first[:24],
)
def test_a_call_begins_with_the_token(served: Served, first: str) -> None:
    name = 'refused_total{why="token"}'
    before = served.figures().get(name, 0)
    with served.line() as line:
        page = Page(line)
        line.send(first)
        assert page.end() == (REFUSED, "wrong token")
    assert served.service.free_places == 3 and page.state == {}
    assert served.figures()[name] == before + 1


def test_who_says_no_token_is_not_waited_for() -> None:
    with serving(Limits(token_s=0.05)) as served, served.line() as line:
        begun_s = time.monotonic()
        assert Page(line).end()[0] == REFUSED
        assert time.monotonic() - begun_s < 2


def test_so_many_may_stand_at_the_door() -> None:
    with serving(Limits(unknown_each=2)) as served:
        with served.line(), served.line():
            with pytest.raises(InvalidStatus), served.line():
                pass
            assert served.figures()['refused_total{why="busy door"}'] == 1
        until(lambda: not served.application._door._unknown)
        with served.caller() as page, served.line(), served.line():  # who is in, is not at the door
            page.ask(set={"mouth": 0.5})
            page.wait(lambda state: state["values"]["mouth"] == 0.5)


def test_who_guesses_tokens_is_shut_out_for_a_while_and_who_is_in_stays() -> None:
    with serving(Limits(wrong_tokens=2)) as served, served.caller() as page:
        for _ in range(2):
            with served.line() as line:
                guess = Page(line)
                guess.ask(token="guess")
                assert guess.end()[0] == REFUSED
        with pytest.raises(InvalidStatus), served.caller():
            pass
        page.ask(set={"mouth": 0.5})
        page.wait(lambda state: state["values"]["mouth"] == 0.5)


def test_a_full_service_says_so_and_a_place_is_free_again_after_a_call() -> None:
    with serving(callers=1) as served:
        with served.caller():
            assert served.service.free_places == 0
            with served.line() as line:
                page = Page(line)
                page.ask(token=TOKEN)
                assert page.end() == (FULL, "all 1 places are taken")
            assert served.figures()['refused_total{why="full"}'] == 1
        until(lambda: served.service.free_places == 1)
        with served.caller() as page:
            assert page.state["mode"] == "call"


# --- what a caller is told and may ask for ---


def test_a_caller_is_told_what_the_page_needs(served: Served) -> None:
    with served.caller() as page:
        state = page.state
        assert (state["mode"], state["phase"], state["photo"]) == ("call", "idle", "avatar_1.jpg")
        assert [photo["file"] for photo in state["photos"]] == ["avatar_1.jpg", "avatar_2.jpg"]
        assert all(photo["thumbnail"].startswith("data:image/jpeg;base64,") for photo in state["photos"])
        assert (state["ice"], state["max_photo_bytes"]) == ([], MAX_BYTES)
        assert state["values"]["mouth"] == 1.0 and state["ranges"]["mouth"] and state["keys"]


def test_requests_change_how_the_avatar_moves_and_nobody_elses(served: Served) -> None:
    with served.caller() as page, served.caller() as other:
        page.ask(set={"mouth": 1.5, "lock_gaze": True})
        page.wait(lambda state: state["values"]["mouth"] == 1.5 and state["values"]["lock_gaze"])
        page.ask(press="panic")
        page.wait(lambda state: state.get("panicking"))
        page.ask(choose="avatar_2.jpg")
        page.wait(lambda state: state["photo"] == "avatar_2.jpg")
        other.ask(set={"head": 0.5})
        other.wait(lambda state: state["values"]["head"] == 0.5)
        assert (other.state["values"]["mouth"], other.state["photo"]) == (1.0, "avatar_1.jpg")
        assert not other.state["panicking"]


NONSENSE = (
    "nonsense",
    "",
    "[1, 2]",
    "5",
    "null",
    "NaN",
    "[" * 60_000,
    '{"set": 5}',
    '{"set": {"mouth": 99, "eyes": "wide", "zoom": NaN, "mirror_output": 1, "region": ["mouth"], "engine": "cpu"}}',
    '{"press": "quit"}',
    '{"press": ["panic"]}',
    '{"key": "\\u001b"}',
    '{"choose": "../../etc/passwd", "remove": {"file": "avatar_1.jpg"}}',
    '{"choose": "\\ud800"}',
    '{"added": "0001-me.jpg", "_obey_all": 1, "obey": 2, "": 3}',
    '{"photo": {"name": "me.jpg", "bytes": -1}}',
    '{"photo": {"name": ["me.jpg"], "bytes": true}}',
    '{"hang_up": true}',
    '{"offer": {"sdp": "v=0"}}',
    b"pieces of no photo",
    b"",
)


def test_nonsense_changes_nothing_and_ends_nothing(served: Served) -> None:
    with served.caller() as page:
        before = {name: page.state[name] for name in ("values", "photo", "photos")}
        for nonsense in NONSENSE:
            page.line.send(nonsense)
        page.ask(set={"mouth": 1.5})
        page.wait(lambda state: state["values"]["mouth"] == 1.5)
        after = {name: page.state[name] for name in before}
        assert after == before | {"values": before["values"] | {"mouth": 1.5}}
        assert not page.state["panicking"]
        assert len(served.service.callers) == 1


def test_a_message_that_is_too_long_ends_its_call_alone(served: Served) -> None:
    for message in ("x" * (QUICK.message + 1), bytes(QUICK.message + 1)):
        with served.caller() as page, served.caller() as other:
            page.line.send(message)
            assert page.end()[0] == TOO_BIG
            other.ask(set={"mouth": 0.5})
            other.wait(lambda state: state["values"]["mouth"] == 0.5)


def test_more_offers_than_may_be_are_refused_while_all_else_goes_on() -> None:
    with serving(Limits(offers=3)) as served, served.caller() as page, served.caller() as other:
        for _ in range(50):
            page.ask(offer="v=0\r\n")
        other.ask(set={"mouth": 0.5})
        other.wait(lambda state: state["values"]["mouth"] == 0.5)
        page.ask(set={"mouth": 1.5})
        errors: list[str] = []
        while len(errors) < 50:
            news = page.hear()
            errors += [news["error"]] if "error" in news else []
        page.wait(lambda state: state["values"]["mouth"] == 1.5)
        assert sum("one video" in error for error in errors) == 3
        assert errors.count("too many attempts to connect: wait a minute") == 47
        other.ask(offer="v=0\r\n")  # one's own attempts count, not others'
        other.wait(lambda state: "one video" in (state.get("error") or ""))
        figures = served.figures()
        assert (figures['refused_total{why="offers"}'], figures['refused_total{why="offer"}']) == (47, 4)


# --- photos ---


def test_a_photo_comes_in_pieces_is_shown_and_is_nobody_elses(served: Served) -> None:
    assert len(PHOTO) > 2 * PIECE
    with served.caller() as page, served.caller() as other:
        page.bring(PHOTO, "..\\../etc/mäx one.jpg")
        page.wait(lambda state: "added" in state and state["photo"] == state["added"])
        file = page.state["added"]
        assert file == "0001-mäx_one.jpg"
        page.wait(lambda state: len(state["photos"]) == 3)
        assert page.state["photos"][-1] | {"thumbnail": ""} == {"file": file, "name": "mäx_one", "thumbnail": ""}
        other.ask(choose=file, set={"mouth": 0.5})
        other.wait(lambda state: state["values"]["mouth"] == 0.5)
        assert (other.state["photo"], len(other.state["photos"])) == ("avatar_1.jpg", 2)
        page.ask(remove=file)
        page.wait(lambda state: len(state["photos"]) == 2 and state["photo"] == "avatar_1.jpg")


@pytest.mark.parametrize(
    ("content", "length", "error"),
    [
        (b"", MAX_BYTES + 1, r"photos may have 10 MB, this one has 10"),
        (b"", 10**12, r"photos may have 10 MB, this one has 1000000"),
        (b"", 0, r"a photo needs a name and a length"),
        (PHOTO, len(PHOTO) - 1, r"the photo is longer than was said"),
        (bytes(5000), None, r"cannot use me\.jpg: "),
        (PHOTO[:100], None, r"cannot use me\.jpg: "),
        (PHOTO[:800], None, r"me\.jpg is too small: "),
    ],
    ids=["too long", "far too long", "empty", "longer than was said", "zeros", "cut", "small"],
)
def test_a_photo_that_cannot_be_used_is_refused_and_the_next_is_taken(
    served: Served, content: bytes, length: int | None, error: str
) -> None:
    with served.caller() as page:
        page.bring(content, "x/me.jpg", length)
        page.wait(lambda state: state["photo_error"])
        found = page.state["photo_error"]
        assert re.match(error, found), found
        assert "\n" not in found and "memory" not in found
        page.bring(PHOTO)
        page.wait(lambda state: "added" in state and state["photo"] == state["added"])
        page.wait(lambda state: len(state["photos"]) == 3)


def test_photos_come_one_at_a_time_and_not_too_often() -> None:
    with serving(Limits(photo_s=0.4)) as served, served.caller() as page:
        page.bring(PHOTO, "first.jpg")
        page.wait(lambda state: "added" in state)
        begun_s = time.monotonic()
        page.bring(PHOTO, "second.jpg")
        page.ask(photo={"name": "third.jpg", "bytes": 5})
        page.wait(lambda state: state["photo_error"] == "one photo at a time, please")
        page.wait(lambda state: state.get("added") == "0002-second.jpg")
        assert time.monotonic() - begun_s > 0.3
        assert served.figures()["photos_total"] == 2


def test_so_many_photos_may_be_brought(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avatarify_plus.service.photos.MAX_COUNT", 1)
    with served.caller() as page:
        page.bring(PHOTO)
        page.wait(lambda state: len(state["photos"]) == 3)
        page.bring(PHOTO)
        page.wait(lambda state: "take one away first" in (state["photo_error"] or ""))
        page.ask(remove="0001-me.jpg")
        page.wait(lambda state: len(state["photos"]) == 2)
        page.bring(PHOTO)
        page.wait(lambda state: len(state["photos"]) == 3)


# --- health and figures ---


def test_health_is_for_everybody_and_says_how_many_may_come(served: Served) -> None:
    answer = served.get("/health", host="10.0.0.7:8470")
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok", "free": 3})
    with served.caller():
        assert json.loads(served.get("/health").body)["free"] == 2


def test_figures_need_the_token_and_count() -> None:
    with serving() as served:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer"}):
            answer = served.get("/metrics", **headers)
            assert (answer.status, b"callers" in answer.body) == (401, False)
        assert served.get(f"/metrics?token={TOKEN}").status == 401
        figures = served.figures()
        assert (figures["callers"], figures["free_places"], figures["photos_total"]) == (0, 3, 0)
        with served.caller() as page, served.caller():
            page.bring(PHOTO)
            page.wait(lambda state: "added" in state)
            page.ask(offer="v=0\r\n")
            page.wait(lambda state: state.get("error"))
            figures = served.figures()
            assert (figures["callers"], figures["free_places"], figures["photos_total"]) == (2, 1, 1)
            assert figures['refused_total{why="offer"}'] == 1
            assert figures["turns_total"] >= 2 and figures["turn_seconds_total"] > 0
        until(lambda: served.service.free_places == 3)
        figures = served.figures()
        assert (figures["callers"], figures["free_places"], figures["photos_total"]) == (0, 3, 1)


# --- ends ---


def test_who_leaves_in_the_middle_of_a_photo_leaves_nothing(served: Served) -> None:
    for pieces in (0, 1, 2):
        with served.caller() as page:
            page.ask(photo={"name": "me.jpg", "bytes": len(PHOTO)})
            for begin in range(pieces):
                page.line.send(PHOTO[begin * PIECE : (begin + 1) * PIECE])
        until(lambda: served.service.free_places == 3)


def test_a_line_that_breaks_ends_the_call(served: Served) -> None:
    with served.caller() as page:
        assert served.service.free_places == 2
        page.line.socket.close()
        until(lambda: not served.service.callers and served.service.free_places == 3)


def test_when_the_service_ends_callers_look_for_another_place() -> None:
    with serving() as served, served.caller() as page, served.caller() as other:
        loop = served.server.loop
        assert loop is not None
        loop.call_soon_threadsafe(served.application.ending.set)
        for each in (page, other):
            assert each.end() == (GOING, "the service ends")
        until(lambda: served.service.free_places == 3)
        answer = served.get("/health")
        assert (answer.status, json.loads(answer.body)["status"]) == (503, "ending")
        with served.line() as line:
            late = Page(line)
            late.ask(token=TOKEN)
            assert late.end() == (FULL, "the service is ending")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [(Limits(silent_s=0.1), "no pictures came"), (Limits(session_s=0.1), "its time was over")],
    ids=["silent", "long"],
)
def test_a_call_does_not_last_for_ever(limits: Limits, reason: str) -> None:
    with serving(limits) as served, served.caller() as page:
        assert page.end() == (DONE, reason)
        until(lambda: served.service.free_places == 3)


async def _talk_and_send(served: Served, see: Callable[[Caller], None]) -> dict[int, set[tuple[int, ...]]]:
    """Call, bring a photo, send pictures until some came back; return the shapes of these by their numbers."""
    found: dict[int, set[tuple[int, ...]]] = {}

    def take(received: Received) -> None:
        image, number = read_stamp(received.image())
        if number is not None:
            found.setdefault(number, set()).add(image.shape)

    async with connect_async(f"ws://{served.own}/talk", proxy=None) as socket:
        await socket.send(json.dumps({"token": TOKEN}))
        await socket.send(json.dumps({"photo": {"name": "me.jpg", "bytes": len(PHOTO)}}))
        await socket.send(PHOTO)
        peer = Peer(take, is_local=True)
        await socket.send(json.dumps({"offer": await peer.offer()}))
        state: dict[str, Any] = {}
        while "answer" not in state or "added" not in state or state["photo"] != state["added"]:
            state |= json.loads(await socket.recv())
        await peer.accept(state["answer"])
        number = 500
        while len(found) < 5:
            peer.send(stamp(plain_picture(90 + number % 50, 180, 320), number), number / 30)
            number += 1
            await asyncio.sleep(0.02)
        while state["phase"] != "running":
            state |= json.loads(await socket.recv())
        (caller,) = served.service.callers
        see(caller)
        del caller
    while not peer.is_lost:  # the WebSocket is the lease: without it the service closes its end of the pictures, too
        await asyncio.sleep(0.01)
    await peer.close()
    assert min(found) >= 500 and max(found) < number
    return found


def test_pictures_come_back_with_the_numbers_of_the_webcams_and_are_counted() -> None:
    with serving() as served:
        counts: list[int] = []
        work = _talk_and_send(served, lambda caller: counts.append(caller.frame_count))
        found = asyncio.run(asyncio.wait_for(work, 2 * WAIT_S))
        assert set().union(*found.values()) == {(SIZE.height, SIZE.width, 3)}
        until(lambda: served.service.free_places == 3)
        assert counts[0] >= 5
        assert served.figures()["pictures_total"] >= counts[0]


def test_nothing_is_left_of_a_caller_who_has_left() -> None:
    with serving() as served:
        left: list[weakref.ref[Any]] = []

        def see(caller: Caller) -> None:
            own = caller.photos.photos[-1]
            assert own.is_own
            left.extend((weakref.ref(caller), weakref.ref(own.image), weakref.ref(caller._session)))

        asyncio.run(asyncio.wait_for(_talk_and_send(served, see), 2 * WAIT_S))
        until(lambda: not served.service.callers and served.service.free_places == 3)
        served.engine.sources.clear()  # the stand-in remembers what it was given

        def is_gone() -> bool:
            gc.collect()
            return not any(each() for each in left)

        assert len(left) == 3
        until(is_gone)


@pytest.mark.parametrize("first", [b'{"token": "x"}', '{"token": "\\ud800"}'])
def test_an_odd_first_message_is_a_wrong_token(first: str | bytes) -> None:
    with serving() as served:
        with served.line() as line:
            line.send(first)
            assert Page(line).end() == (REFUSED, "wrong token")
        assert served.figures()['refused_total{why="token"}'] == 1


def test_an_absurd_length_ends_nothing() -> None:
    with serving() as served, served.caller() as page:
        page.line.send('{"photo": {"name": "me.jpg", "bytes": %s}}' % ("9" * 400))
        page.ask(set={"mouth": 1.5})
        page.wait(lambda state: state["values"]["mouth"] == 1.5)
