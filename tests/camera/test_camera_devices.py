"""Which webcams there are, what they offer, and which of them is meant."""

import logging
import os
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from test_camera import FakeCapture

from avatarify_plus.camera import (
    CameraDevice,
    CameraMode,
    CaptureRequest,
    camera_argument,
    describe,
    device_list,
    v4l2,
    webcam,
)
from avatarify_plus.camera.camera_argument import find_reopenable
from avatarify_plus.camera.camera_device import find_again, find_named
from avatarify_plus.camera.stream import Stream
from avatarify_plus.camera.webcam import Webcam
from avatarify_plus.errors import CameraError
from avatarify_plus.types import Size

VGA, HD = Size(640, 480), Size(1280, 720)
USUAL = (
    CameraMode(HD, (30.0,), "MJPG"),
    CameraMode(VGA, (30.0, 15.0), "MJPG"),
    CameraMode(HD, (10.0,), "YUYV"),
    CameraMode(VGA, (30.0,), "YUYV"),
)
INSIDE = CameraDevice(0, "Integrated Camera", "/dev/video0", "usb-1", modes=USUAL)
LOGI = CameraDevice(2, "HD Pro Webcam C920", "/dev/video2", "usb-2")
SECOND_LOGI = replace(LOGI, index=4, path="/dev/video4", location="usb-3")
LOOPBACK = CameraDevice(9, "avatarify", "/dev/video9", "platform-0", is_virtual=True)


# --- names ---


def test_a_webcam_is_found_by_its_name_or_a_part_of_it() -> None:
    devices = [INSIDE, LOGI, LOOPBACK]
    assert find_named("hd pro webcam c920", devices) is LOGI
    assert find_named("C920", devices) is LOGI
    assert find_named("avatarify", devices) is LOOPBACK
    assert find_named("nothing", devices) is None


def test_a_name_that_may_be_several_is_reported() -> None:
    with pytest.raises(CameraError, match=r"'cam' may be several webcams: give the number, found: 0 Integ.*, 2 HD Pro"):
        find_named("cam", [INSIDE, LOGI])
    with pytest.raises(CameraError, match="2 HD Pro Webcam C920, 4 HD Pro Webcam C920"):
        find_named("c920", [LOGI, SECOND_LOGI])
    assert find_named(
        "Integrated Camera", [INSIDE, replace(INSIDE, index=5, name="Integrated Camera IR", location="x")]
    )


def test_of_several_files_of_one_webcam_the_first_is_taken() -> None:
    assert find_named("c920", [replace(LOGI, index=3), LOGI]) == LOGI


def test_a_webcam_is_found_again_under_another_number_or_at_another_socket() -> None:
    moved = replace(LOGI, index=5, path="/dev/video5")
    elsewhere = replace(moved, location="usb-7")
    assert find_again(LOGI, {INSIDE.location}, [INSIDE, moved]) == moved
    assert find_again(LOGI, {INSIDE.location}, [INSIDE, elsewhere]) == elsewhere
    assert find_again(LOGI, set(), [INSIDE]) is None


def test_another_webcam_is_never_taken_for_it() -> None:
    """Nobody wants the room's camera to take over in the middle of a call."""
    assert find_again(LOGI, {SECOND_LOGI.location}, [INSIDE, SECOND_LOGI]) is None
    infrared = replace(LOGI, index=3)  # same name, same plug
    assert find_again(infrared, set(), [LOGI, infrared]) == infrared


def test_what_camera_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    devices = [INSIDE, LOGI]
    monkeypatch.setattr(camera_argument, "known_cameras", lambda: devices)
    request = CaptureRequest()
    reopenables = {
        name: find_reopenable(name, request) for name in ("0", "2", "7", "c920", "rtsp://cam/1", "x.mp4", "s%02d.png")
    }
    assert {name: reopenable and reopenable.name for name, reopenable in reopenables.items()} == {
        "0": "webcam 0 (Integrated Camera)",
        "2": "webcam 2 (HD Pro Webcam C920)",
        "7": "webcam 7",
        "c920": "webcam 2 (HD Pro Webcam C920)",
        "rtsp://cam/1": "rtsp://cam/1",
        "x.mp4": None,
        "s%02d.png": None,
    }
    assert isinstance(reopenables["rtsp://cam/1"], Stream)
    (tmp_path / "c920").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_reopenable("c920", request) is None  # a file or folder of this name comes first


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="the system has no device files")
def test_a_path_of_a_device_is_a_webcam(tmp_path: Path) -> None:
    (tmp_path / "by-id").symlink_to("/dev/null")
    reopenable = find_reopenable(str(tmp_path / "by-id"), CaptureRequest())
    assert reopenable is not None
    assert reopenable.name == "webcam /dev/null"


