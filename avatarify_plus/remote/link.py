"""The connection of a webcam's machine with the one that computes the avatar, kept up in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import websockets
from websockets.asyncio.client import ClientConnection, connect

from avatarify_plus.errors import ConfigError, RemoteError
from avatarify_plus.pictures.images import at_most
from avatarify_plus.program.addresses import parts_of
from avatarify_plus.remote.peer import IceServer, Peer, Received
from avatarify_plus.remote.stamp import NUMBERS, read_stamp, stamp
from avatarify_plus.types import Frame, Image
from avatarify_plus.web.close_codes import FULL, REFUSED

logger = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")
RETRY_S, FULL_RETRY_S = 0.3, 3.0
"""After so long a lost server is looked for again, and one whose places are all taken."""

OPEN_S = 5.0
"""A server that does not answer within this time is not there."""

PIECE = 32_768
"""Photos are sent in pieces of so many bytes."""

MAX_PX = 960
"""Larger pictures of a webcam are shrunk to this longer side before they are sent: the face is seen well enough."""

SILENT_S, FIRST_S = 2.0, 8.0
"""After so long without a picture, while pictures are sent, the connection is made again; the first may take longer."""

LAST_NUMBERS = 512
"""Of so many sent pictures it is known when they were captured."""

TOKEN = "AVATARIFY_TOKEN"
"""The environment's name of the token."""


class RemotePicture(NamedTuple):
    """A picture of the avatar. captured_s: when the webcam's picture was captured, None if that is not known."""

    image: Image
    number: int | None
    captured_s: float | None


