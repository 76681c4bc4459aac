"""What a loop, a window and keys need of a session, wherever it computes."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from avatarify_plus.config import AppConfig
from avatarify_plus.pictures.images import Box, View
from avatarify_plus.session.timing import Timing
from avatarify_plus.types import Frame, Image, Size


class ShownAvatar(NamedTuple):
    """The current avatar. still: it at rest, (P, P, 3). number: its place, counting from 1. count: of all of them."""

    still: Image
    name: str
    number: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody calls on an avatar


class Driven(Protocol):
    """A session: takes frames, sends pictures. See `session.Session` for the meaning of its attributes."""

    config: AppConfig
    timing: Timing
    size: Size
    faceless_count: int
    is_panicking: bool
    passes_through: bool
    captured_at: float
    sent: Image

    @property
    def view(self) -> View | None:
        """What the model saw of the newest frame; None before the first."""
        ...

    @property
    def badge_box(self) -> Box | None:
        """Where the pictures are marked; None where they are not."""
        ...

    @property
    def is_limited(self) -> bool:
        """Whether the newest motion went beyond what training saw."""
        ...

    @property
    def neutral_score(self) -> float | None:
        """How good the neutral face is, from 0 to 1; None where none is needed."""
        ...

    @property
    def shown_avatar(self) -> ShownAvatar:
        """The current avatar."""
        ...

    def turn(self, frame: Frame) -> None:
        """Animate a frame and send the picture. Raises AvatarifyError."""
        ...

    def idle(self, time_s: float) -> None:
        """Send the newest picture again. Raises SinkError."""
        ...

    def change(self, **fields: Any) -> None:
        """Change fields of the config. Raises ConfigError."""
        ...

    def choose(self, number: int) -> None:
        """Show another avatar from the next frame on, by its place, counting from 1."""
        ...

    def step(self, places: int) -> None:
        """Show the avatar that comes `places` later from the next frame on."""
        ...

    def reload_avatars(self) -> None:
        """Look which photos there are now."""
        ...

    def recalibrate(self) -> None:
        """Take the next face as the neutral one."""
        ...
