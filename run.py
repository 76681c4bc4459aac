"""avatarify_plus: one photo, one webcam, one virtual camera. `python run.py --help` tells the rest."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from avatarify_plus import live
from avatarify_plus.config import AppConfig
from avatarify_plus.errors import AvatarifyError, ConfigError
from avatarify_plus.live import Summary, run


def build_parser() -> argparse.ArgumentParser:
    """Return the command line: one option for each field of AppConfig, with its default and its help."""
    parser = argparse.ArgumentParser(
        prog="run.py", description="Animate the face in a photo with your own face.", allow_abbrev=False
    )
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
        default = None if is_required else option.default
        parser.add_argument(
            f"--{name}",
            required=is_required,
            default=default,
            type=_parser_of(kind),
            choices=get_args(kind) if get_origin(kind) is Literal else None,
            metavar=option.metadata.get("metavar"),
            help=text if is_required or kind == Path | None else f"{text} (default: {_shown(default)})",
        )
    return parser


def _parser_of(kind: Any) -> Any:
    """Return what turns an option's text into a field's type."""
    if kind == float | None:
        return _number_or_auto
    if get_origin(kind) is Literal:
        return str
    return next((member for member in get_args(kind) if member is not NoneType), kind)


def _number_or_auto(text: str) -> float | None:
    try:
        return None if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor auto") from None


def _shown(default: Any) -> Any:
    return "auto" if default is None else default


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
        lines.append(f"{summary.faceless_count} frames showed no face and repeat the last picture")
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
    logging.getLogger(live.__name__).setLevel(logging.NOTSET if verbose else logging.INFO)


def main(arguments: list[str] | None = None) -> int:
    """Run the app and return the exit code: 0, 1 for a failure that is told in one line, 2 for wrong usage."""
    parser = build_parser()
    values = vars(parser.parse_args(arguments))
    try:
        config = AppConfig(**values)
    except ConfigError as error:
        parser.error(str(error))
    configure_logging(config.verbose)
    try:
        summary = run(config)
    except AvatarifyError as error:
        print(f"avatarify: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # a second Ctrl-C, while closing
        return 0
    print(tell(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
