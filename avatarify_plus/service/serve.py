"""The command `avatarify serve`: avatars for callers on other machines."""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import ipaddress
import json
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from avatarify_plus import live
from avatarify_plus.config import AppConfig
from avatarify_plus.errors import ConfigError
from avatarify_plus.program.command_line import ProgramParser, configure_logging, run_program
from avatarify_plus.program.ending import DONE
from avatarify_plus.program.examples import example
from avatarify_plus.program.model_option import MODEL_HELP, SHIPPED_MODEL
from avatarify_plus.program.option_fields import choices_of, parse_size, positive
from avatarify_plus.program.stop import stop_on_signal
from avatarify_plus.remote.link import LOOPBACK, TOKEN
from avatarify_plus.remote.peer import IceServer
from avatarify_plus.service.admission import Limits
from avatarify_plus.service.application import Access, build_app
from avatarify_plus.service.service import Service
from avatarify_plus.session.avatars import photos_in
from avatarify_plus.web.http_server import HttpServer

logger = logging.getLogger(__name__)

DESCRIPTION = """\
Compute avatars for callers on other machines: by the page that this address shows, or by `avatarify --remote`.
Without a token, nothing is reached from beyond this computer."""

EXAMPLES = (
    "avatarify serve                                                               for this computer alone",
    "AVATARIFY_TOKEN=... avatarify serve --host 0.0.0.0 --name gpu.example.org --certificate c.pem --key k.pem",
    "AVATARIFY_TOKEN=... avatarify serve --behind-proxy --name gpu.example.org    a proxy on this computer does TLS",
)

MIN_TOKEN = 16
"""A token that others could reach is no shorter."""

PORT, HTTPS_PORT, MAX_PORT = 8470, 443, 65535
TURN_S = 600
"""So long a caller may use what a TURN server is asked with."""

LEAVE_S = 3.0
"""So long callers may take to leave when the service ends."""


class JsonLines(logging.Formatter):
    """Write each record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        known = ("event", "call", "seconds", "pictures", "dropped", "why")
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line | {name: getattr(record, name) for name in known if hasattr(record, name)})


def build_parser() -> ProgramParser:
    """Return the command line."""
    parser = ProgramParser(
        prog="avatarify serve", usage="avatarify serve [OPTIONS]", description=DESCRIPTION, examples=EXAMPLES
    )
    engines = choices_of(AppConfig.__dataclass_fields__["engine"], AppConfig.__annotations__["engine"])
    reached = parser.add_argument_group("who reaches it")
    reached.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this computer)")
    reached.add_argument("--port", type=parse_port, default=PORT, help=f"port, 0 for a free one (default: {PORT})")
    reached.add_argument(
        "--name", nargs="+", default=[], metavar="HOST[:PORT]", help="what the address is called in browsers"
    )
    reached.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"what callers must know (default: ${TOKEN}, or a new one)"
    )
    reached.add_argument("--certificate", type=Path, metavar="FILE", help="for https, with its chain, as PEM")
    reached.add_argument("--key", type=Path, metavar="FILE", help="the certificate's key, as PEM")
    reached.add_argument("--behind-proxy", action="store_true", help="a proxy on this computer receives https for it")
    media = parser.add_argument_group("how pictures find their way")
    media.add_argument("--stun", nargs="+", default=[], metavar="URL", help="such as stun:turn.example.org:3478")
    media.add_argument("--turn", nargs="+", default=[], metavar="URL", help="such as turns:turn.example.org:443")
    media.add_argument("--turn-secret-file", type=Path, metavar="FILE", help="the secret that this and TURN share")
    work = parser.add_argument_group("what it does")
    work.add_argument("--callers", type=positive, default=4, metavar="N", help="at a time, at most (default: 4)")
    work.add_argument("--avatar", type=Path, nargs="+", default=[], metavar="PHOTO", help="photos to offer, or folders")
    work.add_argument("--model", default=SHIPPED_MODEL, help=MODEL_HELP)
    work.add_argument("--engine", choices=engines, default="auto", help="what computes the pictures (default: auto)")
    work.add_argument("--gpu", type=int, default=0, metavar="NUMBER", help="which GPU computes, from 0 (default: 0)")
    work.add_argument("--size", type=parse_size, metavar="WxH", help="of the pictures that callers get")
    work.add_argument("--no-badge", action="store_true", help="do not mark the pictures as made by AI")
    work.add_argument("--call-minutes", type=positive, default=240, metavar="N", help="the longest call (default: 240)")
    work.add_argument("--log-format", choices=("text", "json"), default="text", help="of the log (default: text)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal comes, and return the exit code, see `program.command_line`."""
    with stop_on_signal() as stop:
        return run_program(lambda: _main(arguments, stop))


