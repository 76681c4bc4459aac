"""The app's command line: photos, a driver, and where the pictures go."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatarify_plus.config import WEBCAM, WHO, AppConfig
from avatarify_plus.errors import ConfigError
from avatarify_plus.program.command_line import ProgramParser, configure_logging, run_program
from avatarify_plus.program.ending import DONE
from avatarify_plus.program.option_fields import add_fields
from avatarify_plus.program.stop import stop_on_signal

if TYPE_CHECKING:  # the rest is imported once signals are caught: OpenCV and others take their time
    from avatarify_plus.live import Summary

INFO_LOGGERS = (
    "avatarify_plus.live",
    "avatarify_plus.settings",
    "avatarify_plus.session.status_line",
    "avatarify_plus.camera",
    "avatarify_plus.remote",
    "avatarify_plus.sinks",
)
"""The loggers whose INFO messages are always shown; those of the others need --verbose."""

EXAMPLES = (
    "avatarify --avatar face.jpg                                     webcam to preview and virtual camera",
    "avatarify --avatar me.jpg friends/ --frame photo                several photos, whole",
    "avatarify --avatar face.jpg --camera talk.mp4 --output out.mp4  a video, frame by frame",
    "avatarify --avatar photos/ --camera talk.mp4 --output films/    the same with each photo of a folder",
    "avatarify doctor                                                what is amiss here, and how to mend it",
    "avatarify bench                                                 how fast it is here",
)


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


def build_parser() -> ProgramParser:
    """Return the command line: one option for each field of AppConfig, with its default and its help.

    Only what is given becomes an attribute, so that settings can stand in for the rest.
    """
    parser = ProgramParser(
        prog="avatarify",
        usage="avatarify --avatar PHOTO [--camera DRIVER] [--output FILE] [OPTIONS]",
        description="Animate the face in a photo with your own face.",
        examples=EXAMPLES,
        has_verbose=False,
        argument_default=argparse.SUPPRESS,
    )
    groups = add_fields(parser, AppConfig, only_given=True)
    groups[WEBCAM].add_argument(
        "--list-cameras", action=ListCameras, nargs=0, help="list the webcams and what they offer"
    )
    groups[WHO].add_argument(
        "--list-faces",
        type=Path,
        metavar="FILE.png",
        help="write the photo with its faces numbered, for --face, and leave; an existing file is replaced",
    )
    return parser


def markdown_table() -> str:
    """Return the options for docs/options.md."""
    lines = []
    for group in build_parser()._action_groups:
        actions = [action for action in group._group_actions if action.option_strings]
        if actions:
            lines += [f"**{group.title}**", "", "| option | meaning |", "|---|---|"]
            for action in actions:
                names = [name for name in action.option_strings if name.startswith("--")]
                value = f" {action.metavar}" if action.metavar and action.nargs != 0 else ""
                more = " ..." if action.nargs == "+" else ""
                shown = " ".join(f"`{name}{value}{more}`" for name in names).replace("|", "\\|")
                lines.append(f"| {shown} | {(action.help or '').replace('%%', '%')} |")
            lines.append("")
    return "\n".join(lines)


def config_of(given: Mapping[str, Any]) -> AppConfig:
    """Return the options given, for the rest the defaults. Raises ConfigError."""
    return AppConfig(**{**given, "avatar": tuple(given["avatar"])})


def describe_run(summary: Summary) -> str:
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


def main(arguments: list[str] | None = None) -> int:
    """Run the app and return the exit code, see `program.command_line`.

    The first Ctrl-C ends a run in order, with a recording that plays: that is DONE.
    """
    with stop_on_signal() as stop:
        return run_program(lambda: _main(arguments, stop))


def _main(arguments: list[str] | None, stop: threading.Event) -> int:
    parser = build_parser()
    given = vars(parser.parse_args(arguments))
    faces_file = given.pop("list_faces", None)
    from avatarify_plus import live, settings

    configure_logging(given.get("verbose", False), INFO_LOGGERS)
    try:
        config = config_of(given)
    except ConfigError as error:
        parser.error(str(error))
    if faces_file is not None:
        from avatarify_plus.session.face_list import list_faces

        print(list_faces(config.avatar, faces_file))
        return DONE
    kept = settings.KeptSettings(given) if config.config else None
    print(describe_run(live.run(config, stop=stop, kept=kept)))
    return DONE
