"""The same service on several machines, by Ray Serve, whose home this is: replicas hold engines and calls.

A call's WebSocket is one request for Serve, from its first moment to its last: by it Serve places callers, counts them,
adds and drains replicas. Pictures travel between the caller and the replica, not through Serve. docs/serving.md has the
recipe: `serve run avatarify_plus.service.cluster:calls` with options, and beside it `...:page`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import serve
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from avatarify_plus import live
from avatarify_plus.config import AppConfig
from avatarify_plus.errors import ConfigError
from avatarify_plus.program.examples import example
from avatarify_plus.program.model_option import SHIPPED_MODEL
from avatarify_plus.remote.link import TOKEN
from avatarify_plus.service.admission import Limits
from avatarify_plus.service.application import Access, Application, guarded, page_routes
from avatarify_plus.service.capacity import LOAD
from avatarify_plus.service.serve import MIN_TOKEN, ice_servers
from avatarify_plus.service.service import Service

SPARE = 4
"""Serve may give a replica so many callers more than it takes, which it refuses itself: Serve would have them wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """What `serve run` is given, or a file of Serve's under `args`.

    names: what browsers call the address. callers: of one replica. replicas: the least and the most. gpus: of one
    replica, a fraction where several share one. drain_s: how long a replica that is to go keeps its callers. stun,
    turn, turn_secret_file: as of `avatarify serve`. is_local: whether all is on one machine, for trials.
    """

    names: tuple[str, ...]
    callers: int = 4
    replicas: tuple[int, int] = (1, 4)
    gpus: float = 0.0
    drain_s: float = 1800.0
    model: str = SHIPPED_MODEL
    engine: str = "auto"
    stun: tuple[str, ...] = ()
    turn: tuple[str, ...] = ()
    turn_secret_file: str = ""
    is_secure: bool = True
    is_local: bool = False

    @classmethod
    def of(cls, given: dict[str, Any]) -> ClusterOptions:
        """Return the options that were given. Raises ConfigError for one that does not exist."""
        unknown = set(given) - set(cls.__dataclass_fields__)
        if unknown or "names" not in given:
            raise ConfigError(f"unknown options {sorted(unknown)}" if unknown else "give `names`")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
        }
        return cls(**values)


def calls(given: dict[str, Any]) -> serve.Application:
    """Return the deployment that takes callers, for the route /talk."""
    options = ClusterOptions.of(given)

    def build() -> ASGIApp:
        return _replica(options)

    least, most = options.replicas
    deployment = serve.deployment(
        serve.ingress(build)(),
        name="calls",
        max_ongoing_requests=options.callers + SPARE,
        autoscaling_config={
            "min_replicas": least,
            "max_replicas": most,
            "target_ongoing_requests": max(LOAD * options.callers, 1),
            "upscale_delay_s": 2,
            "downscale_delay_s": 60,
        },
        graceful_shutdown_timeout_s=options.drain_s,
        ray_actor_options={"num_gpus": options.gpus},
    )
    return deployment.bind()


def page(given: dict[str, Any]) -> serve.Application:
    """Return the deployment of the page, for the route /: it needs no engine and answers when all places are taken."""
    options = ClusterOptions.of(given)

    def build() -> ASGIApp:
        return guarded(_access(options), page_routes())

    return serve.deployment(serve.ingress(build)(), name="page", num_replicas=1).bind()


def _replica(options: ClusterOptions) -> ASGIApp:
    """Open the engine and return the application of one replica, which closes it at its end."""
    config = AppConfig(
        avatar=tuple(path for number in (2, 1, 3) if (path := example(f"avatar_{number}.jpg")).is_file()),
        model=options.model,
        engine=options.engine,  # type: ignore[arg-type]  # which AppConfig checks
    )
    resources = ExitStack()
    engine = resources.enter_context(live.open_wanted_engine(config))
    service = resources.enter_context(Service(config, engine, options.callers))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with resources:
            yield

    application = Application(service, _access(options))
    app = guarded(_access(options), application.routes(), lifespan=lifespan)

    async def under_its_whole_path(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "root_path": ""}, receive, send)  # Serve would have it called "", which is no path

    return under_its_whole_path


def _access(options: ClusterOptions) -> Access:
    """Return who may come in. Raises ConfigError without a token in the environment."""
    token = os.environ.get(TOKEN, "")
    if len(token) < MIN_TOKEN:
        raise ConfigError(f"the environment's {TOKEN} must have at least {MIN_TOKEN} characters")
    secret = Path(options.turn_secret_file).read_text().strip() if options.turn_secret_file else ""
    servers = ice_servers(list(options.stun), list(options.turn), secret)
    return Access(token, options.names, options.is_secure, options.is_local, servers, Limits())
