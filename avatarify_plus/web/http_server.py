"""A web server in a thread of its own, which waits for nobody for long. uvicorn's home."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from avatarify_plus.errors import SinkError

REQUEST_S = 10.0
"""A connection asks for something within this time, or is closed."""

END_S = 5.0


class HurriedProtocol(H11Protocol):
    """HTTP for whom a request does not come a letter at a time."""

    def connection_made(self, transport: Any) -> None:
        """See asyncio."""
        super().connection_made(transport)
        self.loop.call_later(REQUEST_S, self._close_if_silent)

    def _close_if_silent(self) -> None:
        transport = self.transport
        has_asked = self.cycle is not None or transport.get_protocol() is not self
        if not has_asked and not transport.is_closing():
            transport.abort()


class HttpServer:
    """Serve an application in a thread of its own. A context manager. port: where it listens."""

    def __init__(
        self,
        host: str,
        port: int,
        max_message: int,
        most_connections: int = 256,
        certificate: tuple[Path, Path] | None = None,
        trusts_proxy: bool = False,
    ) -> None:
        """Take the port; nothing is answered before the block is entered.

        port: 0 takes a free one. max_message: bytes of a WebSocket's. certificate: files of certificate and key, for
        https. trusts_proxy: whether a proxy on this machine says who asks. Raises SinkError if the port is taken.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, port))
            self._socket.listen(128)  # who comes before the thread runs waits
        except (OSError, OverflowError) as error:
            self._socket.close()
            reason = getattr(error, "strerror", None) or error
            raise SinkError(f"cannot serve at {host}:{port}: {reason}") from error
        self.port: int = self._socket.getsockname()[1]
        self._options: dict[str, Any] = {
            "log_level": "critical",
            "lifespan": "off",
            "http": HurriedProtocol,
            "ws": "websockets-sansio",
            "ws_max_size": max_message,
            "ws_ping_interval": 5.0,
            "ws_ping_timeout": 5.0,
            "limit_concurrency": most_connections,
            "access_log": False,
            "server_header": False,
            "proxy_headers": trusts_proxy,
            "forwarded_allow_ips": "127.0.0.1",
        }
        if certificate is not None:
            self._options |= {"ssl_certfile": str(certificate[0]), "ssl_keyfile": str(certificate[1])}
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def start(self, app: ASGIApp) -> None:
        """Begin to answer. Raises SinkError if the certificate cannot be used."""
        try:
            config = uvicorn.Config(app, **self._options)
            config.load()
        except OSError as error:
            raise SinkError(f"cannot use the certificate: {error.strerror or error}") from error
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, args=(self._server,), name="web", daemon=True)
        self._thread.start()

    def _run(self, server: uvicorn.Server) -> None:
        async def serve() -> None:
            self.loop = asyncio.get_running_loop()
            await server.serve([self._socket])
            for connection in list(server.server_state.connections):  # uvicorn leaves those that are slow to close
                transport = getattr(connection, "transport", None)
                if transport is not None:
                    transport.abort()
            await asyncio.sleep(0)

        asyncio.run(serve())  # which ends what connections have left behind

    def __enter__(self) -> HttpServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = self._server.force_exit = True
            self._thread.join(END_S)
        self._socket.close()
