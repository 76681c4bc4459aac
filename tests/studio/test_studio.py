"""The studio without a browser: what a page may ask for, and what it is told. Only the engine is a fake."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatarify_plus import live, settings
from avatarify_plus.camera.camera_device import CameraDevice
from avatarify_plus.config import AppConfig
from avatarify_plus.errors import VirtualCameraError
from avatarify_plus.studio import studio as studio_module
from avatarify_plus.studio.gallery import Gallery
from avatarify_plus.studio.model_in_use import ModelInUse
from avatarify_plus.studio.studio import CLIP, GIVEN, Studio
from avatarify_plus.types import Size
from avatarify_plus.web.page_control import PageControl
from fakes import EXAMPLES, FakeEngine, FakeSink, read_video

PATIENCE_S = 20.0


class FakeCamera(FakeSink):
    label = "avatarify"

    def __init__(self, *_: object) -> None:
        super().__init__("virtual camera")


class Desk:
    """A studio that runs in a thread of its own, and a page's view of it."""

    def __init__(self, studio: Studio, control: PageControl, gallery: Gallery) -> None:
        self.control, self.gallery = control, gallery
        self._stop = threading.Event()
        self._thread = threading.Thread(target=studio.run, args=(self._stop,))
        self._thread.start()

    def ask(self, **request: Any) -> None:
        self.control.ask(request)

    def wait(self, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Return the first state that fulfils a condition."""
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            state = self.control.state
            if state and condition(state):
                return state
            time.sleep(0.01)
        raise AssertionError(f"waited in vain, found {self.control.state}")

    def is_over(self) -> bool:
        self._thread.join(PATIENCE_S)
        return not self._thread.is_alive()

    def close(self) -> None:
        self._stop.set()
        assert self.is_over()


@pytest.fixture
def config() -> AppConfig:
    return AppConfig(avatar=(EXAMPLES,), preview=False, size=Size(128, 64))


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch) -> list[CameraDevice]:
    """Return the webcams that the system lists: none at first."""
    devices: list[CameraDevice] = []
    monkeypatch.setattr(studio_module, "known_cameras", lambda: devices)
    monkeypatch.setattr(studio_module, "CAMERAS_S", 0.05)
    return devices


@pytest.fixture
def open_desk(
    config: AppConfig, cameras: list[CameraDevice], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Desk]]:
    monkeypatch.setattr(live, "VirtualCamera", FakeCamera)
    desks: list[Desk] = []
    with Gallery() as gallery:

        def open_it(camera: str = "", photos: int = 2, **options: Any) -> Desk:
            gallery.add_files([EXAMPLES / f"avatar_{number}.jpg" for number in range(1, photos + 1)])
            control, wanted = PageControl(), replace(config, **options)
            studio = Studio(control, gallery, wanted, ModelInUse(wanted, lambda _: FakeEngine()), camera)
            desks.append(Desk(studio, control, gallery))
            return desks[-1]

        yield open_it
        for desk in desks:
            desk.close()


def is_running(state: dict[str, Any]) -> bool:
    return bool(state.get("phase") == "running")


def test_without_a_webcam_the_bundled_film_is_offered_and_moves_the_first_photo(
    open_desk: Callable[..., Desk],
) -> None:
    desk = open_desk()
    state = desk.wait(lambda state: state.get("phase") == "idle" and state.get("cameras"))
    assert ([choice["id"] for choice in state["cameras"]], state["camera"]) == ([CLIP], CLIP)
    assert [photo["name"] for photo in state["photos"]] == ["avatar_1", "avatar_2"]
    desk.ask(start=True)
    state = desk.wait(is_running)
    assert (state["photo"], state["virtual"], state["error"]) == ("0001-avatar_1.jpg", {"device": "avatarify"}, None)
    number = desk.control.pictures.number
    desk.wait(lambda _: desk.control.pictures.number > number + 2)
    driver, sent = desk.control.pictures[2:]
    assert driver is not None and driver.shape == (64, 64, 3)
    assert sent is not None and sent.shape == (64, 128, 3)
    desk.ask(stop=True)
    assert desk.wait(lambda state: state["phase"] == "idle")["virtual"] == {}


def test_sliders_switches_and_keys_act_and_are_kept(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk()
    desk.ask(set={"mouth": 1.5})  # before anything runs
    desk.ask(start=True)
    desk.wait(lambda state: is_running(state) and state["values"]["mouth"] == 1.5)
    desk.ask(set={"gaze": 0.4, "lock_gaze": True, "region": "head"})
    desk.ask(key="t")
    desk.ask(key="m")
    state = desk.wait(lambda state: state["values"]["mirror_output"] and state["values"]["mouth"] == 1.6)
    assert [state["values"][name] for name in ("gaze", "lock_gaze", "region")] == [0.4, True, "head"]
    desk.ask(stop=True)
    desk.wait(lambda state: state["phase"] == "idle")
    assert settings.load() == {"mouth": 1.6, "gaze": 0.4, "lock_gaze": True, "mirror_output": True}
    desk.ask(start=True)
    assert desk.wait(is_running)["values"]["mouth"] == 1.6


@pytest.mark.parametrize(
    "request_",
    [
        {"set": {"mouth": 9}},
        {"set": {"mouth": "much"}},
        {"set": {"mouth": True}},
        {"set": {"photo_px": 64, "engine": "torch"}},
        {"set": {"region": "nose"}},
        {"set": 5},
        {"key": "too long"},
        {"key": 7},
        {"press": "no such thing"},
        {"press": "quit"},
        {"camera": "http://evil.example/"},
        {"camera": ["0"]},
        {"choose": "../../etc/passwd"},
        {"remove": "../../etc/passwd"},
        {"unheard of": 1},
        {"obey_all": 1},
        {"record": {}},
    ],
)
def test_nonsense_changes_nothing(open_desk: Callable[..., Desk], request_: dict[str, Any]) -> None:
    desk = open_desk(photos=1)
    desk.ask(start=True)
    before = desk.wait(is_running)
    desk.control.ask(request_)
    desk.ask(set={"zoom": 1.5})
    after = desk.wait(lambda state: state["values"]["zoom"] == 1.5)
    changing = ("values", "stats", "has_face", "is_limited")
    assert {name: after[name] for name in before if name not in changing} == {
        name: before[name] for name in before if name not in changing
    }
    assert after["values"] == before["values"] | {"zoom": 1.5}


def test_panic_and_passing_through_are_told(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(photos=1)
    desk.ask(start=True)
    desk.wait(is_running)
    desk.ask(press="panic")
    desk.wait(lambda state: state["panicking"])
    number = desk.control.pictures.number
    desk.wait(lambda _: desk.control.pictures.number > number + 1)
    first = desk.control.pictures.sent
    number = desk.control.pictures.number
    desk.wait(lambda _: desk.control.pictures.number > number + 3)
    assert first is not None and np.array_equal(first, desk.control.pictures.sent)  # a still card
    desk.ask(press="panic")
    desk.ask(press="passthrough")
    desk.wait(lambda state: state["passes"] and not state["panicking"])


def test_photos_come_are_chosen_and_go(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk()
    desk.ask(start=True)
    desk.wait(is_running)
    photo = desk.gallery.add("late one.jpg", (EXAMPLES / "avatar_3.jpg").read_bytes())
    desk.ask(photos=True, choose=photo.path.name)
    state = desk.wait(lambda state: state["photo"] == photo.path.name)
    assert [each["name"] for each in state["photos"]][-1].endswith("late_one")
    desk.ask(remove=photo.path.name)
    desk.wait(lambda state: len(state["photos"]) == 2 and state["photo"] == "0001-avatar_1.jpg")
    assert not photo.path.exists()
    desk.ask(key="2")
    desk.wait(lambda state: state["photo"] == "0002-avatar_2.jpg")


def test_a_photo_without_a_face_is_named_and_the_avatar_stays(open_desk: Callable[..., Desk], tmp_path: Path) -> None:
    from PIL import Image as Pillow

    Pillow.new("RGB", (200, 200), (90, 120, 90)).save(tmp_path / "meadow.jpg")
    desk = open_desk(photos=1)
    desk.ask(start=True)
    desk.wait(is_running)
    photo = desk.gallery.add("meadow.jpg", (tmp_path / "meadow.jpg").read_bytes())
    desk.ask(photos=True, choose=photo.path.name)
    state = desk.wait(lambda state: state.get("photo_error"))
    assert "no face found" in state["photo_error"] and str(desk.gallery.folder) not in state["photo_error"]
    desk.wait(lambda state: state["photo"] == "0001-avatar_1.jpg" and is_running(state))


def test_a_recording_plays_and_its_place_is_told(
    open_desk: Callable[..., Desk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio_module, "_films", lambda: tmp_path / "films")
    desk = open_desk(photos=1)
    desk.ask(start=True)
    desk.wait(is_running)
    desk.ask(record=True)
    path = Path(desk.wait(lambda state: state["recording"])["recording"])
    number = desk.control.pictures.number
    desk.wait(lambda _: desk.control.pictures.number > number + 5)
    desk.ask(record=False)
    assert desk.wait(lambda state: state.get("saved"))["saved"] == str(path)
    assert path.parent == tmp_path / "films" and len(read_video(path)[0]) >= 3
    desk.wait(lambda state: is_running(state) and state["recording"] is None)


def test_another_webcam_is_taken_at_once_and_its_trouble_told(
    open_desk: Callable[..., Desk], cameras: list[CameraDevice]
) -> None:
    desk = open_desk(photos=1)
    desk.ask(start=True)
    desk.wait(is_running)
    desk.ask(stop=True)
    cameras += [
        CameraDevice(index=97, name="Webcam", path="/dev/video97", location="usb-1", is_virtual=False),
        CameraDevice(index=98, name="avatarify", path="/dev/video98", location="virtual", is_virtual=True),
    ]
    state = desk.wait(lambda state: len(state["cameras"]) == 2)
    assert [choice["name"] for choice in state["cameras"]] == ["Webcam", CLIP]  # not our own output
    desk.ask(start=True)
    desk.wait(is_running)
    desk.ask(camera="97")
    state = desk.wait(lambda state: state["phase"] == "failed")
    assert "cannot open webcam 97" in state["error"] and state["camera"] == "97"
    desk.ask(camera=CLIP)
    desk.ask(start=True)
    assert desk.wait(is_running)["error"] is None


def test_a_given_address_is_offered_without_its_password(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(camera="http://me:secret@127.0.0.1:9/video", photos=1)
    state = desk.wait(lambda state: state.get("cameras"))
    assert state["camera"] == GIVEN
    assert "secret" not in repr(state) and "http://me:***@127.0.0.1:9/video" in repr(state["cameras"])
    desk.ask(start=True)
    assert "secret" not in desk.wait(lambda state: state["phase"] == "failed")["error"]


def test_a_missing_virtual_camera_stops_nothing(
    open_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise VirtualCameraError("no virtual camera")

    desk = open_desk(photos=1)
    monkeypatch.setattr(live, "VirtualCamera", fail)
    live.VirtualCamera.name = "virtual camera"  # type: ignore[attr-defined]
    desk.ask(start=True)
    state = desk.wait(is_running)
    assert state["virtual"] == {"device": None} and "virtual camera" in state["outputs_trouble"]


def test_the_notice_is_shown_until_somebody_agrees(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(photos=1)
    assert desk.wait(lambda state: "notice" in state)["notice"] is True
    desk.ask(agree=True)
    desk.wait(lambda state: state["notice"] is False)
    assert not settings.notice_pending()


def test_the_page_can_end_it_while_it_runs(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(photos=1)
    desk.ask(start=True)
    desk.wait(is_running)
    desk.ask(quit=True)
    assert desk.is_over()


def test_nothing_starts_without_a_photo(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(photos=0)
    desk.ask(start=True)
    time.sleep(0.3)
    assert desk.control.state["phase"] == "idle"
