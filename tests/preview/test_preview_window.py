"""The preview in a real window, on a screen in memory, with keys pressed by xdotool; each in a program of its own."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from avatarify_plus.errors import SinkError
from avatarify_plus.preview import window
from avatarify_plus.preview.keys import COARSE_SHIFT, ESCAPE, FINE_SHIFT, Command, Press
from avatarify_plus.preview.shift_key import LIBRARY
from avatarify_plus.preview.window import PreviewWindow, require_x_server
from fakes import plain_picture
from virtual_screen import virtual_screen

ROOT = Path(__file__).resolve().parents[2]
WINDOW = """
import sys, time
import numpy as np
from avatarify_plus.preview.keys import Command
from avatarify_plus.preview.window import PreviewWindow
preview = PreviewWindow()
picture = np.full((120, 200, 3), (200, 120, 40), np.uint8)
presses, turns_left = [], None
while turns_left != 0:
    preview.show(picture)
    for press in preview.presses():
        print(press.command.name, press.argument, flush=True)
        if press.command is Command.QUIT and turns_left is None:
            turns_left = 20  # and see that it stays as it is
    turns_left = None if turns_left is None else turns_left - 1
    time.sleep(0.01)
preview.close()
preview.close()
print("closed", flush=True)
"""
needs_screen = pytest.mark.skipif(
    shutil.which("Xvfb") is None or shutil.which("xdotool") is None,
    reason="needs Xvfb, a screen in memory, and xdotool, which presses keys",
)


class Desktop:
    """A window on a screen, and what its program prints."""

    def __init__(self, display: str, program: subprocess.Popen[str]) -> None:
        self._display = display
        self._program = program
        self.number = int(self.tool("search", "--sync", "--onlyvisible", "--name", "^avatarify$").split()[-1])
        self.tool("windowfocus", "--sync", str(self.number))

    def tool(self, *arguments: str) -> str:
        return subprocess.run(
            ["xdotool", *arguments],
            env=os.environ | {"DISPLAY": self._display},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout

    def line(self) -> str:
        """Return the next line of the program, empty if it has ended."""
        assert self._program.stdout is not None
        return self._program.stdout.readline().strip()

    def press(self, key: str) -> str:
        self.tool("key", key)
        return self.line()

    def size(self) -> tuple[int, int]:
        lines = self.tool("getwindowgeometry", "--shell", str(self.number)).splitlines()
        values = dict(line.split("=") for line in lines)
        return int(values["WIDTH"]), int(values["HEIGHT"])

    def close_window(self) -> None:
        """Do what the X in a window's corner does."""
        x11 = ctypes.CDLL(LIBRARY)
        x11.XOpenDisplay.restype = ctypes.c_void_p
        x11.XInternAtom.restype = ctypes.c_ulong
        display = ctypes.c_void_p(x11.XOpenDisplay(self._display.encode()))
        atoms = [x11.XInternAtom(display, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")]
        event = (ctypes.c_long * 24)(33, 0, 0, 0, self.number, atoms[0], 32, atoms[1])  # an XClientMessageEvent
        x11.XSendEvent(display, ctypes.c_ulong(self.number), 0, ctypes.c_long(0), event)
        x11.XCloseDisplay(display)

    def ending(self) -> tuple[list[str], int, str]:
        """Return what the program still prints, its exit code and what it complains about."""
        said, complaints = self._program.communicate(timeout=30)
        return said.split("\n")[:-1], self._program.returncode, complaints


@contextmanager
def open_desktop() -> Iterator[Desktop]:
    with virtual_screen() as display:
        program = subprocess.Popen(
            [sys.executable, "-c", WINDOW],
            cwd=ROOT,
            env=os.environ | {"DISPLAY": display},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield Desktop(display, program)
        finally:
            program.kill()
            program.communicate()


@needs_screen
def test_keys_in_a_real_window() -> None:
    with open_desktop() as desktop:
        assert desktop.size() == (200, 120)
        assert desktop.press("d") == "STEP_AVATAR 1"
        assert desktop.press("7") == "CHOOSE_AVATAR 7"
        assert desktop.press("bracketleft") == "STRENGTH -1"
        assert desktop.press("question") == "HELP 0"
        assert desktop.press("j") == f"SHIFT_Y {COARSE_SHIFT}"
        desktop.tool("keydown", "shift")
        assert desktop.press("j") == f"SHIFT_Y {FINE_SHIFT}"
        assert desktop.press("z") == "RESET_VIEW 0"
        desktop.tool("keyup", "shift")
        assert desktop.press("z") == "OVERLAY -1"
        for key in ("Left", "Home", "F5", "q"):  # nothing is bound to them
            desktop.tool("key", key)
        assert desktop.press("Escape") == "QUIT 0"
        assert desktop.ending() == (["closed"], 0, "")


@needs_screen
def test_a_resized_window_and_its_closing() -> None:
    with open_desktop() as desktop:
        desktop.tool("windowsize", "--sync", str(desktop.number), "500", "170")
        assert desktop.size() == (500, 170)
        assert desktop.press("x") == "RECALIBRATE 0"
        desktop.close_window()
        assert desktop.line() == "QUIT 0.0"
        assert desktop.ending() == (["closed"], 0, "")


class FakeWindow:
    """OpenCV's windows; keys are codes that wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: list[int] = []
        self.shown: list[np.ndarray] = []
        self.is_open = True
        self.size = (64, 48)
        stand_ins: dict[str, Callable[..., object]] = {
            "namedWindow": lambda *_: None,
            "resizeWindow": lambda *_: None,
            "destroyWindow": lambda *_: None,
            "imshow": lambda _, picture: self.shown.append(picture),
            "getWindowProperty": lambda *_: float(self.is_open),
            "getWindowImageRect": lambda _: (0, 0, *self.size),
            "waitKeyEx": lambda _: self.keys.pop(0) if self.keys else -1,
        }
        for name, stand_in in stand_ins.items():
            monkeypatch.setattr(cv2, name, stand_in)
        monkeypatch.setattr(window, "require_x_server", lambda _: None)
        monkeypatch.setenv("DISPLAY", "")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeWindow:
    return FakeWindow(monkeypatch)


def test_every_waiting_key_counts_whatever_else_is_held(fake: FakeWindow) -> None:
    preview = PreviewWindow()
    preview.show(plain_picture(5))
    num_lock, arrow_on_windows = 0x100000, 0x250000
    fake.keys = [ord("w"), ord("w") | num_lock, 0xFF51, arrow_on_windows, ord("Z"), ESCAPE]
    assert [press.command for press in preview.presses()] == [
        Command.ZOOM,
        Command.ZOOM,
        Command.RESET_VIEW,
        Command.QUIT,
    ]
    assert preview.presses() == []


def test_a_closed_window_asks_to_quit_once_and_stays_closed(fake: FakeWindow) -> None:
    preview = PreviewWindow()
    assert preview.presses() == []  # nothing was shown yet
    preview.show(plain_picture(5))
    fake.is_open = False
    preview.show(plain_picture(6))
    assert preview.presses() == [Press(Command.QUIT)]
    fake.is_open = True
    preview.show(plain_picture(7))
    assert preview.presses() == []
    assert len(fake.shown) == 1
    preview.close()


def test_the_picture_keeps_its_ratio_in_any_window(fake: FakeWindow) -> None:
    preview = PreviewWindow()
    picture = plain_picture(5, 48, 64)
    picture[10:20, 10:20] = (255, 0, 0)
    for fake.size in ((64, 48), (640, 480), (128, 48), (64, 96), (0, 0)):
        preview.show(picture)
        preview.show(picture)
        shown = fake.shown[-1]
        if min(fake.size) > 0:
            assert shown.shape[1] / shown.shape[0] == pytest.approx(fake.size[0] / fake.size[1], rel=0.03)
        assert np.count_nonzero((shown == (0, 0, 255)).all(-1)) == 100  # BGR
        assert np.count_nonzero((shown == 5).all(-1)) == shown.shape[0] * shown.shape[1] - 100


def test_an_opencv_without_windows_is_reported(fake: FakeWindow, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise cv2.error("not implemented")

    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(SinkError, match=r"opencv-python-headless.*--no-preview"):
        PreviewWindow()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="X is asked on Linux only")
def test_a_missing_screen_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", "")
    with pytest.raises(SinkError, match="--no-preview"):
        PreviewWindow()
    with pytest.raises(SinkError, match="no X server answers"):
        require_x_server(":4711")
