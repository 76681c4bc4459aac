"""The window of a live session: drawn, its keys obeyed, and less important than what others see."""

import threading
from typing import Any

import numpy as np
import pytest

from avatarify_plus.config import AppConfig
from avatarify_plus.preview.keys import Command, Press
from avatarify_plus.session.preview_controller import PreviewController
from avatarify_plus.session.session import open_session
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


class FakeFrameSource:
    skipped_count = 0
    trouble: str | None = None


class FakeStatusLine:
    line = "30 fps"


@pytest.fixture
def parts() -> Any:
    frame_source, preview, stop = FakeFrameSource(), FakePreview(), threading.Event()
    config = AppConfig(avatar=(EXAMPLES / "avatar_2.jpg",), size=Size(256, 144))
    outputs = Outputs()
    with open_session(config, FakeEngine(), outputs, is_live=True) as session:
        anything: Any = (preview, session, frame_source, outputs, FakeStatusLine(), stop)
        yield PreviewController(*anything), preview, session, frame_source


def test_the_window_shows_the_driver_and_what_is_sent(parts: Any) -> None:
    preview_controller, preview, session, frame_source = parts
    preview_controller.refresh()  # before the first frame
    session.turn(Frame(example_driver(1)[0], 0, 0.0))
    preview_controller.refresh()
    before, after = preview.shown
    assert before.shape == after.shape
    assert np.abs(before.astype(int) - after).mean() > 1
    frame_source.trouble = "webcam 0 was unplugged; looking for it every second"
    preview_controller.refresh()
    assert np.abs(preview.shown[-1].astype(int) - after).mean() > 0.1


def test_keys_are_obeyed_and_what_they_changed_is_known(parts: Any) -> None:
    preview_controller, preview, session, _ = parts
    preview.pressed = [Press(Command.PANIC), Press(Command.STRENGTH, 1), Press(Command.RECALIBRATE)]
    preview_controller.refresh()
    assert session.is_panicking
    assert preview_controller.changes == {"strength": pytest.approx(1.1)}


def test_where_frames_are_dropped_the_window_rests_every_other_time(parts: Any) -> None:
    preview_controller, preview, _, frame_source = parts
    for _ in range(6):
        frame_source.skipped_count += 1
        preview_controller.refresh()
    assert len(preview.shown) == 3
    for _ in range(6):
        preview_controller.refresh()
    assert len(preview.shown) == 9
