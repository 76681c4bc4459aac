"""How a program ends: its exit code, and the line that says what went wrong. Standard library only."""

from __future__ import annotations

import sys

NAME = "avatarify"
"""Every line on stderr starts with it."""

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: all is well; a failure that was reported in one line; wrong usage; ended by a signal such as Ctrl-C's."""


def in_one_line(text: str) -> str:
    """Return a text with all that ends a line, or that a terminal would obey, as escapes such as \\n."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def print_error(error: object) -> None:
    """Print an error in one line on stderr."""
    sys.stderr.write(f"{NAME}: error: {in_one_line(str(error))}\n")
