"""The web application: the page, one WebSocket a caller, health and figures. It runs under any ASGI server.

The WebSocket is a caller's lease: by it the two ends agree on a connection for pictures, photos come in by it, and when
it closes, all that was the caller's is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from avatarify_plus.errors import RemoteError, SourceError
from avatarify_plus.remote.peer import IceServer, Peer
from avatarify_plus.service.admission import Doorkeeper, Limits, Rate
from avatarify_plus.service.caller import STATE_S, Caller
from avatarify_plus.service.figures import Figures
from avatarify_plus.service.photos import MAX_BYTES, decoded
from avatarify_plus.service.service import FullError, Service
from avatarify_plus.web.close_codes import FULL, REFUSED
from avatarify_plus.web.guard import PAGE, Guard, is_token
from avatarify_plus.web.page_control import changes_of

logger = logging.getLogger(__name__)

GOING = 1012
"""The code for callers who should look for another place: this process ends."""

DONE = 1000
"""The code for callers whose time is over: they come again when somebody presses Start."""

GONE = (WebSocketDisconnect, RuntimeError)
"""What Starlette raises when the other end is gone."""


@dataclass(frozen=True)
class Access:
    """How the application is reached and by whom.

    token: what callers must know. names: what it may be called, with its port where that is not the scheme's own.
    is_secure: whether it is reached by https. ice_servers: returns those of the moment, for both ends. is_local:
    whether all callers are on this machine.
    """

    token: str
    names: Collection[str]
    is_secure: bool = False
    is_local: bool = True
    ice_servers: Callable[[], list[IceServer]] = list
    limits: Limits = field(default_factory=Limits)


def page_routes() -> list[BaseRoute]:
    """Return the routes of the page itself, which need no engine."""
    return [Mount("/", StaticFiles(directory=PAGE, html=True))]


def guarded(access: Access, routes: list[BaseRoute], **others: Any) -> Starlette:
    """Return an application that answers nobody but the page, programs with the token, and checks of health."""
    schemes = ("https://",) if access.is_secure else ("http://",)
    guard = Middleware(
        Guard, names=access.names, schemes=schemes, lets_programs_in=True, public=("/health", "/metrics")
    )
    return Starlette(routes=routes, middleware=[guard], **others)


class Application:
    """Routes of one process and its service. ending: set it to have callers look for another place."""

    def __init__(self, service: Service, access: Access) -> None:
        self.figures = Figures(service)
        self.ending = asyncio.Event()
        self._service = service
        self._access = access
        self._door = Doorkeeper(access.limits)
        self._next_number = itertools.count(1).__next__

    def routes(self) -> list[BaseRoute]:
        """Return the routes for callers, for health and for figures."""
        return [
            Route("/health", self._health),
            Route("/metrics", self._metrics),
            WebSocketRoute("/talk", self.talk),
        ]

    async def _health(self, request: Request) -> Response:
        is_ending = self.ending.is_set()
        return JSONResponse(
            {"status": "ending" if is_ending else "ok", "free": self._service.free_places}, 503 if is_ending else 200
        )

    async def _metrics(self, request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not is_token(given, self._access.token):
            return JSONResponse({"error": "wrong token"}, 401)
        return Response(self.figures.text(), media_type=self.figures.content_type)

    async def talk(self, websocket: WebSocket) -> None:
        """Let a caller in who knows the token, and serve it until one end leaves."""
        address = websocket.client.host if websocket.client is not None else ""
        if not self._door.may_knock(address):
            self.figures.refuse("busy door")
            await websocket.close(FULL)
            return
        is_known = False
        try:
            await websocket.accept()
            is_known = await self._says_token(websocket)
        except (*GONE, KeyError, asyncio.TimeoutError, TimeoutError):  # KeyError: bytes instead of text
            is_known = False
        finally:
            self._door.leave_door(address, not is_known)
        if not is_known:
            self.figures.refuse("token")
            await _close(websocket, REFUSED, "wrong token")
            return
        try:
            if self.ending.is_set():
                raise FullError("the service is ending")
            caller = await self._service.admit()
        except (FullError, SourceError) as error:
            self.figures.refuse("full")
            await _close(websocket, FULL, str(error)[:100])
            return
        number, begun_s = self._next_number(), time.monotonic()
        logger.info("call %d begins", number, extra={"event": "begins", "call": number})
        call = Call(websocket, caller, self._access, self.figures, self.ending)
        try:
            await call.run()
        finally:
            await asyncio.shield(self._service.dismiss(caller))
            seconds = time.monotonic() - begun_s
            logger.info(
                "call %d ended after %.0f s and %d pictures: %s",
                *(number, seconds, caller.frame_count, call.end),
                extra={
                    "event": "ended",
                    "call": number,
                    "seconds": round(seconds, 1),
                    "pictures": caller.frame_count,
                    "dropped": caller.skipped_count,
                    "why": call.end,
                },
            )

    async def _says_token(self, websocket: WebSocket) -> bool:
        text = await asyncio.wait_for(websocket.receive_text(), self._access.limits.token_s)
        try:
            first = json.loads(text)
        except (ValueError, RecursionError):
            return False
        return isinstance(first, dict) and is_token(str(first.get("token", "")), self._access.token)


class Call:
    """One caller's WebSocket after the token. end: why it ended, for the log."""

    def __init__(
        self, websocket: WebSocket, caller: Caller, access: Access, figures: Figures, ending: asyncio.Event
    ) -> None:
        self.end = "the caller left"
        self._websocket = websocket
        self._caller = caller
        self._access = access
        self._figures = figures
        self._ending = ending
        self._offers = Rate(access.limits.offers)
        self._peer: Peer | None = None
        self._photo: tuple[str, bytearray, int] | None = None
        self._photo_s = -1e9
        self._adding: asyncio.Task[None] | None = None
        self._begun_s = time.monotonic()

    async def run(self) -> None:
        """Serve the caller until one end leaves."""
        servers = [server.for_pages for server in self._access.ice_servers()]
        self._caller.control.publish(ice=servers, max_photo_bytes=MAX_BYTES)
        self._caller.heard_s = time.monotonic()
        tasks = [asyncio.create_task(task()) for task in (self._listen, self._tell, self._watch)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            tasks += [self._adding] if self._adding is not None else []
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._caller.connect(None)
            if self._peer is not None:
                await self._peer.close()

    async def _listen(self) -> None:
        with contextlib.suppress(*GONE):
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                data = message.get("bytes")
                if data is not None:
                    await self._take_piece(data)
                else:
                    await self._obey(message.get("text") or "")

    async def _obey(self, text: str) -> None:
        try:
            request = json.loads(text)
        except (ValueError, RecursionError):
            return
        if not isinstance(request, dict):
            return
        if "offer" in request:
            await self._connect(request["offer"])
        elif "photo" in request:
            await self._begin_photo(request["photo"])
        elif request.get("hang_up"):
            await self._hang_up()
        else:
            self._caller.ask(request)

    # --- pictures ---

    async def _connect(self, offer: object) -> None:
        if not self._offers.may():
            self._figures.refuse("offers")
            await self._say(error="too many attempts to connect: wait a minute")
            return
        await self._hang_up()
        access = self._access
        peer = Peer(self._caller.take, access.ice_servers(), access.is_local)
        try:
            answer = await peer.answer(offer)  # type: ignore[arg-type]  # which checks what it is given
        except (RemoteError, asyncio.TimeoutError, TimeoutError) as error:
            await peer.close()
            self._figures.refuse("offer")
            await self._say(error=str(error) or "the connection takes too long")
            return
        self._peer = peer
        self._caller.heard_s = time.monotonic()
        self._caller.connect(peer)
        await self._say(answer=answer, error=None)

    async def _hang_up(self) -> None:
        if self._peer is not None:
            peer, self._peer = self._peer, None
            self._caller.connect(None)
            await peer.close()

    # --- photos ---

    async def _begin_photo(self, wanted: object) -> None:
        """Make ready for a photo's content, which follows in pieces."""
        self._photo = None
        if self._adding is not None and not self._adding.done():
            await self._say(photo_error="one photo at a time, please")
            return
        name, length = (wanted.get("name"), wanted.get("bytes")) if isinstance(wanted, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(length, int) or isinstance(length, bool) or length <= 0:
            await self._say(photo_error="a photo needs a name and a length")
        elif length > MAX_BYTES:
            self._figures.refuse("photo")
            await self._say(
                photo_error=f"photos may have {MAX_BYTES // 1_000_000} MB, this one has {length // 1_000_000}"
            )
        else:
            self._photo = name[:200], bytearray(), length

    async def _take_piece(self, data: bytes) -> None:
        if self._photo is None:
            return
        name, content, length = self._photo
        content.extend(data)
        if len(content) > length:
            self._photo = None
            await self._say(photo_error="the photo is longer than was said")
        elif len(content) == length:
            self._photo = None
            self._adding = asyncio.create_task(self._add_photo(name, bytes(content)))

    async def _add_photo(self, name: str, content: bytes) -> None:
        """Decode a photo, which is slow, and so is encoding in the thread that all share: not too often."""
        await asyncio.sleep(max(self._photo_s + self._access.limits.photo_s - time.monotonic(), 0))
        self._photo_s = time.monotonic()
        with contextlib.suppress(*GONE):
            try:
                photo = await asyncio.to_thread(decoded, name, content, self._caller.photos.next_number)
            except SourceError as error:
                await self._say(photo_error=str(error))
                return
            self._figures.photos.inc()
            self._caller.add_photo(photo)
            await self._say(photo_error=None, added=photo.path.name)

    # --- what the caller is told ---

    async def _tell(self) -> None:
        """Send what has changed of the state, from time to time."""
        told: dict[str, Any] = {}
        with contextlib.suppress(*GONE):
            while True:
                state = self._caller.control.state
                changes = changes_of(state, told)
                if changes:
                    await self._websocket.send_text(json.dumps(changes))
                    told = state
                await asyncio.sleep(STATE_S)
                self._caller.tick()

    async def _say(self, **words: Any) -> None:
        await self._websocket.send_text(json.dumps(words))

    async def _watch(self) -> None:
        """End the call when its time is over, nobody is there any more, or the process ends."""
        limits = self._access.limits
        while True:
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._ending.wait(), 1.0)
            now_s = time.monotonic()
            if self._ending.is_set():
                self.end, code = "the service ends", GOING
            elif now_s - self._begun_s > limits.session_s:
                self.end, code = "its time was over", DONE
            elif now_s - self._caller.heard_s > limits.silent_s:
                self.end, code = "no pictures came", DONE
            else:
                continue
            await _close(self._websocket, code, self.end)
            return


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    with contextlib.suppress(*GONE):
        await websocket.close(code, reason)


def build_app(service: Service, access: Access) -> tuple[Starlette, Application]:
    """Return the whole application of one machine: page, callers, health and figures."""
    application = Application(service, access)
    return guarded(access, [*application.routes(), *page_routes()]), application
