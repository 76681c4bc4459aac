"""The window of a live show: drawn, heeded, and second to what others see."""

import threading
from typing import Any

import numpy as np
import pytest

from avatarify_plus.config import AppConfig
from avatarify_plus.preview.keys import Command, Press
from avatarify_plus.session.preview_controller import Screen
from avatarify_plus.session.session import open_show
from avatarify_plus.sinks import Outputs
from avatarify_plus.types import Frame, Image, Size
from fakes import EXAMPLES, FakeEngine, example_driver


class FakePreview:
    def __init__(self) -> None:
        self.shown: list[Image] = []
        self.pressed: list[Press] = []

    def show(self, image: Image) -> None:
        self.shown.append(image.copy())

    def presses(self) -> list[Press]:
        pressed, self.pressed = self.pressed, []
        return pressed


class FakeDriver:
    skipped_count = 0
    trouble: str | None = None


class FakeHealth:
    line = "30 fps"


@pytest.fixture
def parts() -> Any:
    driver, preview, stop = FakeDriver(), FakePreview(), threading.Event()
    config = AppConfig(avatar=(EXAMPLES / "avatar_2.jpg",), size=Size(256, 144))
    outputs = Outputs()
    with open_show(config, FakeEngine(), outputs, is_live=True) as show:
        anything: Any = (preview, show, driver, outputs, FakeHealth(), stop)
        yield Screen(*anything), preview, show, driver


def test_the_window_shows_the_driver_and_what_is_sent(parts: Any) -> None:
    screen, preview, show, driver = parts
    screen.refresh()  # before the first frame
    show.turn(Frame(example_driver(1)[0], 0, 0.0))
    screen.refresh()
    before, after = preview.shown
    assert before.shape == after.shape
    assert np.abs(before.astype(int) - after).mean() > 1
    driver.trouble = "webcam 0 was unplugged; looking for it every second"
    screen.refresh()
    assert np.abs(preview.shown[-1].astype(int) - after).mean() > 0.1


def test_keys_are_obeyed_and_what_they_changed_is_known(parts: Any) -> None:
    screen, preview, show, _ = parts
    preview.pressed = [Press(Command.PANIC), Press(Command.STRENGTH, 1), Press(Command.RECALIBRATE)]
    screen.refresh()
    assert show.is_panicking
    assert screen.changes == {"strength": pytest.approx(1.1)}


def test_where_frames_are_dropped_the_window_rests_every_other_time(parts: Any) -> None:
    screen, preview, _, driver = parts
    for _ in range(6):
        driver.skipped_count += 1
        screen.refresh()
    assert len(preview.shown) == 3
    for _ in range(6):
        screen.refresh()
    assert len(preview.shown) == 9