def _main(arguments: list[str] | None, stop: threading.Event) -> int:
    parser = build_parser()
    options = parser.parse_args(arguments)
    configure_logging(options.verbose, ("avatarify_plus.service", "avatarify_plus.live"))
    if options.log_format == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())
    try:
        token, is_new = read_token(options.token_file)
        check_reach(options, is_new)
        for path in (options.certificate, options.key):
            if path is not None and not path.is_file():
                raise ConfigError(f"there is no file {path}")
        turn_secret = _read(options.turn_secret_file) if options.turn_secret_file else ""
        bundled = [path for number in (2, 1, 3) if (path := example(f"avatar_{number}.jpg")).is_file()]
        config = AppConfig(
            avatar=tuple(photos_in(options.avatar or bundled)),
            model=options.model,
            engine=options.engine,
            gpu=options.gpu,
            size=options.size,
            badge=not options.no_badge,
        )
    except ConfigError as error:
        parser.error(str(error))
    is_local = options.host in LOOPBACK and not options.behind_proxy
    certificate = (options.certificate, options.key) if options.certificate else None
    limits = Limits(session_s=60.0 * options.call_minutes)
    with ExitStack() as stack:
        server = stack.enter_context(
            HttpServer(
                options.host,
                options.port,
                limits.message,
                most_connections=4 * options.callers + 2 * limits.unknown,
                certificate=certificate,
                trusts_proxy=options.behind_proxy,
            )
        )
        engine = stack.enter_context(live.open_wanted_engine(config))
        service = stack.enter_context(Service(config, engine, options.callers))
        names = _names(options, server.port)
        is_secure = certificate is not None or options.behind_proxy
        access = Access(token, names, is_secure, is_local, ice_servers(options.stun, options.turn, turn_secret), limits)
        app, application = build_app(service, access)
        server.start(app)
        stack.callback(lambda: _say_goodbye(server, application.ending, service))
        scheme, key = "https" if is_secure else "http", token if is_new else "THE_TOKEN"
        logger.info("avatars for up to %d callers at %s://%s/#%s", options.callers, scheme, names[0], key)
        stop.wait()
    return DONE


def parse_port(text: str) -> int:
    """Parse a port, 0 for a free one."""
    if not text.isdecimal() or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: it must be from 0 to {MAX_PORT}")
    return int(text)


def check_reach(options: argparse.Namespace, is_new_token: bool) -> None:
    """Raise ConfigError where what is asked for would be reached by those who should not reach it."""
    is_local = options.host in LOOPBACK
    if not is_local:
        try:
            ipaddress.ip_address(options.host)
        except ValueError:
            raise ConfigError(f"--host must be an address of this computer, found {options.host!r}") from None
    if not is_local and options.certificate is None:
        raise ConfigError(
            f"at {options.host} others can listen in: give --certificate and --key, or leave --host and let a proxy do "
            "TLS (--behind-proxy)"
        )
    if (options.certificate is None) != (options.key is None):
        raise ConfigError("--certificate and --key go together")
    if (not is_local or options.behind_proxy) and is_new_token:
        raise ConfigError(f"others can reach this: give a token, in --token-file or in the environment's {TOKEN}")
    if (not is_local or options.behind_proxy) and not options.name:
        raise ConfigError("others can reach this: give the --name that browsers know it by")
    if options.turn and options.turn_secret_file is None:
        raise ConfigError("--turn needs --turn-secret-file")


def read_token(path: Path | None) -> tuple[str, bool]:
    """Return the token and whether it is a new one. Raises ConfigError for one that is easily guessed."""
    token = _read(path) if path is not None else os.environ.get(TOKEN, "")
    if path is None and not token:
        return secrets.token_urlsafe(24), True
    if len(token) < MIN_TOKEN:
        better = secrets.token_urlsafe(24)
        raise ConfigError(f"the token has {len(token)} characters: take {MIN_TOKEN} or more, such as {better}")
    return token, False


def ice_servers(stun: list[str], turn: list[str], secret: str) -> Callable[[], list[IceServer]]:
    """Return what makes the list of servers for one call; TURN's passwords are good for TURN_S.

    They are made as coturn's `use-auth-secret` wants them (draft-uberti-behave-turn-rest).
    """

    def servers() -> list[IceServer]:
        found = [IceServer(tuple(stun))] if stun else []
        if turn:
            username = f"{int(time.time()) + TURN_S}:avatarify"
            password = base64.b64encode(hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()).decode()
            found.append(IceServer(tuple(turn), username, password))
        return found

    return servers


def _names(options: argparse.Namespace, port: int) -> list[str]:
    first = ["[::1]"] if options.host == "::1" else ["127.0.0.1"]
    own = [f"{host}:{port}" for host in (*first, "localhost")] if options.host in LOOPBACK else []
    if options.name and options.certificate is not None and port != HTTPS_PORT:  # which browsers leave out
        return [name if ":" in name else f"{name}:{port}" for name in options.name] + own
    return [*options.name, *own]


def _read(path: Path) -> str:
    """Return a file's one line. Raises ConfigError."""
    try:
        return path.read_text().strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def _say_goodbye(server: HttpServer, ending: Any, service: Service) -> None:
    """Have callers look for another place, and wait a moment for them to go."""
    if server.loop is None:
        return
    server.loop.call_soon_threadsafe(ending.set)
    end_s = time.monotonic() + LEAVE_S
    while service.callers and time.monotonic() < end_s:
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
