"""Who may see the page: its own address, its own origin, and a token. The headers that keep it to itself."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from pathlib import Path

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from avatarify_plus.web.close_codes import REFUSED

PAGE = Path(__file__).parent / "page"
"""The folder of the page, as it is served."""

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuse who does not come from the page itself: other hosts' names (DNS rebinding) and other pages' requests.

    Programs that send no Origin may open a WebSocket only where `lets_programs_in` says so: a browser always sends it.
    """

    def __init__(
        self,
        app: ASGIApp,
        names: Collection[str],
        schemes: Collection[str] = ("http://",),
        lets_programs_in: bool = False,
        public: Collection[str] = (),
    ) -> None:
        """names: what the address may be called, with its port where that is not the scheme's own. public: paths that
        are answered whatever the request calls the address, such as checks of health."""
        self._app = app
        self._names = frozenset(names)
        self._origins = frozenset(scheme + name for scheme in schemes for name in names)
        self._lets_programs_in = lets_programs_in
        self._public = frozenset(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, see ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if not self._is_own(scope):
            if scope["type"] == "websocket":
                await WebSocket(scope, receive, send).close(REFUSED)
            else:
                await Response("not from here", 403)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _is_own(self, scope: Scope) -> bool:
        """Return whether a request may come from the page itself."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and scope["path"] in self._public:
            return True
        origin = headers.get("origin")
        if headers.get("host") not in self._names:
            return False
        if origin is not None:
            return origin in self._origins
        if scope["type"] == "websocket":
            return self._lets_programs_in
        return scope["method"] in ("GET", "HEAD")


def is_token(given: str, token: str) -> bool:
    """Compare tokens in a time that says nothing about them."""
    return hmac.compare_digest(given.encode(errors="replace"), token.encode())
