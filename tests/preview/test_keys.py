"""The table of keys: complete, without contradiction, and the same as on the page of options."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from avatarify_plus.preview.keys import (
    BINDINGS,
    COARSE_SHIFT,
    ESCAPE,
    FINE_SHIFT,
    Command,
    Press,
    markdown_table,
    press_of,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "options.md"


def test_every_command_has_a_key() -> None:
    assert {binding.command for binding in BINDINGS} == set(Command)


def test_no_key_stands_twice_and_each_has_its_argument() -> None:
    keys = [key for binding in BINDINGS for key in binding.keys]
    assert len(keys) == len(set(keys))
    assert all(len(binding.keys) == len(binding.arguments) for binding in BINDINGS)


def test_groups_stand_together() -> None:
    groups = [binding.group for binding in BINDINGS]
    changes = sum(before != after for before, after in itertools.pairwise(groups))
    assert changes == len(set(groups)) - 1


@pytest.mark.parametrize(
    ("keys", "press"),
    [
        ("1", Press(Command.CHOOSE_AVATAR, 1)),
        ("9", Press(Command.CHOOSE_AVATAR, 9)),
        ("0", Press(Command.PASSTHROUGH)),
        ("aA", Press(Command.STEP_AVATAR, -1)),
        ("dD", Press(Command.STEP_AVATAR, 1)),
        ("wW", Press(Command.ZOOM, 1)),
        ("sS", Press(Command.ZOOM, -1)),
        ("k", Press(Command.SHIFT_X, COARSE_SHIFT)),
        ("K", Press(Command.SHIFT_X, FINE_SHIFT)),
        ("h", Press(Command.SHIFT_X, -COARSE_SHIFT)),
        ("H", Press(Command.SHIFT_X, -FINE_SHIFT)),
        ("u", Press(Command.SHIFT_Y, -COARSE_SHIFT)),
        ("U", Press(Command.SHIFT_Y, -FINE_SHIFT)),
        ("j", Press(Command.SHIFT_Y, COARSE_SHIFT)),
        ("J", Press(Command.SHIFT_Y, FINE_SHIFT)),
        ("z", Press(Command.OVERLAY, -1)),
        ("Z", Press(Command.RESET_VIEW)),
        ("cC", Press(Command.OVERLAY, 1)),
        ("xX", Press(Command.RECALIBRATE)),
        ("pP", Press(Command.PANIC)),
        ("[", Press(Command.STRENGTH, -1)),
        (".", Press(Command.SMOOTHING, 1)),
        ("?/", Press(Command.HELP)),
        (chr(ESCAPE), Press(Command.QUIT)),
    ],
)
def test_keys_mean_what_the_table_says(keys: str, press: Press) -> None:
    assert [press_of(ord(key)) for key in keys] == [press] * len(keys)


def test_other_keys_mean_nothing() -> None:
    arrows_and_the_like = [0xFF50, 0xFF51, 0xFF52, 0xFF53, 0xFF54, 0xFFBE, 0xFFE1, 0xF700]
    assert all(press_of(code) is None for code in [-1, 0, ord("q"), ord("!"), 0xE9, 0x6C6, *arrows_and_the_like])


def test_the_page_of_options_shows_this_table() -> None:
    section = re.search(r"^## Keys\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert section is not None
    assert markdown_table() in section[1]
