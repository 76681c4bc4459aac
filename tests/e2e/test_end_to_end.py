"""The app in an emulated machine with a real V4L2 webcam and a real virtual camera, as another program sees it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatarify_plus.bundle import Bundle, open_bundle
from export import onnx_bundle
from fakes import EXAMPLES, read_video
from guest_image import default_folder
from tiny_models import lively_model, save_as_training_does

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("AVATARIFY_GUEST", default_folder()))
TIME_LIMIT_S = 900

pytestmark = [
    pytest.mark.skipif(
        shutil.which("qemu-system-x86_64") is None,
        reason="no qemu-system-x86_64: apt install qemu-system-x86",
    ),
    pytest.mark.skipif(
        not (FOLDER / "initramfs.gz").exists(),
        reason=f"no emulated machine in {FOLDER}: python tests/e2e/guest_image.py",
    ),
]


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a model of 64 px that any picture drives: an emulated processor can keep up with it."""
    folder = tmp_path_factory.mktemp("small")
    save_as_training_does(
        lively_model("ours-skip", "learned", 10, image_size=64),
        folder / "checkpoint.pt",
    )
    assert onnx_bundle.main([str(folder / "checkpoint.pt"), str(folder / "tiny")]) == 0
    return open_bundle(folder / "tiny")


@pytest.fixture(scope="module")
def seen(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Boot once, let everything happen, return what was noted."""
    share = tmp_path_factory.mktemp("share")
    for name in ("busybox", "v4l2loopback.ko"):
        shutil.copy(FOLDER / name, share)
    shutil.copytree(small_bundle.folder, share / "tiny")
    (share / "start.sh").write_text(
        "export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/dev/shm/home TMPDIR=/dev/shm/home\n"
        "export MPLCONFIGDIR=/dev/shm/home PYTHONDONTWRITEBYTECODE=1\n"
        f"cd {ROOT}; PYTHONPATH={ROOT} {sys.executable} tests/e2e/scenario.py 2>&1\n"
        "sync; echo o > /proc/sysrq-trigger; sleep 60\n"
    )
    command = [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "4G", "-nographic",
        "-no-reboot", "-kernel", FOLDER / "vmlinuz", "-initrd", FOLDER / "initramfs.gz",
        "-append", "console=ttyS0 quiet panic=-1",
        "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
        "-virtfs", f"local,path={share},mount_tag=share,security_model=none",
    ]  # fmt: skip
    log = share / "console.txt"
    with log.open("wb") as console:
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            timeout=TIME_LIMIT_S,
            check=False,
        )
    console_tail = log.read_text(errors="replace")[-3000:]
    assert (share / "result.json").exists(), console_tail
    found: dict[str, Any] = json.loads((share / "result.json").read_text())
    failures = {name: value for name, value in found.items() if name.endswith("_failed")}
    assert not failures, f"{failures}\n{console_tail}"
    assert found["finished"], console_tail
    return found | {"share": share}


def test_a_missing_virtual_camera_is_reported_with_its_fix_and_used_when_it_comes(
    seen: dict[str, Any],
) -> None:
    assert "modprobe v4l2loopback" in seen["missing"]
    assert seen["running"]["count"] > 1  # the emulated processor takes a second for a picture


def test_another_program_sees_the_size_and_that_it_moves(seen: dict[str, Any]) -> None:
    assert seen["running"]["size"] == [320, 240]
    assert seen["running"]["max_change"] > 0.1  # waited for


def test_pictures_pass_through_the_virtual_camera_at_the_rate_they_are_sent(
    seen: dict[str, Any],
) -> None:
    """An emulated processor is slow, so nearly is enough; eight a second are sent."""
    assert seen["colours_watched"]["size"] == [360, 240]
    assert 6 < seen["colours_watched"]["rate"] < 9


def test_colours_pass_through_the_virtual_camera(seen: dict[str, Any]) -> None:
    error = np.abs(np.array(seen["colours_sent"]) - np.array(seen["colours_seen"]))
    assert error.max() <= 6  # two conversions between RGB and YUV


def test_an_unplugged_webcam_leaves_the_virtual_camera_alive(
    seen: dict[str, Any],
) -> None:
    assert "every second" in seen["unplugged"]
    assert seen["while_unplugged"]["count"] > 8  # of ten a second that the app sends again
    assert seen["while_unplugged"]["late_change"] == 0  # the last picture


def test_the_webcam_that_is_put_back_moves_the_avatar_again(
    seen: dict[str, Any],
) -> None:
    assert seen["back"]
    assert seen["afterwards"]["max_change"] > 0.1


def test_termination_leaves_a_recording_that_plays(seen: dict[str, Any]) -> None:
    assert seen["terminated"] == 0
    assert "wrote" in seen["last_words"]
    assert seen["recorded"] > 10


def test_a_usb_webcam_moves_the_avatar_and_does_so_again_after_it_was_pulled_out(seen: dict[str, Any]) -> None:
    """Not a stand-in in the kernel: the driver of all USB webcams, with a webcam on the other end of its wire."""
    assert seen["usb_device"].startswith("/dev/video")
    assert seen["usb_running"]["max_change"] > 0.1
    assert "Emulated USB webcam" in seen["usb_unplugged"]
    assert seen["usb_back"]
    assert seen["usb_afterwards"]["max_change"] > 0.1
    assert seen["usb_ended"] == 0


def test_cameras_are_listed_with_sizes_and_rates(seen: dict[str, Any]) -> None:
    assert seen["list_cameras_code"] == 0
    for words in ("vivid", "320x180", "fps"):
        assert words in seen["list_cameras"]


def test_the_shipped_avatar_appears_in_the_virtual_camera(seen: dict[str, Any], tmp_path: Path) -> None:
    """What was read back is the avatar, not another one: closer to what the app writes to a file for its photo."""
    pictures = np.load(seen["share"] / "avatar.npy").astype(np.float32)
    assert pictures.shape[1:] == (256, 256, 3)
    distance = {}
    for name in ("avatar_2", "avatar_1"):
        video = tmp_path / f"{name}.mp4"
        command = [
            sys.executable, "run.py", "--no-config", "--avatar", EXAMPLES / f"{name}.jpg", "--no-badge",
            "--camera", EXAMPLES / "driver.mp4", "--output", video, "--seconds", "4",
            "--size", "256x256",
        ]  # fmt: skip
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        expected = np.stack(read_video(video)[0][:60:3]).astype(np.float32)
        distance[name] = np.median([np.abs(expected - picture).mean((1, 2, 3)).min() for picture in pictures])
    assert distance["avatar_2"] < 0.5 * distance["avatar_1"]
    assert seen["interrupted"] == 0
