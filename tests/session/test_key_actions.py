"""What each key does to a running show."""

import threading
from typing import Any

import pytest

from avatarify_plus.config import AppConfig
from avatarify_plus.preview.keys import BINDINGS, Command, Press, press_of
from avatarify_plus.session.key_actions import Desk
from fakes import EXAMPLES


class FakeCalls:
    """Remembers what is called on it, by name."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, *arguments))


class FakeShow(FakeCalls):
    def __init__(self) -> None:
        super().__init__()
        self.config = AppConfig(avatar=(EXAMPLES / "avatar_2.jpg",))
        self.cast, self.puppeteer = FakeCalls(), FakeCalls()
        self.is_panicking = self.passes_through = False

    def change(self, **fields: Any) -> None:
        from dataclasses import replace

        self.config = replace(self.config, **fields)


@pytest.fixture
def show() -> FakeShow:
    return FakeShow()


@pytest.fixture
def desk(show: Any) -> Desk:
    return Desk(show, threading.Event())


def press(desk: Desk, keys: str) -> None:
    for key in keys:
        found = press_of(ord(key))
        assert found is not None
        desk.obey(found)


def test_every_command_is_obeyed(desk: Desk) -> None:
    for binding in BINDINGS:
        for argument in binding.arguments:
            desk.obey(Press(binding.command, argument))
    assert {binding.command for binding in BINDINGS} == set(Command)


def test_avatars_are_chosen_stepped_and_read_anew(desk: Desk, show: FakeShow) -> None:
    press(desk, "3adl")
    assert show.calls == [("choose", 3), ("step", -1), ("step", 1)]
    assert show.cast.calls == [("reload",)]


def test_values_stop_at_their_limits_and_are_kept(desk: Desk, show: FakeShow) -> None:
    press(desk, "]" * 30 + "," * 30 + "c" * 3 + "w" * 200 + "K" * 2)
    assert (show.config.strength, show.config.smoothing, show.config.zoom) == (2.0, 0.0, 4.0)
    assert show.config.overlay == pytest.approx(0.3)
    assert 0 < show.config.shift_x < 0.02  # with Shift: finely
    assert desk.changes == {
        name: getattr(show.config, name) for name in ("strength", "smoothing", "zoom", "overlay", "shift_x")
    }


def test_switches_switch(desk: Desk, show: FakeShow) -> None:
    press(desk, "frtio")
    names = ("search", "mirror_preview", "mirror_output", "show_stats", "show_face")
    assert [getattr(show.config, name) for name in names] == [False, False, True, True, True]
    press(desk, "frtio")
    assert [getattr(show.config, name) for name in names] == [True, True, False, False, False]


def test_the_view_goes_back_to_what_it_was(desk: Desk, show: FakeShow) -> None:
    press(desk, "wwhu")
    assert show.config.zoom > 1
    assert show.config.shift_x < 0
    press(desk, "Z")
    assert (show.config.zoom, show.config.shift_x, show.config.shift_y) == (1, 0, 0)


def test_panic_passthrough_help_and_the_end(show: Any) -> None:
    stop = threading.Event()
    desk = Desk(show, stop)
    press(desk, "p0?")
    assert (show.is_panicking, show.passes_through, desk.shows_help) == (True, True, True)
    press(desk, "p0?")
    assert (show.is_panicking, show.passes_through, desk.shows_help) == (False, False, False)
    assert not desk.changes  # nobody wants to begin the next call in panic
    press(desk, "x")
    assert show.puppeteer.calls == [("recalibrate",)]
    press(desk, "\x1b")
    assert stop.is_set()