def test_describe_says_all_that_one_needs_to_choose() -> None:
    assert describe([INSIDE, LOGI, LOOPBACK]).splitlines() == [
        "0 Integrated Camera, /dev/video0",
        "    MJPG: 1280x720 at 30 fps, 640x480 at 30, 15 fps",
        "    YUYV: 1280x720 at 10 fps, 640x480 at 30 fps",
        "2 HD Pro Webcam C920, /dev/video2",
        "9 avatarify (virtual camera), /dev/video9",
    ]
    assert describe([]) == "no webcam was found"
    many = replace(INSIDE, modes=tuple(CameraMode(VGA, (30.0,), f"FMT{letter}") for letter in "ABCDEF"))
    assert describe([many]).splitlines()[1:] == ["    FMTA, FMTB, FMTC, FMTD and 2 others: 640x480 at 30 fps"]
    assert describe([replace(many, modes=(CameraMode(VGA, (), ""),))]).splitlines()[1:] == ["    640x480"]


# --- requests ---


@pytest.mark.parametrize(
    ("asked", "modes", "expected"),
    [
        (CaptureRequest(HD, 30.0), USUAL, "MJPG"),
        (CaptureRequest(HD, 10.0), USUAL, None),
        (CaptureRequest(HD, None), USUAL, "MJPG"),
        (CaptureRequest(VGA, 30.0), USUAL, None),
        (CaptureRequest(VGA, 30.0), (), None),
        (CaptureRequest(HD, 30.0), (), "MJPG"),
        (CaptureRequest(None, 30.0), USUAL, None),
        (CaptureRequest(Size(800, 600), 30.0), USUAL, None),
        (CaptureRequest(HD, 30.0), (CameraMode(HD, (29.97,), "YUYV"), CameraMode(HD, (30.0,), "MJPG")), None),
        (CaptureRequest(HD, 30.0), (CameraMode(HD, (30.0,), "H264"),), None),
        (CaptureRequest(VGA, 30.0, "mjpg"), USUAL, "MJPG"),
        (CaptureRequest(None, None, "yuyv"), (), "YUYV"),
    ],
)
def test_compressed_pictures_are_asked_for_where_nothing_else_is_fast_enough(
    asked: CaptureRequest, modes: tuple[CameraMode, ...], expected: str | None
) -> None:
    assert asked.fourcc(modes) == expected


class FakeComputer:
    """The sockets of a computer: what is plugged in, and what opening it gives."""

    def __init__(self, *devices: CameraDevice) -> None:
        self.devices = list(devices)
        self.opened: list[int | str] = []
        self.gives: CameraMode | None = None

    def known(self) -> list[CameraDevice]:
        return self.devices

    def open(self, target: int | str) -> FakeCapture | None:
        self.opened.append(target)
        if not any(target in (device.index, device.path) for device in self.devices):
            return None
        return FakeCapture([True])


@pytest.fixture
def computer(monkeypatch: pytest.MonkeyPatch) -> FakeComputer:
    computer = FakeComputer(INSIDE, LOGI)
    monkeypatch.setattr(webcam, "open_device", computer.open)
    return computer


