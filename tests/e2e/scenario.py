"""What happens inside the emulated machine: a webcam, the app as it is, and another program that looks at its camera.

Runs under the host's Python. Writes what was seen to result.json, step by step; the tests judge it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from avatarify_plus.sinks.virtual_camera import VirtualCamera
from avatarify_plus.types import Image, Size

sys.path.insert(0, str(Path(__file__).resolve().parent))
from usb_webcam import UsbWebcam, found_device

ROOT = Path(__file__).resolve().parents[2]
SHARE = Path("/dev/shm/share")
OUTPUT, FED_WEBCAM = "/dev/video8", "/dev/video9"
VIVID = "/sys/bus/platform/drivers/vivid"
COLOURS = (
    (220, 30, 30),
    (30, 200, 40),
    (40, 60, 210),
    (200, 200, 200),
    (20, 20, 20),
    (210, 190, 30),
)
SENT_HZ = 8
MIN_CHANGE = 0.1
"""Mean difference of two pictures, of 255, that counts as motion; apart from motion they are equal."""

PATIENCE_S = 240.0

result: dict[str, Any] = {}


def note(**values: Any) -> None:
    """Keep what was seen, so that a hang later loses nothing."""
    result.update(values)
    (SHARE / "result.json").write_text(json.dumps(result, indent=1))


def wait_for(condition: Any, what: str) -> Any:
    """Return the condition's first true value."""
    end_s = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        if time.monotonic() > end_s:
            raise TimeoutError(f"waited in vain for {what}")
        time.sleep(0.1)
    return value


