"""What all command lines have in common: help, errors, exit codes, the log and reports. Standard library only."""

from __future__ import annotations

import argparse
import io
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from avatarify_plus import __version__
from avatarify_plus.errors import AvatarifyError, SinkError
from avatarify_plus.program.ending import DONE, FAILED, INTERRUPTED, NAME, USAGE, in_one_line, print_error
from avatarify_plus.program.model_option import MODEL_HELP
from avatarify_plus.program.whole_file import save_result

logger = logging.getLogger(__name__)

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 14)
"""The Pythons that all packages are built for."""

STDOUT = "-"
"""What stands for the standard output where a file is expected."""


class ProgramParser(argparse.ArgumentParser):
    """A parser with --version and --verbose, whose complaint about a wrong option is one line."""

    def __init__(
        self,
        prog: str | None = None,
        description: str | None = None,
        examples: Sequence[str] = (),
        has_verbose: bool = True,
        argument_default: Any = None,
        **others: Any,
    ) -> None:
        """Make a parser.

        examples: command lines that --help shows at its end. has_verbose: whether to add --verbose; a program whose
        options come from a dataclass with that field adds it itself. others: see argparse.
        """
        super().__init__(
            prog=prog,
            description=description,
            epilog="\n".join(["examples:", *(f"  {example}" for example in examples)]) if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            argument_default=argument_default,
            allow_abbrev=False,
            **others,
        )
        self.add_argument("--version", action="version", version=f"avatarify_plus {__version__}")
        if has_verbose:
            self.add_argument(
                "--verbose",
                action="store_true",
                default=False,
                help="log what happens, and let the libraries log it too",
            )

    def parse_known_args(self, *given: Any, **named: Any) -> Any:
        """Parse arguments, see argparse. Every program starts here, before it prints anything."""
        escape_what_consoles_lack()
        return super().parse_known_args(*given, **named)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong in one line and exit with USAGE."""
        self.exit(USAGE, f"{NAME}: error: {in_one_line(message)} (see {self.prog} --help)\n")


def escape_what_consoles_lack() -> None:
    """Have stdout and stderr show characters that they cannot encode as escapes such as \\u0444.

    A Windows console or pipe may know few letters, and a file's name may hold any: no work is lost over that.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class LineFormatter(logging.Formatter):
    """Write warnings and errors as `avatarify: warning: ...`, and what is only informative as it is."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = super().format(record)
        return line if record.levelno <= logging.INFO else f"{NAME}: {record.levelname.lower()}: {line}"


def configure_logging(is_verbose: bool, info_loggers: Sequence[str] = ()) -> None:
    """Send warnings to stderr, and everything that this project logs if `is_verbose`.

    info_loggers: names of the loggers whose INFO messages are shown without --verbose, too.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in ("avatarify_plus", "export", "training"):
        logging.getLogger(name).setLevel(logging.DEBUG if is_verbose else logging.NOTSET)
    for name in info_loggers:
        logging.getLogger(name).setLevel(logging.NOTSET if is_verbose else logging.INFO)


def run_program(work: Callable[[], int | None]) -> int:
    """Do a program's work and return its exit code: what the work returns, DONE for None.

    An AvatarifyError is printed in one line and becomes FAILED, Ctrl-C becomes INTERRUPTED. So are what no part of the
    program has words of its own for: a name that the system cannot take, a device that fails, memory that is short.
    """
    try:
        return work() or DONE
    except AvatarifyError as error:
        print_error(error)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        logger.debug("where that happened", exc_info=True)
        place = "" if error.filename is None else f"{error.filename}: "
        print_error(f"{place}{error.strerror or error}")
        return FAILED
    except MemoryError:
        logger.debug("where that happened", exc_info=True)
        print_error("there is not enough memory for this")
        return FAILED


def python_problem(version: tuple[int, ...] = sys.version_info[:2]) -> str | None:
    """Return why the app cannot run on this version of Python, such as (3, 13), in one line; None if it can."""
    if OLDEST_PYTHON <= version[:2] <= NEWEST_PYTHON:
        return None
    found, oldest, newest = (".".join(map(str, limit[:2])) for limit in (version, OLDEST_PYTHON, NEWEST_PYTHON))
    return (
        f"this is Python {found}, but MediaPipe is built for {oldest} to {newest} only: make the virtual environment "
        f"with python{newest}"
    )


def add_model_option(parser: argparse.ArgumentParser, default: str | None, of: str = "") -> None:
    """Add --model, which every program names a bundle by. of: words that follow in its help."""
    shown = f" (default: {default})" if default is not None else ""
    parser.add_argument("--model", metavar="BUNDLE", default=default, help=f"{MODEL_HELP}{of}{shown}")


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Add the positional `model`, for programs that make something of one bundle."""
    parser.add_argument("model", metavar="BUNDLE", help=MODEL_HELP)


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add --json, see `print_report`."""
    parser.add_argument(
        "--json", metavar="FILE", help=f"write everything there as JSON too; {STDOUT} prints the JSON and nothing else"
    )


def print_report(text: str, values: Any, json_file: str | None) -> None:
    """Print a report for people, and write its values where --json says.

    values: what `json` can write. json_file: a file's name, "-" to print the JSON instead of the text, None for no
    JSON. Raises SinkError if the file cannot be written; the values are then kept in a temporary file that the message
    names.
    """
    if json_file != STDOUT:
        sys.stdout.write(text.rstrip("\n") + "\n")
    write_json(values, json_file)


def write_json(values: Any, json_file: str | None) -> None:
    """Write values where --json says, see `print_report`; for programs that print their text as they go."""
    written = json.dumps(values, indent=1) + "\n"
    if json_file == STDOUT:
        sys.stdout.write(written)
    elif json_file is not None:
        save_result(Path(json_file), written)


def require_json_file(json_file: str | None) -> None:
    """Raise SinkError unless --json can be written: checked before what takes minutes is computed."""
    if json_file is not None and json_file != STDOUT:
        require_writable(Path(json_file), "--json")


def require_writable(path: Path, option: str) -> None:
    """Raise SinkError unless a file can be written at a path; an existing one is left as it is.

    option: which option named it, for the message.
    """
    is_new = not path.exists()
    try:
        with open(path, "ab"):
            pass
        if is_new:
            path.unlink()
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error}; choose another file for {option}") from error


def require_place(path: Path, option: str) -> None:
    """Make the folder of a file. Raises SinkError unless the file can be written there.

    option: which option named it, for the message.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error}; choose another place for {option}") from error
    require_writable(path, option)
