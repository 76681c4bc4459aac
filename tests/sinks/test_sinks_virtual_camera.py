"""The virtual camera, with pyvirtualcam and the system's files played by others."""

import sys
import types
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from avatarify_plus.errors import VirtualCameraError
from avatarify_plus.sinks import loopback, virtual_camera
from avatarify_plus.sinks.virtual_camera import VirtualCamera, probe
from avatarify_plus.types import Image, Size
from fakes import plain_picture

SIZE = Size(64, 36)
RELEASE = "6.1.0-test"


class FakeDevice:
    """pyvirtualcam's Camera, whose device is the one asked for; `refused` devices do not open."""

    def __init__(
        self, width: int, height: int, fps: float, device: str | None = None, backend: str | None = None
    ) -> None:
        self.asked = (width, height, fps)
        self.backend = backend
        self.device = device or "/dev/video9"
        self.takes = 1000
        self.sent: list[Image] = []
        self.is_closed = False

    def send(self, picture: Image) -> None:
        if len(self.sent) == self.takes:
            raise RuntimeError("device gone")
        self.sent.append(picture.copy())

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[FakeDevice]:
    """Put a pyvirtualcam in place that opens every device; return those that were opened."""
    devices: list[FakeDevice] = []
    pretend(monkeypatch, lambda **asked: devices.append(FakeDevice(**asked)) or devices[-1])
    return devices


def pretend(monkeypatch: pytest.MonkeyPatch, camera: Callable[..., FakeDevice]) -> None:
    module = types.ModuleType("pyvirtualcam")
    module.Camera = camera  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)


def refuse(message: str) -> Callable[..., FakeDevice]:
    def camera(**_: object) -> FakeDevice:
        raise RuntimeError(message)

    return camera


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that plays a Linux system without virtual cameras."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(virtual_camera, "ROOT", tmp_path)
    monkeypatch.setattr(loopback.platform, "release", lambda: RELEASE)
    write(tmp_path / "etc/os-release", 'ID=ubuntu\nID_LIKE="debian"\n')
    for folder in ("lib/modules", "usr/src", "dev"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def plug_in(
    root: Path, number: int, label: str = "avatarify", state: str = "output", form: str = "", has_node: bool = True
) -> Path:
    """Add a v4l2loopback device; return its folder below /sys."""
    folder = root / f"sys/class/video4linux/video{number}"
    for name, text in (("name", label), ("max_openers", "10"), ("state", state), ("format", form)):
        write(folder / name, f"{text}\n")
    write(root / "sys/module/v4l2loopback/parameters/exclusive_caps", "Y,Y,N,N,N,N,N,N\n")
    if has_node:
        write(root / f"dev/video{number}", "")
    return folder


# --- sending ---


def test_it_gets_the_pictures(opened: list[FakeDevice], root: Path) -> None:
    sink = VirtualCamera(SIZE, Fraction(30000, 1001))
    assert opened[0].asked[:2] == SIZE
    assert opened[0].asked[2] == pytest.approx(29.97, abs=0.001)
    pictures = [plain_picture(level, 36, 64) for level in (10, 20, 30)]
    opened[0].takes = 2
    sink.send(pictures[0], 0.0)
    sink.send(pictures[1], 0.1)
    np.testing.assert_array_equal(opened[0].sent, pictures[:2])
    with pytest.raises(VirtualCameraError, match="device gone"):
        sink.send(pictures[2], 0.2)
    sink.close()
    assert opened[0].is_closed


@pytest.mark.parametrize("is_put_back", [False, True])
def test_a_removed_device_is_noticed_even_if_another_takes_its_name(
    opened: list[FakeDevice], root: Path, tmp_path: Path, is_put_back: bool
) -> None:
    """pyvirtualcam itself would only complain on stderr."""
    node = write(tmp_path / "dev/loop", "")
    sink = VirtualCamera(SIZE, Fraction(30), str(node))
    sink.send(plain_picture(1, 36, 64), 0.0)
    node.rename(tmp_path / "dev/away")
    if is_put_back:
        write(node, "")
    with pytest.raises(VirtualCameraError, match="was removed"):
        sink.send(plain_picture(1, 36, 64), 0.1)
    sink.close()
    assert opened[0].is_closed


@pytest.mark.parametrize("is_known_at_once", [True, False])
def test_a_device_that_keeps_another_size_is_refused(
    opened: list[FakeDevice], root: Path, is_known_at_once: bool
) -> None:
    """pyvirtualcam ignores which size it was given and would send torn pictures."""
    folder = plug_in(root, 3)
    kept = "YU12:640x480@30\n"
    with pytest.raises(VirtualCameraError, match=r"held at 640x480 while 64x36 is wanted.*--size 640x480"):
        if is_known_at_once:
            write(folder / "format", kept)
        sink = VirtualCamera(SIZE, Fraction(30))
        write(folder / "format", kept)
        sink.send(plain_picture(1, 36, 64), 0.0)
    assert opened[0].is_closed == is_known_at_once


def test_the_size_that_was_asked_for_is_taken(opened: list[FakeDevice], root: Path) -> None:
    plug_in(root, 3, form="YU12:64x36@30000/1001")
    sink = VirtualCamera(SIZE, Fraction(30))
    sink.send(plain_picture(1, 36, 64), 0.0)
    assert len(opened[0].sent) == 1


# --- which one ---


@pytest.mark.parametrize(
    ("wanted", "device"),
    [
        (None, "/dev/video7"),
        ("/dev/video12", "/dev/video12"),
        ("Second camera", "/dev/video12"),
        ("second", "/dev/video12"),
        ("AVATARIFY", "/dev/video7"),
        ("v4l2loopback", "/dev/video9"),  # pyvirtualcam chooses
    ],
)
def test_a_device_is_found_by_its_path_its_name_or_a_part_of_it(
    opened: list[FakeDevice], root: Path, wanted: str | None, device: str
) -> None:
    plug_in(root, 2, "OBS", state="capture")  # another program sends to it
    plug_in(root, 12, "Second camera")
    plug_in(root, 7)
    VirtualCamera(SIZE, Fraction(30), wanted)
    assert opened[0].device == device


def test_the_next_free_device_is_tried(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def camera(device: str, **asked: object) -> FakeDevice:
        if device == "/dev/video1":
            raise RuntimeError("'v4l2loopback' backend: could not be configured: Device or resource busy")
        return FakeDevice(device=device, **asked)  # type: ignore[arg-type]

    pretend(monkeypatch, camera)
    plug_in(root, 1)
    plug_in(root, 4)
    assert VirtualCamera(SIZE, Fraction(30)).device == "/dev/video4"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("/dev/video5", r"no virtual camera is called '/dev/video5', there are: /dev/video1, /dev/video2, first, "),
        ("nonsense", r"there are: .*first, second, v4l2loopback; choose one of them"),
        ("s", r"several virtual cameras are called 's'"),
    ],
)
def test_an_unknown_name_lists_the_known_ones(opened: list[FakeDevice], root: Path, wanted: str, message: str) -> None:
    plug_in(root, 1, "first")
    plug_in(root, 2, "second")
    with pytest.raises(VirtualCameraError, match=message):
        VirtualCamera(SIZE, Fraction(30), wanted)
    assert not opened


