"""avatarify_plus: one photo, one webcam, one virtual camera. `python run.py --help` tells the rest."""

from __future__ import annotations

import argparse
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from avatarify_plus.config import AppConfig
from avatarify_plus.errors import AvatarifyError, ConfigError
from avatarify_plus.stop import stop_on_signal
from avatarify_plus.types import Size

if TYPE_CHECKING:  # the rest is imported once signals are heeded: OpenCV and its like take their time
    from avatarify_plus.live import Summary

TELL_AT_INFO = (
    "avatarify_plus.live",
    "avatarify_plus.session.status_line",
    "avatarify_plus.camera",
    "avatarify_plus.sinks",
)
"""Parts whose news are for everybody; what the others tell is for --verbose."""


class ListCameras(argparse.Action):
    """Print the webcams and leave."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """See argparse."""
        from avatarify_plus.camera import describe, list_cameras

        print(describe(list_cameras()))
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """Return the command line: one option for each field of AppConfig, with its default and its help.

    Only what is given becomes an attribute, so that settings can stand in for the rest.
    """
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Animate the face in a photo with your own face.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--list-cameras", action=ListCameras, nargs=0, help="list the webcams and what they offer")
    types = get_type_hints(AppConfig)
    for option in fields(AppConfig):
        name = option.name.replace("_", "-")
        kind, text = types[option.name], option.metadata["help"].replace("%", "%%")
        if kind is bool:
            flag = f"--no-{name}" if option.default is True else f"--{name}"
            action = "store_false" if option.default is True else "store_true"
            parser.add_argument(flag, dest=option.name, action=action, help=text)
            continue
        is_required = option.default is MISSING
        parser.add_argument(
            f"--{name}",
            required=is_required,
            nargs="+" if get_origin(kind) is tuple else None,
            type=_parser_of(kind),
            choices=get_args(kind) if get_origin(kind) is Literal else None,
            metavar=option.metadata.get("metavar"),
            help=text if is_required or option.default is None else f"{text} (default: {option.default})",
        )
    return parser


def _parser_of(kind: Any) -> Any:
    """Return what turns an option's text into a field's type."""
    if get_origin(kind) is Literal:
        return str
    members = [member for member in get_args(kind) if member not in (NoneType, Ellipsis)] or [kind]
    parse = {float: _number, Size: _size}.get(members[0], members[0])
    return _or_auto(parse) if NoneType in get_args(kind) and parse in (_number, _size) else parse


def _or_auto(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if text == "auto" else parse(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _size(text: str) -> Size:
    width, _, height = text.partition("x")
    try:
        return Size(int(width), int(height))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write it like 1280x720") from None


def config_of(given: dict[str, Any], kept: dict[str, Any]) -> AppConfig:
    """Return the options given, for the rest the settings kept, for the rest the defaults. Raises ConfigError."""
    return AppConfig(**{**kept, **given, "avatar": tuple(given["avatar"])})


def tell(summary: Summary) -> str:
    """Return the closing lines for people."""
    if not summary.frame_count:
        return "stopped before the first frame"
    lines = [
        f"{summary.frame_count} frames in {summary.elapsed_s:.1f} s ({summary.fps:.1f} fps), "
        f"{summary.latency_p50_ms:.0f} ms a frame (median; 95 % within {summary.latency_p95_ms:.0f} ms), "
        f"engine {summary.engine} on {summary.device}"
    ]
    if summary.skipped_count:
        lines.append(f"{summary.skipped_count} camera frames were skipped for newer ones")
    if summary.faceless_count:
        lines.append(f"{summary.faceless_count} frames showed no face")
    if summary.output is not None:
        lines.append(f"wrote {summary.output}")
    return "\n".join(lines)


class LineFormatter(logging.Formatter):
    """Tell a log record in the form of the errors: `avatarify: warning: ...`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return f"avatarify: {record.levelname.lower()}: {super().format(record)}"


def configure_logging(verbose: bool) -> None:
    """Send to stderr which engine computes, and warnings; with `verbose` whatever this package tells."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("avatarify_plus").setLevel(logging.DEBUG if verbose else logging.NOTSET)
    for name in TELL_AT_INFO:
        logging.getLogger(name).setLevel(logging.NOTSET if verbose else logging.INFO)


def main(arguments: list[str] | None = None) -> int:
    """Run the app and return the exit code: 0, 1 for a failure that is told in one line, 2 for wrong usage."""
    with stop_on_signal() as stop:
        try:
            return _main(arguments, stop)
        except AvatarifyError as error:
            print(f"avatarify: error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:  # a second Ctrl-C, while closing
            return 0


def _main(arguments: list[str] | None, stop: threading.Event) -> int:
    parser = build_parser()
    given = vars(parser.parse_args(arguments))
    from avatarify_plus import live, settings

    uses_settings = given.get("config", True)
    configure_logging(given.get("verbose", False))
    kept = settings.load() if uses_settings else {}
    try:
        config = config_of(given, kept)
    except ConfigError as error:
        parser.error(str(error))
    if uses_settings and settings.notice_pending():
        print(settings.NOTICE, file=sys.stderr)
        settings.notice_told()
    summary = live.run(config, stop=stop, keep=settings.save if uses_settings else None)
    print(tell(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