class RemoteLink:
    """Send the webcam's newest picture, keep the avatar's newest one, and look for a server that is lost.

    A context manager. All methods may be called by any thread.
    """

    def __init__(
        self,
        address: str,
        token: str,
        photos: Sequence[Path],
        values: Mapping[str, Any],
        certificate: Path | None = None,
    ) -> None:
        """Begin with the first photo; the others follow.

        address: http or https. values: how the avatar moves, see `web.session_page`. certificate: of a server that no
        authority vouches for. Raises ConfigError for an address that is none.
        """
        self._socket_address = socket_address(address)
        self.host = urllib.parse.urlsplit(self._socket_address).hostname or ""
        self._is_local = self.host in LOOPBACK
        self._token = token
        self._photos = list(photos)
        self._values = dict(values)
        self._tls = _tls(self._socket_address, certificate)
        self._changed = threading.Condition()
        self._picture: RemotePicture | None = None
        self._state: dict[str, Any] = {}
        self._trouble: str | None = f"looking for {self.host}"
        self._failure: RemoteError | None = None
        self._captured: dict[int, float] = {}
        self._sent_count = 0
        self._heard_s = self._sent_s = self._offered_s = 0.0
        self._sending: set[asyncio.Task[None]] = set()
        self._peer: Peer | None = None
        self._socket: ClientConnection | None = None
        self._files: dict[int, str] = {}  # what the server calls our photos
        self._chosen = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name="remote", daemon=True)

    def __enter__(self) -> RemoteLink:
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._soon(self._over.set)
        self._thread.join(OPEN_S)

    # --- for any thread ---

    @property
    def state(self) -> dict[str, Any]:
        """What the server says of the session; a copy."""
        with self._changed:
            return dict(self._state)

    @property
    def trouble(self) -> str | None:
        """What is wrong now, in one line; None if pictures travel."""
        with self._changed:
            return self._trouble

    @property
    def photo_count(self) -> int:
        """How many photos can be chosen."""
        return len(self._photos)

    @property
    def chosen(self) -> int:
        """The place of the chosen photo, counting from 0."""
        return self._chosen

    @property
    def chosen_photo(self) -> Path:
        """The chosen photo."""
        return self._photos[self._chosen]

    def send(self, frame: Frame) -> None:
        """Send a picture of the webcam; without a connection it is dropped."""
        peer = self._peer
        if peer is None or not peer.is_connected:
            return
        with self._changed:
            number = self._sent_count % NUMBERS
            self._sent_count += 1
            self._captured[number] = frame.captured_at
            self._captured.pop((number - LAST_NUMBERS) % NUMBERS, None)
            self._sent_s = time.monotonic()
        image = at_most(frame.image, MAX_PX)
        peer.send(stamp(image[: len(image) // 2 * 2], number), frame.captured_at)

    def newest(self, timeout_s: float) -> RemotePicture | None:
        """Return the avatar's newest picture that was not handed out yet; None if none comes in time.

        Raises RemoteError if the server will not have us.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._picture is not None or self._failure is not None, timeout_s)
            if self._failure is not None:
                raise self._failure
            picture, self._picture = self._picture, None
            return picture

    def ask(self, request: Mapping[str, Any]) -> None:
        """Ask the server for something, see `service.caller`; what is set is asked for again after a loss."""
        self._values |= request.get("set", {})
        self._soon(self._say, json.dumps(dict(request)))

    def choose(self, place: int) -> None:
        """Show a photo by its place, counting from 0."""
        self._chosen = place
        self._soon(self._show_chosen)

    def _soon(self, work: Callable[..., object], *arguments: object) -> None:
        """Have something done in the thread, unless it has not begun or has ended."""
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(work, *arguments)

    # --- in the thread ---

    def _run(self) -> None:
        async def keep_up() -> None:
            self._loop = asyncio.get_running_loop()
            self._begun.set()
            await self._keep_up()

        try:
            asyncio.run(keep_up())  # which ends what connections have left behind
        finally:
            if not self._over.is_set() and self._failure is None:
                self._fail(f"the connection to {self.host} has ended by an error of its own")

    async def _keep_up(self) -> None:
        while not self._over.is_set():
            wait_s = RETRY_S
            try:
                await self._call()
            except websockets.ConnectionClosed as closed:
                code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (0, "")
                if code == REFUSED:
                    self._fail(f"{self.host} does not let us in: {reason or 'wrong token'}")
                    return
                wait_s = FULL_RETRY_S if code == FULL else RETRY_S
                self._lose(f"{self.host}: {reason}" if reason else f"the connection to {self.host} broke off")
            except websockets.InvalidStatus as status:
                self._lose(f"{self.host} answers with HTTP {status.response.status_code}")
            except ssl.SSLCertVerificationError as error:
                self._fail(
                    f"the certificate of {self.host} cannot be trusted ({error.verify_message}): give it with "
                    "--remote-certificate FILE"
                )
                return
            except (OSError, TimeoutError, asyncio.TimeoutError, websockets.WebSocketException) as error:
                self._lose(f"cannot reach {self.host} ({str(error) or type(error).__name__})")
            except RemoteError as error:
                self._lose(str(error))
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._over.wait(), wait_s)

    async def _call(self) -> None:
        """Call the server until one end leaves."""
        proxy: Any = None if self._is_local else True
        async with connect(
            self._socket_address, ssl=self._tls, proxy=proxy, open_timeout=OPEN_S, ping_interval=2, ping_timeout=4
        ) as socket:
            await socket.send(json.dumps({"token": self._token}))
            self._read(await asyncio.wait_for(socket.recv(), OPEN_S))
            self._files.clear()
            self._socket = socket
            begins = asyncio.create_task(self._begin())
            ends = {asyncio.create_task(self._listen(socket)), asyncio.create_task(self._over.wait())}
            tasks = {begins, *ends}
            try:
                waiting = set(tasks)
                while waiting >= ends:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
            finally:
                self._socket = None
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._hang_up()

    async def _listen(self, socket: ClientConnection) -> None:
        while True:
            try:
                message = await asyncio.wait_for(socket.recv(), 0.5)
            except (asyncio.TimeoutError, TimeoutError):
                message = ""
            if message:
                self._read(message)
            if "answer" in self._state and self._peer is not None:
                await self._peer.accept(self._state.pop("answer"))
            now_s = time.monotonic()
            has_begun = self._heard_s > self._offered_s
            silent_s = now_s - (self._heard_s if has_begun else self._offered_s)
            is_silent = now_s - self._sent_s < 1 and silent_s > (SILENT_S if has_begun else FIRST_S)
            if self._peer is not None and (self._peer.is_lost or is_silent):
                self._lose(f"no pictures come from {self.host}")
                await self._connect()

    async def _begin(self) -> None:
        """Send what the avatar is made of, the first photo first, and connect for pictures meanwhile."""
        self._say(json.dumps({"set": self._values}))
        for place in (self._chosen, *(each for each in range(len(self._photos)) if each != self._chosen)):
            await self._send_photo(place)
            if place == self._chosen:
                await self._connect()

    async def _send_photo(self, place: int) -> None:
        path, socket = self._photos[place], self._socket
        assert socket is not None
        try:
            content = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            logger.warning("cannot read the photo %s: %s", path, error.strerror or error)
            return
        with self._changed:
            self._state.pop("added", None)
            self._state["photo_error"] = None
        await socket.send(json.dumps({"photo": {"name": path.name, "bytes": len(content)}}))
        for begin in range(0, len(content), PIECE):
            if self._state.get("photo_error"):
                break
            await socket.send(content[begin : begin + PIECE])
        while "added" not in self._state and not self._state.get("photo_error"):
            await asyncio.sleep(0.02)
        if "added" in self._state:
            self._files[place] = self._state.pop("added")
            self._show_chosen()
        elif place == self._chosen:
            self._fail(f"{self.host} cannot use the photo {path}: {self._state['photo_error']}")
        else:
            logger.warning("%s cannot use the photo %s: %s", self.host, path, self._state["photo_error"])

    async def _connect(self) -> None:
        await self._hang_up()
        servers = [
            IceServer(tuple(each["urls"]), each.get("username"), each.get("credential"))
            for each in self._state.get("ice", ())
        ]
        self._offered_s = time.monotonic()
        peer = Peer(self._receive, servers, self._is_local)
        offer = await peer.offer()
        self._state.pop("answer", None)
        self._peer = peer
        self._say(json.dumps({"offer": offer}))

    async def _hang_up(self) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            await peer.close()

    def _receive(self, received: Received) -> None:
        image, number = read_stamp(received.image())
        with self._changed:
            captured_s = None if number is None else self._captured.get(number)
            self._picture = RemotePicture(image, number, captured_s)
            self._heard_s = time.monotonic()
            if self._trouble is not None:
                logger.info("pictures come from %s", self.host)
            self._trouble = None
            self._changed.notify_all()

    def _read(self, message: str | bytes) -> None:
        """Take in a message of the server's. Raises RemoteError if it is none."""
        try:
            news = json.loads(message)
            if not isinstance(news, dict):
                raise ValueError("news are an object")
            with self._changed:
                self._state |= news
        except (ValueError, RecursionError) as error:
            raise RemoteError(f"{self.host} is no avatarify server") from error

    def _say(self, text: str) -> None:
        if self._socket is not None:
            task = asyncio.create_task(self._send_text(self._socket, text))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send_text(self, socket: ClientConnection, text: str) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            await socket.send(text)

    def _show_chosen(self) -> None:
        file = self._files.get(self._chosen)
        if file is not None:
            self._say(json.dumps({"choose": file}))

    def _lose(self, trouble: str) -> None:
        with self._changed:
            if self._trouble is None or self._trouble.startswith("looking"):
                logger.warning("%s; trying again", trouble)
            self._trouble = trouble

    def _fail(self, text: str) -> None:
        with self._changed:
            self._trouble, self._failure = text, RemoteError(text)
            self._changed.notify_all()


def socket_address(address: str) -> str:
    """Return the address of the WebSocket of a server's page. Raises ConfigError if it is none."""
    parts = parts_of(address if "://" in address else f"https://{address}")
    schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
    if parts is None or parts.scheme not in schemes or not parts.hostname:
        raise ConfigError(f"--remote must be an address such as https://gpu.example.org:8470, found {address!r}")
    if schemes[parts.scheme] == "ws" and parts.hostname not in LOOPBACK:
        raise ConfigError(
            "--remote over http would send your webcam and the token where others can read them: use https, or an SSH "
            "tunnel's end at 127.0.0.1"
        )
    return urllib.parse.urlunsplit((schemes[parts.scheme], parts.netloc, parts.path.rstrip("/") + "/talk", "", ""))


def _tls(address: str, certificate: Path | None) -> ssl.SSLContext | None:
    """Return what checks the server's certificate. Raises ConfigError if the file holds none."""
    if not address.startswith("wss:"):
        return None
    try:
        return ssl.create_default_context(cafile=None if certificate is None else str(certificate))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"--remote-certificate {certificate} cannot be used: {error}") from error
