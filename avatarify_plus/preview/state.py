"""What the preview shows, as a value."""

from __future__ import annotations

from typing import NamedTuple

from avatarify_plus.config import AppConfig
from avatarify_plus.pictures.images import Box
from avatarify_plus.types import FloatArray, Image


class PreviewState(NamedTuple):
    """One moment of a session.

    sent: (H, W, 3) as sent, None before the first. badge: the part of it with the mark, which stays readable in a
    mirrored preview. config: the options in force now; what keys change in it is shown for a moment. camera_view:
    (S, S, 3) the driver's square, None before the first. landmarks: (478, 3) its face mesh, x and y in [0, 1] of the
    square. avatar_still: (P, P, 3) the photo's square. avatar_number: counts from 1; 0 if its photo is gone.
    search_score: how good the neutral face is, from 0 to 1; None while there is none. camera_trouble, outputs_trouble:
    what is wrong, in one line for people; None if all is well. stats: speed and latency in one line.
    """

    sent: Image | None
    config: AppConfig
    badge: Box | None = None
    camera_view: Image | None = None
    landmarks: FloatArray | None = None
    has_face: bool = True
    is_dark: bool = False
    is_limited: bool = False
    avatar_still: Image | None = None
    avatar_name: str = ""
    avatar_number: int = 1
    avatar_count: int = 1
    search_score: float | None = None
    is_panicking: bool = False
    passes_through: bool = False
    shows_help: bool = False
    camera_trouble: str | None = None
    outputs_trouble: str | None = None
    stats: str = ""