def test_what_a_webcam_gives_is_reported_once(computer: FakeComputer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    camera = Webcam(0, CaptureRequest(VGA, 30.0), computer.known)
    for _ in range(2):
        camera.open()
    assert [record.getMessage() for record in caplog.records] == [
        "webcam 0 (Integrated Camera) gives 640x480 at 30 fps"
    ]


def test_what_it_gives_instead_is_reported(
    computer: FakeComputer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(webcam, "ask", lambda *_: CameraMode(VGA, (15.0,), "YUYV"))
    Webcam(0, CaptureRequest(HD, 30.0, "mjpg"), computer.known).open()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "INFO",
            "webcam 0 (Integrated Camera) gives 640x480 at 15 fps, YUYV (asked for 1280x720, 30 fps, MJPG)",
        )
    ]


def test_a_webcam_is_followed_to_another_number(computer: FakeComputer) -> None:
    camera = Webcam(2, CaptureRequest(), computer.known)
    camera.open()
    assert camera.describe_outage() == "gives no pictures any more"
    computer.devices = [INSIDE]
    assert camera.describe_outage() == "was unplugged"
    with pytest.raises(CameraError, match=r"webcam 2 \(HD.*\) is not there: plug it in.*found: 0 Integrated Camera"):
        camera.open()
    assert computer.opened == [2]  # nothing else is tried
    computer.devices = [INSIDE, replace(LOGI, index=1, path="/dev/video1", location="usb-9")]
    assert camera.open().name == "webcam 1 (HD Pro Webcam C920)"
    assert computer.opened == [2, 1]


def test_a_webcam_given_by_its_path_is_followed_by_path(computer: FakeComputer) -> None:
    camera = Webcam("/dev/video2", CaptureRequest(), computer.known)
    computer.devices = [replace(LOGI, index=3, path="/dev/video3"), replace(INSIDE, index=2, path="/dev/video2")]
    assert camera.open().name == "webcam /dev/video3 (HD Pro Webcam C920)"


def test_a_webcam_that_the_system_does_not_list_is_tried_all_the_same(computer: FakeComputer) -> None:
    camera = Webcam(0, CaptureRequest(), list)
    assert camera.open().name == "webcam 0"
    assert camera.describe_outage() == "gives no pictures any more"
    with pytest.raises(CameraError, match=r"cannot open webcam 8: .*found: 0 Integrated Camera, 2 HD Pro"):
        Webcam(8, CaptureRequest(), computer.known).open()


# --- Linux ---

pytestmark = pytest.mark.skipif(os.name == "nt", reason="fcntl is not there")


class FakeKernelDriver:
    """Answers ioctls as a kernel does; written from linux/videodev2.h, not from the code under test."""

    def __init__(self, capabilities: int, node: int | None = None, stepwise: bool = False) -> None:
        self.capabilities = capabilities | (0x80000000 if node is not None else 0)
        self.node = node or 0
        self.stepwise = stepwise
        self.requests: list[int] = []

    def __call__(self, request: int, data: bytearray) -> None:
        self.requests.append(request)
        assert len(data) == (request >> 16) & 0x3FFF  # an ioctl's number holds its structure's size
        answer = {0: self.introduce, 2: self.formats, 74: self.sizes, 75: self.rates}[request & 0xFF]
        answer(data)

    def introduce(self, data: bytearray) -> None:
        data[0:8], data[16:22], data[48:57] = b"uvcvideo", b"Webcam", b"usb-0.1-2"
        struct.pack_into("=III", data, 80, 0x60100, self.capabilities, self.node)

    def formats(self, data: bytearray) -> None:
        index, kind = struct.unpack_from("=II", data)
        assert kind == (1 if self.capabilities & self.node & 1 or not self.node else 9)
        if index > 1:
            raise OSError
        data[44:48] = (b"YUYV", b"MJPG")[index]

    def sizes(self, data: bytearray) -> None:
        (index,) = struct.unpack_from("=I", data)
        if index > 1:
            raise OSError
        if self.stepwise:
            struct.pack_into("=7I", data, 8, 3, 48, 1000, 2, 32, 700, 2)
        else:
            struct.pack_into("=3I", data, 8, 1, *((640, 480), (1280, 720))[index])

    def rates(self, data: bytearray) -> None:
        index, code, width, _ = struct.unpack_from("=I4sII", data)
        if self.stepwise:
            struct.pack_into("=5I", data, 16, 3, 1, 40, 1, 9)
            return
        intervals = [(1, 10)] if width == 1280 and code == b"YUYV" else [(1, 30), (1001, 15000)]
        if index >= len(intervals):
            raise OSError
        struct.pack_into("=3I", data, 16, 1, *intervals[index])


