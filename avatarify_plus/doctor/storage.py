"""Where the app writes: recordings and settings."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from avatarify_plus import settings
from avatarify_plus.doctor.finding import OK, WARNING, Finding, Wanted
from avatarify_plus.program.memory import MEGABYTE

MINUTE_MB = 30.0
"""What a minute of recording takes at most, at the size of call programs."""

MIN_MINUTES = 60
"""A recording should last as long as a meeting."""


def recordings(wanted: Wanted) -> Finding:
    """See whether a recording fits here."""
    return judge_recordings(Path.cwd(), shutil.disk_usage(Path.cwd()).free / MEGABYTE)


def judge_recordings(folder: Path, free_mb: float) -> Finding:
    """Say how long a recording into a folder may be."""
    message = f"{free_mb / 1000:.1f} GB free in {folder}, about {free_mb / MINUTE_MB:.0f} minutes"
    complaint = _complaint(folder)
    if complaint:
        return Finding(
            "recordings",
            WARNING,
            f"{folder} cannot be written: {complaint}",
            "record elsewhere: --output FOLDER/avatar.mp4 with a folder of yours",
        )
    if free_mb < MIN_MINUTES * MINUTE_MB:
        return Finding(
            "recordings", WARNING, message, "free some space, or record to another disk: --output OTHER-DISK/avatar.mp4"
        )
    return Finding("recordings", OK, message)


def settings_folder(wanted: Wanted) -> Finding:
    """See whether the settings can be kept."""
    try:
        return judge_settings_folder(settings.path().parent)
    except FileNotFoundError as error:
        return Finding(
            "settings folder",
            WARNING,
            f"{error.strerror}; what keys change is not kept",
            "set HOME to a folder of yours",
        )


def judge_settings_folder(folder: Path) -> Finding:
    """Say whether a folder can be written to, or created."""
    complaint = _complaint(folder)
    if complaint:
        return Finding(
            "settings folder",
            WARNING,
            f"{folder} cannot be written: {complaint}; what keys change is not kept",
            f"make it yours, or start the app with --no-config (owner and permissions of {_existing(folder)})",
        )
    return Finding("settings folder", OK, f"{folder} can be written")


def _complaint(folder: Path) -> str:
    """Return why nothing can be written into a folder, or nothing; leaves no trace."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _existing(folder: Path) -> Path:
    """Return the folder itself, or the nearest one above it that exists."""
    return next((path for path in (folder, *folder.parents) if path.exists()), folder)


CHECKS = (recordings, settings_folder)
