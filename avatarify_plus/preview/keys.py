"""Which key does what: the one table that the keyboard, the help in the preview and docs/options.md are made from."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

ESCAPE = 27

COARSE_SHIFT = 0.02
"""How far a key moves the driver's square, as a share of its side: five pixels of 256."""

FINE_SHIFT = 0.004
"""How far a key moves it with Shift: one pixel of 256."""


class Command(Enum):
    """What a key can ask for. In brackets: what the press's argument means."""

    CHOOSE_AVATAR = "choose avatar"
    """[the avatar's place, counting from 1]"""
    STEP_AVATAR = "step avatar"
    """[places to go forward]"""
    RELOAD_AVATARS = "reload avatars"
    RECALIBRATE = "recalibrate"
    SEARCH = "search"
    STRENGTH = "strength"
    """[steps up]"""
    SMOOTHING = "smoothing"
    """[steps up]"""
    MOUTH = "mouth"
    """[steps up]"""
    EYES = "eyes"
    """[steps up]"""
    BROWS = "brows"
    """[steps up]"""
    GAZE = "gaze"
    """[steps up]"""
    HEAD = "head"
    """[steps up]"""
    LOCK_GAZE = "lock gaze"
    REGION = "region"
    ZOOM = "zoom"
    """[steps in]"""
    SHIFT_X = "shift x"
    """[sides to the right]"""
    SHIFT_Y = "shift y"
    """[sides down]"""
    RESET_VIEW = "reset view"
    RESET_SETTINGS = "reset settings"
    OVERLAY = "overlay"
    """[steps up]"""
    MIRROR_PREVIEW = "mirror preview"
    MIRROR_OUTPUT = "mirror output"
    FACE = "face"
    STATS = "stats"
    PASSTHROUGH = "passthrough"
    PANIC = "panic"
    HELP = "help"
    QUIT = "quit"


class Press(NamedTuple):
    """A key was pressed: what it asks for, and how much of it where that makes sense."""

    command: Command
    argument: float = 0.0


class Binding(NamedTuple):
    """One line of the table: keys and, for each, the command's argument."""

    group: str
    keys: tuple[str, ...]
    command: Command
    arguments: tuple[float, ...]
    help: str

    @property
    def labels(self) -> tuple[str, ...]:
        """The keys as people read them; of many keys, only the first and the last."""
        return self.keys if len(self.keys) <= 3 else (f"{self.keys[0]}-{self.keys[-1]}",)


AVATAR, MOTION, FACE, VIEW = "Avatar", "Motion", "What follows you", "Your position"
PREVIEW, SENT, WINDOW = "Preview", "What is sent", "Window"

BINDINGS = (
    Binding(AVATAR, tuple("123456789"), Command.CHOOSE_AVATAR, tuple(range(1, 10)), "be the avatar of that number"),
    Binding(AVATAR, ("A", "D"), Command.STEP_AVATAR, (-1, 1), "previous or next avatar"),
    Binding(AVATAR, ("L",), Command.RELOAD_AVATARS, (0,), "read the photos again"),
    Binding(MOTION, ("X",), Command.RECALIBRATE, (0,), "take your face now as neutral"),
    Binding(MOTION, ("F",), Command.SEARCH, (0,), "look for a better neutral face, on or off"),
    Binding(MOTION, ("[", "]"), Command.STRENGTH, (-1, 1), "move less or more than you do"),
    Binding(MOTION, (",", "."), Command.SMOOTHING, (-1, 1), "smooth less or more"),
    Binding(FACE, ("Shift+M", "M"), Command.MOUTH, (-1, 1), "the mouth follows less or more"),
    Binding(FACE, ("Shift+E", "E"), Command.EYES, (-1, 1), "the same of the eyelids"),
    Binding(FACE, ("Shift+B", "B"), Command.BROWS, (-1, 1), "the same of the brows"),
    Binding(FACE, ("Shift+G", "G"), Command.GAZE, (-1, 1), "the same of the gaze"),
    Binding(FACE, ("Shift+N", "N"), Command.HEAD, (-1, 1), "the same of the head's nods and turns"),
    Binding(FACE, ("Y",), Command.LOCK_GAZE, (0,), "look into the camera, on or off"),
    Binding(FACE, ("V",), Command.REGION, (0,), "move all, expression, head, mouth or eyes alone"),
    Binding(VIEW, ("W", "S"), Command.ZOOM, (1, -1), "zoom in or out"),
    Binding(VIEW, ("H", "K"), Command.SHIFT_X, (-COARSE_SHIFT, COARSE_SHIFT), "move the view left or right"),
    Binding(VIEW, ("U", "J"), Command.SHIFT_Y, (-COARSE_SHIFT, COARSE_SHIFT), "move the view up or down"),
    Binding(VIEW, ("Shift+H", "Shift+K"), Command.SHIFT_X, (-FINE_SHIFT, FINE_SHIFT), "the same, finely"),
    Binding(VIEW, ("Shift+U", "Shift+J"), Command.SHIFT_Y, (-FINE_SHIFT, FINE_SHIFT), "the same, finely"),
    Binding(VIEW, ("Shift+Z",), Command.RESET_VIEW, (0,), "reset zoom and place"),
    Binding(PREVIEW, ("Z", "C"), Command.OVERLAY, (-1, 1), "lay the photo over you, less or more"),
    Binding(PREVIEW, ("R",), Command.MIRROR_PREVIEW, (0,), "mirror this window"),
    Binding(PREVIEW, ("O",), Command.FACE, (0,), "show the face that was found"),
    Binding(PREVIEW, ("I",), Command.STATS, (0,), "show speed and latency"),
    Binding(SENT, ("T",), Command.MIRROR_OUTPUT, (0,), "mirror what others see"),
    Binding(SENT, ("P",), Command.PANIC, (0,), "hide: send a still card, on or off"),
    Binding(SENT, ("0",), Command.PASSTHROUGH, (0,), "show yourself, on or off"),
    Binding(WINDOW, ("Shift+R",), Command.RESET_SETTINGS, (0,), "reset all that keys change"),
    Binding(WINDOW, ("?", "/"), Command.HELP, (0, 0), "show or hide these keys"),
    Binding(WINDOW, ("Esc",), Command.QUIT, (0,), "end; so does closing the window"),
)


def press_of(key_code: int) -> Press | None:
    """Return what a key asks for, None if nothing.

    key_code: the character that the key types; letters mean the same in both cases unless the table has the key with
    Shift.
    """
    return _PRESSES.get(key_code)


def markdown_table() -> str:
    """Return the table for docs/options.md."""
    lines = ["| keys | what they do | |", "|---|---|---|"]
    group = ""
    for binding in BINDINGS:
        keys = " ".join(f"`{label}`" for label in binding.labels)
        lines.append(f"| {keys} | {binding.help} | {binding.group if binding.group != group else ''} |")
        group = binding.group
    return "\n".join(lines)


def _codes_of(key: str) -> tuple[int, ...]:
    """Return the characters that a key of the table types."""
    if key == "Esc":
        return (ESCAPE,)
    if key.startswith("Shift+"):
        return (ord(key[-1]),)
    return tuple({ord(key.lower()), ord(key.upper())})


def _presses() -> dict[int, Press]:
    """Return the table by key code; keys with Shift take precedence over letters in both cases."""
    presses = {
        key: Press(binding.command, argument)
        for binding in BINDINGS
        for key, argument in zip(binding.keys, binding.arguments, strict=True)
    }
    by_shift = sorted(presses, key=lambda key: key.startswith("Shift+"))
    return {code: presses[key] for key in by_shift for code in _codes_of(key)}


_PRESSES = _presses()
