"""A service for tests: the real web server and calls, and an engine that computes next to nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from avatarify_plus.config import AppConfig
from avatarify_plus.service.admission import Limits
from avatarify_plus.service.application import Access, Application, build_app
from avatarify_plus.service.service import Service
from avatarify_plus.types import Size
from avatarify_plus.web.http_server import HttpServer
from fakes import EXAMPLES, FakeEngine

TOKEN = "the-token-of-the-tests"


class Running(NamedTuple):
    """A service that runs."""

    server: HttpServer
    service: Service
    application: Application
    engine: FakeEngine

    @property
    def url(self) -> str:
        """Its address, without a token."""
        return f"http://127.0.0.1:{self.server.port}"


@contextlib.contextmanager
def running_service(callers: int = 2, port: int = 0, limits: Limits | None = None) -> Iterator[Running]:
    """Run a service on loopback."""
    limits = limits or Limits(photo_s=0.0)
    engine = FakeEngine("learned")
    config = AppConfig(avatar=(EXAMPLES / "avatar_2.jpg",), framing="none", size=Size(128, 96))
    with HttpServer("127.0.0.1", port, limits.message) as server, Service(config, engine, callers) as service:
        names = (f"127.0.0.1:{server.port}",)
        app, application = build_app(service, Access(TOKEN, names, limits=limits))
        server.start(app)
        yield Running(server, service, application, engine)
