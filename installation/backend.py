"""The build backend of this project: setuptools, which first makes the models of the face tracker.

`pip install -r requirements.txt` comes through here, because that file installs the project itself, editably.
"""

from __future__ import annotations

from typing import Any

import tracker_models
from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


def build_wheel(*arguments: Any, **others: Any) -> str:
    """Make the models, then a wheel; see PEP 517."""
    tracker_models.make_missing()
    return build_meta.build_wheel(*arguments, **others)


def build_editable(*arguments: Any, **others: Any) -> str:
    """Make the models, then an editable wheel; see PEP 660."""
    tracker_models.make_missing()
    return build_meta.build_editable(*arguments, **others)