def test_a_driver_is_asked_for_its_modes() -> None:
    node = v4l2.query(FakeKernelDriver(1))
    assert (node.location, node.captures) == ("usb-0.1-2", True)
    assert node.modes == (
        CameraMode(VGA, (30.0, 14.985), "YUYV"),
        CameraMode(HD, (10.0,), "YUYV"),
        CameraMode(VGA, (30.0, 14.985), "MJPG"),
        CameraMode(HD, (30.0, 14.985), "MJPG"),
    )


def test_a_driver_that_takes_any_size_is_listed_with_usual_ones() -> None:
    modes = v4l2.query(FakeKernelDriver(1, stepwise=True)).modes
    assert [mode.size for mode in modes if mode.format == "MJPG"] == [
        Size(320, 240), Size(640, 360), VGA, Size(800, 600)
    ]  # fmt: skip
    assert modes[0].rates == (30.0, 25.0, 20.0, 15.0, 10.0)


def test_files_that_give_no_pictures_are_not_asked_further() -> None:
    for kernel_driver in (  # metadata; an output
        FakeKernelDriver(0x1 | 0x800000, node=0x800000),
        FakeKernelDriver(0x2),
    ):
        node = v4l2.query(kernel_driver)
        assert (node.captures, node.modes) == (False, ())
        assert len(kernel_driver.requests) == 1
    assert v4l2.query(FakeKernelDriver(0x1000, node=0x1000)).captures  # in planes, as cameras of phones and boards


def test_a_driver_without_end_is_left() -> None:
    class Endless(FakeKernelDriver):
        def formats(self, data: bytearray) -> None:
            data[44:48] = b"YUYV"

    assert len(v4l2.query(Endless(1)).modes) == 2 * v4l2.MAX_ENTRIES


def test_the_systems_files_are_listed_by_number(tmp_path: Path) -> None:
    """Nobody may open these here; what stands in sysfs is listed all the same."""
    folder = tmp_path / "sys/class/video4linux"
    for name, label, index in (("video10", "Late", 0), ("video2", "Webcam", 0), ("video3", "Webcam", 1)):
        (folder / name).mkdir(parents=True)
        (folder / name / "name").write_text(f"{label}\n")
        (folder / name / "index").write_text(f"{index}\n")
    (folder / "video10" / "max_openers").write_text("10\n")
    (folder / "v4l-subdev0").mkdir()
    devices = v4l2.list_webcams(tmp_path)
    assert [str(device) for device in devices] == ["2 Webcam", "10 Late (virtual camera)"]
    assert [device.path for device in devices] == ["/dev/video2", "/dev/video10"]
    assert len({device.location for device in devices}) == 2
    assert v4l2.list_webcams(tmp_path / "nothing") == []


# --- elsewhere ---


def test_elsewhere_names_come_from_the_system_and_modes_by_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("cv2_enumerate_cameras", reason="only installed where it is needed")
    listed = [package.CameraInfo(0, "FaceTime HD", "0x14", None, None, 1200)]
    listed.append(package.CameraInfo(1, "OBS Virtual Camera", None, None, None, 1200))
    asked: list[int] = []
    monkeypatch.setattr(device_list.sys, "platform", "darwin")
    monkeypatch.setattr(package, "enumerate_cameras", lambda backend: listed if backend == 1200 else [])
    monkeypatch.setattr(device_list, "ask_modes", lambda index: (asked.append(index), USUAL)[1])
    assert device_list.known_cameras() == [
        CameraDevice(0, "FaceTime HD", "0x14", "0x14"),
        CameraDevice(1, "OBS Virtual Camera", "", "1", is_virtual=True),
    ]
    assert not asked  # each would be opened
    assert [device.modes for device in device_list.list_cameras()] == [USUAL, USUAL]
    assert asked == [0, 1]
