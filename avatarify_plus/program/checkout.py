"""Whether this package runs from a checkout of the project or is installed, and how its modules are started."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from avatarify_plus.program.examples import PACKAGE


def checkout() -> Path | None:
    """Return the project's folder if the package runs from there; None if it is installed."""
    root = PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() else None


def app_command() -> str:
    """Return what users type to start the app."""
    return "python run.py" if checkout() is not None else "avatarify"


def module_command(module: str, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs a module of this package in a process of its own, see `child_environment`."""
    return [sys.executable, "-m", module, *arguments]


def child_environment() -> dict[str, str]:
    """Return the environment in which `module_command` finds this very package from any folder."""
    environment = os.environ | {"PYTHONSAFEPATH": "1"}  # what lies in the current folder is not imported
    root = checkout()
    if root is not None:
        others = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([str(root), *([others] if others else [])])
    return environment