class App:
    """The unmodified run.py in a process of its own, with its messages."""

    def __init__(self, *options: str) -> None:
        command = [
            sys.executable,
            "run.py",
            "--no-config",
            "--no-preview",
            "--log-stats",
            *options,
        ]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.strip())
            print(line, end="", flush=True)

    def says(self, *words: str) -> str:
        """Wait for a line that holds all these words."""

        def search() -> str | None:
            if self.process.poll() is not None:
                raise RuntimeError(f"the app ended with {self.process.returncode}: {self.lines}")
            return next(
                (line for line in self.lines if all(word in line for word in words)),
                None,
            )

        return str(wait_for(search, f"a line with {words}"))

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal; return the exit code and what it says at last."""
        self.process.send_signal(number)
        assert self.process.stdout is not None
        return self.process.wait(PATIENCE_S), self.process.stdout.read()


@contextlib.contextmanager
def pictures_of(device: str) -> Iterator[cv2.VideoCapture]:
    """Be another program that opens a camera."""

    def open_camera() -> cv2.VideoCapture | None:
        capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
        if capture.isOpened():
            return capture
        capture.release()
        return None

    capture = wait_for(open_camera, f"{device} to be a camera")
    try:
        yield capture
    finally:
        capture.release()


def watch(capture: cv2.VideoCapture, seconds: float) -> dict[str, Any]:
    """Look at a camera for a while."""
    pictures: list[Image] = []
    begun_s = time.monotonic()
    while time.monotonic() - begun_s < seconds:
        found, picture = capture.read()
        if found:
            pictures.append(picture)
    elapsed_s = time.monotonic() - begun_s
    changes = [float(np.abs(a.astype(int) - b).mean()) for a, b in itertools.pairwise(pictures)]
    return {
        "count": len(pictures),
        "rate": len(pictures) / elapsed_s,
        "size": list(pictures[0].shape[1::-1]) if pictures else None,
        "max_change": max(changes, default=0.0),
        "late_change": max(changes[len(changes) // 2 :], default=0.0),
    }


def watch_until_it_moves(capture: cv2.VideoCapture) -> dict[str, Any]:
    """Look at a camera until its pictures change."""
    seen: list[dict[str, Any]] = []

    def look() -> bool:
        seen.append(watch(capture, 5))
        return bool(seen[-1]["max_change"] > MIN_CHANGE)

    wait_for(look, "the avatar to move")
    return seen[-1]


def load_loopback() -> None:
    options = [
        "devices=2",
        "video_nr=8,9",
        "card_label=avatarify,Fed",
        "exclusive_caps=1,1",
    ]
    subprocess.run([SHARE / "busybox", "insmod", SHARE / "v4l2loopback.ko", *options], check=True)


def plug_vivid(is_plugged: bool) -> None:
    """Take the webcam away from its driver, as unplugging does, or put it back."""
    Path(VIVID, "bind" if is_plugged else "unbind").write_text("vivid.0")


def colours() -> None:
    """Send bars of known colours through our sink and read them with OpenCV."""
    size = Size(360, 240)
    bars = np.repeat(np.array(COLOURS, np.uint8)[None], size.height, 0).repeat(size.width // len(COLOURS), 1)
    sink, done = VirtualCamera(size, Fraction(30), OUTPUT), threading.Event()

    def send() -> None:
        while not done.wait(1 / SENT_HZ):
            sink.send(np.ascontiguousarray(bars), time.monotonic())

    thread = threading.Thread(target=send)
    thread.start()
    try:
        with pictures_of(OUTPUT) as capture:
            wait_for(lambda: capture.read()[0], "a picture")
            note(colours_watched=watch(capture, 5))
            picture = capture.read()[1]
    finally:
        done.set()
        thread.join()
        sink.close()
    centres = picture[120, 30::60, ::-1]
    note(colours_sent=COLOURS, colours_seen=centres.tolist())


def webcam_comes_and_goes() -> None:
    """No virtual camera at first, then one; the webcam is unplugged and put back; SIGTERM at last."""
    recording = SHARE / "live.mp4"
    app = App(
        "--avatar", "examples/avatar_1.jpg", "--camera", "vivid", "--model", str(SHARE / "tiny"),
        "--framing", "none", "--motion", "absolute",
        "--size", "320x240", "--virtual-camera-device", OUTPUT, "--output", str(recording), "--camera-size", "320x180",
    )  # fmt: skip
    note(missing=app.says("warning", "virtual camera"))
    note(first_stats=app.says("fps"))
    load_loopback()
    with pictures_of(OUTPUT) as capture:
        note(running=watch_until_it_moves(capture))
        plug_vivid(False)
        note(unplugged=app.says("warning", "webcam"))
        watch(capture, 4)  # what was on its way arrives
        note(while_unplugged=watch(capture, 5))
        before = len(app.lines)
        plug_vivid(True)
        note(
            back=wait_for(
                lambda: [line for line in app.lines[before:] if "back" in line],
                "the webcam to be back",
            )
        )
        note(afterwards=watch_until_it_moves(capture))
    code, last_words = app.end(signal.SIGTERM)
    note(terminated=code, last_words=last_words, lines=app.lines)
    video, count = cv2.VideoCapture(str(recording)), 0
    while video.read()[0]:
        count += 1
    note(recorded=count)


def cameras() -> None:
    command = [sys.executable, "run.py", "--list-cameras"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    note(list_cameras=done.stdout, list_cameras_code=done.returncode)


@contextlib.contextmanager
def fed_webcam() -> Iterator[None]:
    """Play the example driver into the second loopback device, slowly: so a webcam looks from outside."""
    video = cv2.VideoCapture(str(ROOT / "examples/driver.mp4"))
    frames = [np.ascontiguousarray(video.read()[1][..., ::-1]) for _ in range(40)]
    height, width = frames[0].shape[:2]
    sink, done = (
        VirtualCamera(Size(width, height), Fraction(10), FED_WEBCAM),
        threading.Event(),
    )

    def feed() -> None:
        index = 0
        while not done.wait(0.2):
            sink.send(frames[index % len(frames)], time.monotonic())
            index += 1

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        sink.close()


def usb_webcam() -> None:
    """A webcam on a USB port, by its name; pulled out and plugged in again."""
    video = cv2.VideoCapture(str(ROOT / "examples/driver.mp4"))
    pictures = [cv2.resize(video.read()[1][..., ::-1], (320, 240), interpolation=cv2.INTER_AREA) for _ in range(30)]
    webcam = UsbWebcam(pictures)
    webcam.plug()
    note(usb_device=found_device(wait_for))
    app = App(
        "--avatar", "examples/avatar_1.jpg", "--camera", "emulated usb", "--model", str(SHARE / "tiny"),
        "--framing", "none", "--motion", "absolute", "--size", "320x240", "--virtual-camera-device", OUTPUT,
    )  # fmt: skip
    note(usb_stats=app.says(" fps"))
    with pictures_of(OUTPUT) as capture:
        note(usb_running=watch_until_it_moves(capture))
        webcam.unplug()
        note(usb_unplugged=app.says("warning", "webcam"))
        before = len(app.lines)
        webcam.plug()
        note(
            usb_back=wait_for(lambda: [line for line in app.lines[before:] if "back" in line], "the webcam to be back")
        )
        note(usb_afterwards=watch_until_it_moves(capture))
    note(usb_ended=app.end(signal.SIGTERM)[0])
    webcam.unplug()


def the_real_avatar() -> None:
    """The shipped model on a face; Ctrl-C at last."""
    with fed_webcam():
        app = App(
            "--avatar", "examples/avatar_2.jpg", "--camera", "fed", "--size", "256x256", "--no-badge",
            "--virtual-camera-device", OUTPUT, "--camera-size", "auto", "--camera-fps", "auto",
        )  # fmt: skip
        note(avatar_stats=app.says(" fps", "openvino"))
        with pictures_of(OUTPUT) as capture:
            pictures = []
            wait_for(
                lambda: len([line for line in app.lines if " fps" in line]) > 8,
                "some pictures",
            )
            begun_s = time.monotonic()
            # a busy host computes a picture in ten seconds and more
            while (elapsed_s := time.monotonic() - begun_s) < 10 or (not pictures and elapsed_s < 60):
                found, picture = capture.read()
                if found:
                    pictures.append(picture[..., ::-1])
        np.save(SHARE / "avatar.npy", np.stack(pictures[:: max(len(pictures) // 12, 1)]))
        code, last_words = app.end(signal.SIGINT)
        note(interrupted=code, interrupted_words=last_words, avatar_lines=app.lines)


def main() -> None:
    """Run all; a part that fails is noted and the next one begins."""
    for part in (webcam_comes_and_goes, colours, cameras, usb_webcam, the_real_avatar):
        begun_s = time.monotonic()
        try:
            part()
        except Exception as error:  # noqa: BLE001  # whatever it is, the tests report it
            note(**{f"{part.__name__}_failed": repr(error)})
        print(f"== {part.__name__}: {time.monotonic() - begun_s:.0f} s", flush=True)
    note(finished=True)


if __name__ == "__main__":
    main()
