"""The studio's web server: the page, one WebSocket a page, and photos that come in. On loopback only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import struct
import urllib.parse
from types import TracebackType
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from avatarify_plus.errors import SourceError
from avatarify_plus.pictures.jpeg import jpeg_of
from avatarify_plus.studio.gallery import MAX_BYTES, Gallery
from avatarify_plus.web.close_codes import REFUSED
from avatarify_plus.web.guard import PAGE, Guard, is_token
from avatarify_plus.web.http_server import HttpServer
from avatarify_plus.web.page_control import PageControl, Pictures, changes_of

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
DRIVER_PX, SENT_PX = 256, 960
"""The longest side of the pictures as a page gets them; the driver's is the second's where there is no other."""

MAX_MESSAGE = 16_384
"""No request of a page is longer, in bytes."""

FIRST_MESSAGE_S = 5.0
"""A page says the token within this time."""

STATE_S = 0.1
"""States are sent at most so often."""


class StudioServer:
    """Serve a studio in a thread of its own. A context manager; `url` opens the page, with the token in it."""

    def __init__(self, control: PageControl, gallery: Gallery, token: str, port: int = 0) -> None:
        """port: 0 takes a free one. Raises SinkError if it is taken."""
        self._server = HttpServer(HOST, port, MAX_MESSAGE)
        self.port = self._server.port
        self.url = f"http://{HOST}:{self.port}/#{token}"
        self._app = build_app(control, gallery, token, self.port)

    def __enter__(self) -> StudioServer:
        self._server.start(self._app)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)


def build_app(control: PageControl, gallery: Gallery, token: str, port: int) -> Starlette:
    """Return the web application. port: where it is reached, for the check of who asks."""
    names = (f"{HOST}:{port}", f"localhost:{port}")

    async def add_photo(request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not is_token(given, token):
            return JSONResponse({"error": "wrong token"}, 401)
        name = urllib.parse.unquote(request.headers.get("x-name", "photo"))[:200]
        try:
            data = await _read(request, MAX_BYTES)
            photo = await asyncio.to_thread(gallery.add, name, data)
        except SourceError as error:
            return JSONResponse({"error": str(error)}, 400)
        control.ask({"photos": True, "choose": photo.path.name})
        return JSONResponse({"name": photo.path.name})

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            first = json.loads(await asyncio.wait_for(websocket.receive_text(), FIRST_MESSAGE_S))
            if not isinstance(first, dict) or not is_token(str(first.get("token", "")), token):
                await websocket.close(REFUSED, "wrong token")
                return
        except (ValueError, KeyError, TimeoutError, asyncio.TimeoutError, WebSocketDisconnect, RuntimeError):
            with contextlib.suppress(RuntimeError):
                await websocket.close(REFUSED, "no token")
            return
        await _Conversation(control, websocket).run()

    return Starlette(
        routes=[
            Route("/photos", add_photo, methods=["POST"]),
            WebSocketRoute("/talk", talk),
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ],
        middleware=[Middleware(Guard, names=names)],
    )


class _Conversation:
    """One page: its requests to the loop, the newest pictures and states to it, never more than it can show."""

    def __init__(self, control: PageControl, websocket: WebSocket) -> None:
        self._control = control
        self._websocket = websocket
        self._news = asyncio.Event()
        self._shown = 0
        self._sent_number = 0

    async def run(self) -> None:
        """Talk until the page is gone."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the server is ending
                loop.call_soon_threadsafe(self._news.set)

        end = self._control.watch(wake)
        tasks = [asyncio.create_task(task()) for task in (self._listen, self._send_pictures, self._send_states)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                try:
                    request = json.loads(await self._websocket.receive_text())
                except (ValueError, RecursionError):
                    continue
                if not isinstance(request, dict):
                    continue
                if "shown" in request:
                    self._shown = request["shown"] if isinstance(request["shown"], int) else self._shown
                    self._news.set()
                else:
                    self._control.ask(request)

    async def _send_pictures(self) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                await self._news.wait()
                self._news.clear()
                pictures = self._control.pictures
                if pictures.number == self._sent_number or self._shown < self._sent_number:
                    continue
                message = await asyncio.to_thread(_message_of, pictures)
                self._sent_number = pictures.number
                await self._websocket.send_bytes(message)

    async def _send_states(self) -> None:
        told: dict[str, Any] = {}
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                state = self._control.state
                changes = changes_of(state, told)
                if changes:
                    await self._websocket.send_text(json.dumps(changes))
                    told = state
                await asyncio.sleep(STATE_S)


def _message_of(pictures: Pictures) -> bytes:
    """Return pictures as a page takes them.

    Little endian: their number, the first one's length, when they were captured in ms since 1970; then two JPEGs.
    """
    driver_px = SENT_PX if pictures.sent is None else DRIVER_PX
    driver, sent = (
        b"" if image is None else jpeg_of(image, most_px)
        for image, most_px in ((pictures.driver, driver_px), (pictures.sent, SENT_PX))
    )
    return struct.pack("<IId", pictures.number, len(driver), 1000 * pictures.captured_s) + driver + sent


async def _read(request: Request, most: int) -> bytes:
    """Return a request's body. Raises SourceError as soon as it is too long."""
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > most:
            raise SourceError(f"the photo has more than {most / 1e6:.0f} MB")
        parts.append(part)
    return b"".join(parts)