def test_a_device_that_is_not_a_virtual_camera_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, refuse("'v4l2loopback' backend: not a video output device."))
    plug_in(root, 1, "first")
    webcam = write(root / "dev/video0", "")
    with pytest.raises(VirtualCameraError, match=r"it is not a virtual camera, these are: /dev/video1 \(first\)"):
        VirtualCamera(SIZE, Fraction(30), str(webcam))


def test_a_backend_of_windows_is_chosen_by_name(opened: list[FakeDevice], monkeypatch: pytest.MonkeyPatch) -> None:
    classes = {r"CLSID\{A3FCE0F5-3493-419F-958A-ABA1250EC20B}": "OBS", unity_class(0x10): "Unity Video Capture"}
    monkeypatch.setattr(virtual_camera, "probe", lambda *_: probe("win32", read_class=classes.get))
    for wanted, expected in ((None, "obs"), ("unitycapture", "unitycapture"), ("obs virtual camera", "obs")):
        VirtualCamera(SIZE, Fraction(30), wanted)
        assert opened[-1].backend == expected


# --- what is missing ---


@pytest.mark.parametrize(
    ("platform", "hint"),
    [
        ("linux", "sudo modprobe v4l2loopback"),
        ("win32", "OBS Studio"),
        ("darwin", "Start Virtual Camera"),
        ("plan9", "--output"),
    ],
)
def test_a_missing_driver_names_the_fix_of_every_system(
    root: Path, monkeypatch: pytest.MonkeyPatch, platform: str, hint: str
) -> None:
    pretend(monkeypatch, refuse("no\ndevice"))
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(VirtualCameraError, match=hint) as caught:
        VirtualCamera(SIZE, Fraction(30))
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(VirtualCameraError, match="pip install pyvirtualcam"):
        VirtualCamera(SIZE, Fraction(30))


def test_a_camera_that_another_program_feeds_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, refuse("virtual camera output could not be started"))
    monkeypatch.setattr(virtual_camera, "probe", lambda *_: probe("win32", read_class=lambda _: "a camera"))
    with pytest.raises(VirtualCameraError, match=r"could not be started\): stop the program that is sending to it"):
        VirtualCamera(SIZE, Fraction(30))


def linux(root: Path) -> tuple[bool, str, str]:
    backend = probe("linux", root)[0]
    assert backend.name == "v4l2loopback"
    return backend.is_available, backend.reason, backend.fix


def test_linux_without_the_module(root: Path) -> None:
    is_available, reason, fix = linux(root)
    assert (is_available, reason) == (False, "v4l2loopback is not installed")
    assert fix.startswith("sudo apt install v4l2loopback-dkms, then sudo modprobe v4l2loopback")
    for name, command in (("fedora", "dnf"), ("arch", "pacman"), ("opensuse-leap", "zypper"), ("slackware", "apt")):
        write(root / "etc/os-release", f'ID="{name}"\nID_LIKE="suse opensuse"\n' if "suse" in name else f"ID={name}\n")
        assert command in linux(root)[2]


