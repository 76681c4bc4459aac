"""What each key does to a running session."""

import threading
from typing import Any

import pytest

from avatarify_plus.config import AppConfig
from avatarify_plus.preview.keys import BINDINGS, Command, Press, press_of
from avatarify_plus.session.key_actions import KeyActions
from fakes import EXAMPLES


class FakeCalls:
    """Remembers what is called on it, by name."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, *arguments))


class FakeSession(FakeCalls):
    def __init__(self) -> None:
        super().__init__()
        self.config = AppConfig(avatar=(EXAMPLES / "avatar_2.jpg",))
        self.is_panicking = self.passes_through = False

    def change(self, **fields: Any) -> None:
        from dataclasses import replace

        self.config = replace(self.config, **fields)


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
def key_actions(session: Any) -> KeyActions:
    return KeyActions(session, threading.Event())


def press(key_actions: KeyActions, keys: str) -> None:
    for key in keys:
        found = press_of(ord(key))
        assert found is not None
        key_actions.obey(found)


def test_every_command_is_obeyed(key_actions: KeyActions) -> None:
    for binding in BINDINGS:
        for argument in binding.arguments:
            key_actions.obey(Press(binding.command, argument))
    assert {binding.command for binding in BINDINGS} == set(Command)


def test_avatars_are_chosen_stepped_and_reloaded(key_actions: KeyActions, session: FakeSession) -> None:
    press(key_actions, "3adl")
    assert session.calls == [("choose", 3), ("step", -1), ("step", 1), ("reload_avatars",)]


def test_values_stop_at_their_limits_and_are_kept(key_actions: KeyActions, session: FakeSession) -> None:
    press(key_actions, "]" * 30 + "," * 30 + "c" * 3 + "w" * 200 + "K" * 2)
    assert (session.config.strength, session.config.smoothing, session.config.zoom) == (2.0, 0.0, 4.0)
    assert session.config.overlay == pytest.approx(0.3)
    assert 0 < session.config.shift_x < 0.02  # with Shift: finely
    assert key_actions.changes == {
        name: getattr(session.config, name) for name in ("strength", "smoothing", "zoom", "overlay", "shift_x")
    }


def test_switches_switch(key_actions: KeyActions, session: FakeSession) -> None:
    press(key_actions, "frtio")
    names = ("search", "mirror_preview", "mirror_output", "show_stats", "show_face")
    assert [getattr(session.config, name) for name in names] == [False, False, True, True, True]
    press(key_actions, "frtio")
    assert [getattr(session.config, name) for name in names] == [True, True, False, False, False]


def test_parts_of_the_face_follow_less_and_more(key_actions: KeyActions, session: FakeSession) -> None:
    press(key_actions, "mmMeebBBgN" + "N" * 40)
    names = ("mouth", "eyes", "brows", "gaze", "head")
    assert [getattr(session.config, name) for name in names] == pytest.approx([1.1, 1.2, 0.9, 1.1, 0.0])
    assert {name: key_actions.changes[name] for name in names} == {
        name: getattr(session.config, name) for name in names
    }


def test_a_region_alone_moves_until_the_next_call(key_actions: KeyActions, session: FakeSession) -> None:
    found = []
    for _ in range(5):
        press(key_actions, "v")
        found.append(session.config.region)
    assert found == ["expression", "head", "mouth", "eyes", "all"]
    press(key_actions, "vyR")
    assert (session.config.region, session.config.lock_gaze) == ("all", False)
    assert "region" not in key_actions.changes


def test_the_view_goes_back_to_what_it_was(key_actions: KeyActions, session: FakeSession) -> None:
    press(key_actions, "wwhu")
    assert session.config.zoom > 1
    assert session.config.shift_x < 0
    press(key_actions, "Z")
    assert (session.config.zoom, session.config.shift_x, session.config.shift_y) == (1, 0, 0)


def test_panic_passthrough_help_and_the_end(session: Any) -> None:
    stop = threading.Event()
    key_actions = KeyActions(session, stop)
    press(key_actions, "p0?")
    assert (session.is_panicking, session.passes_through, key_actions.shows_help) == (True, True, True)
    press(key_actions, "p0?")
    assert (session.is_panicking, session.passes_through, key_actions.shows_help) == (False, False, False)
    assert not key_actions.changes  # nobody wants to begin the next call in panic
    press(key_actions, "x")
    assert session.calls == [("recalibrate",)]
    press(key_actions, "\x1b")
    assert stop.is_set()
