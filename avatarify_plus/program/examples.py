"""Where the example photo and clip lie: beside this project in a checkout, inside the package once it is installed."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def example(name: str) -> Path:
    """Return the path of an example, "avatar_2.jpg" or "driver.mp4"."""
    installed = PACKAGE / "examples" / name
    return installed if installed.exists() else PACKAGE.parent / "examples" / name