def test_linux_with_the_module_built_for_another_kernel(root: Path) -> None:
    write(root / "lib/modules/5.10.0/modules.dep", "updates/dkms/v4l2loopback.ko.xz: kernel/media/videodev.ko\n")
    is_available, reason, fix = linux(root)
    assert (is_available, reason) == (False, f"v4l2loopback is not built for this kernel, {RELEASE}")
    assert fix.startswith("sudo apt install linux-headers-$(uname -r) && sudo dkms autoinstall, then sudo modprobe")


def test_linux_with_the_module_not_loaded(root: Path) -> None:
    write(root / f"lib/modules/{RELEASE}/modules.dep", "updates/dkms/v4l2loopback.ko: kernel/media/videodev.ko\n")
    is_available, reason, fix = linux(root)
    assert (is_available, reason) == (False, "the kernel module v4l2loopback is not loaded")
    assert fix.startswith("sudo modprobe v4l2loopback")


def test_linux_with_the_module_but_no_device(root: Path) -> None:
    (root / "sys/module/v4l2loopback").mkdir(parents=True)
    is_available, reason, fix = linux(root)
    assert (is_available, reason) == (False, "v4l2loopback is loaded but has no device")
    assert "modprobe -r v4l2loopback" in fix


def test_linux_with_a_device_that_is_not_in_dev(root: Path) -> None:
    plug_in(root, 2, has_node=False)
    is_available, reason, fix = linux(root)
    assert not is_available
    assert "/dev/video2 (avatarify)" in reason
    assert "--device /dev/video2" in fix


def test_linux_with_a_device_that_this_user_may_not_write_to(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(root, 2)
    monkeypatch.setattr(loopback.os, "access", lambda *_: False)  # root may write to everything
    is_available, reason, fix = linux(root)
    assert (is_available, reason) == (False, "this user may not write to /dev/video2")
    assert "usermod -aG video" in fix


def test_linux_with_a_device_that_another_program_feeds(root: Path) -> None:
    plug_in(root, 2, state="capture")
    is_available, reason, fix = linux(root)
    assert not is_available
    assert "another program is sending to /dev/video2" in reason
    assert "devices=2" in fix


def test_linux_with_a_free_device(root: Path) -> None:
    plug_in(root, 2, state="capture")
    plug_in(root, 10)
    assert linux(root) == (True, "", "")
    assert probe("linux", root)[0].devices == ("/dev/video10", "/dev/video2")


def test_a_camera_that_browsers_hide_is_reported(root: Path) -> None:
    plug_in(root, 2)
    write(root / "sys/module/v4l2loopback/parameters/exclusive_caps", "N,N,N,N,N,N,N,N\n")
    is_available, reason, fix = linux(root)
    assert is_available
    assert "browsers do not show" in reason
    assert "exclusive_caps=1" in fix


def test_other_video_devices_are_not_virtual_cameras(root: Path) -> None:
    write(root / "sys/class/video4linux/video0/name", "Integrated Camera\n")
    assert probe("linux", root)[0].devices == ()


def unity_class(code: int) -> str:
    return rf"CLSID\{{5C2CD55C-92AD-4999-8666-912BD3E700{code:02X}}}"


def test_windows() -> None:
    nothing = probe("win32", read_class=lambda _: None)
    assert [(backend.name, backend.is_available) for backend in nothing] == [("obs", False), ("unitycapture", False)]
    assert "obsproject.com" in nothing[0].fix
    assert "UnityCapture" in nothing[1].fix
    classes = {unity_class(0x10): "Unity Video Capture", unity_class(0x12): "Second ", unity_class(0x11): "library"}
    obs, unity = probe("win32", read_class=classes.get)
    assert not obs.is_available
    assert unity.is_available
    assert unity.devices == ("Unity Video Capture", "Second")


def test_mac(tmp_path: Path) -> None:
    backend = probe("darwin", tmp_path)[0]
    assert (backend.is_available, backend.reason) == (False, "OBS Studio is not installed")
    (tmp_path / "Applications/OBS.app").mkdir(parents=True)
    backend = probe("darwin", tmp_path)[0]
    assert (backend.is_available, backend.reason) == (False, "OBS Studio's camera extension is not active")
    extension = "com.obsproject.obs-studio.mac-camera-extension.systemextension"
    (tmp_path / "Library/SystemExtensions/0A-1B" / extension).mkdir(parents=True)
    backend = probe("darwin", tmp_path)[0]
    assert (backend.is_available, backend.devices, backend.reason) == (True, ("OBS Virtual Camera",), "")


def test_this_system_answers() -> None:
    for backend in probe():
        assert bool(backend.reason) == bool(backend.fix)
        assert backend.is_available or backend.reason
