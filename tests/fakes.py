"""Stand-ins for devices and models, and small pictures and videos made on the spot."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from avatarify_plus.engines import Source
from avatarify_plus.errors import SinkError
from avatarify_plus.motion.expression import set_lip_gaps
from avatarify_plus.motion.keypoints import load_mean_face
from avatarify_plus.network.config import KeypointOrigin, NetworkConfig, network_config
from avatarify_plus.sinks.recorder import Recorder
from avatarify_plus.types import FloatArray, Image, Keypoints, PhotoRegion, Size

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


class FakeEngine:
    """Remembers what it was asked; its pictures are the source's, brightened by the number of calls."""

    name = "fake"
    device = "thin air"
    precision = "fp32"

    def __init__(self, keypoints: KeypointOrigin = "mesh", image_size: int = 64) -> None:
        count, learned = {"mesh": (20, 0), "learned": (10, 0), "both": (24, 4)}[keypoints]
        self.config: NetworkConfig = network_config(
            "ours-skip",
            "tiny",
            keypoints=keypoints,
            keypoint_count=count,
            learned_count=learned,
            image_size=image_size,
        )
        self.sources: list[Image] = []
        self.animated: list[Keypoints] = []
        self.played: list[Source] = []
        self.detected: list[Image] = []
        self.is_closed = False

    def detect(self, image: Image) -> Keypoints:
        self.detected.append(image)
        count = self.config.detected_count
        value = np.linspace(-0.5, 0.5, 2 * count, dtype=np.float32).reshape(count, 2) + np.float32(image.mean() / 1000)
        value[::2, 1] += 0.1  # not all on one line
        return Keypoints(value, np.tile(np.eye(2, dtype=np.float32), (count, 1, 1)))

    def encode_source(self, image: Image, keypoints: Keypoints, photo: PhotoRegion | None = None) -> Source:
        self.sources.append(image)
        return Source(keypoints, {})

    def animate(self, source: Source, keypoints: Keypoints) -> Image:
        self.animated.append(keypoints)
        self.played.append(source)
        return self.sources[-1] // 2 + np.uint8(len(self.animated) % 100)

    def close(self) -> None:
        self.is_closed = True

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FakeReader:
    """A device or file whose pictures are given; `hold` makes it wait before the picture after the last."""

    def __init__(
        self, pictures: Iterable[Image], is_live: bool = True, rate: int = 25, hold: threading.Event | None = None
    ) -> None:
        self.name = "fake camera"
        self.rate = Fraction(rate)
        self.time_base = 1 / self.rate
        self.time_s = self.end_s = 0.0
        self.count: int | None = None
        self.is_live = is_live
        self.close_count = 0
        self.exhausted = threading.Event()
        self._pictures: Iterator[Image] = iter(pictures)
        self._hold = hold

    def read(self) -> Image | None:
        picture = next(self._pictures, None)
        if picture is None:
            self.exhausted.set()
            if self._hold is not None:
                self._hold.wait(10)
        else:
            self.time_s, self.end_s = self.end_s, self.end_s + float(self.time_base)
        return picture

    def close(self) -> None:
        self.close_count += 1


class FakeSink:
    """Remembers what it was sent; fails from the given picture on."""

    def __init__(self, name: str = "fake sink", fails_at: int | None = None, fails_to_close: bool = False) -> None:
        self.name = name
        self.sent: list[tuple[Image, float]] = []
        self.close_count = 0
        self._fails_at = fails_at
        self._fails_to_close = fails_to_close

    def send(self, image: Image, time_s: float) -> None:
        if self._fails_at is not None and len(self.sent) >= self._fails_at:
            raise SinkError(f"{self.name} is full")
        self.sent.append((image.copy(), time_s))

    def close(self) -> None:
        self.close_count += 1
        if self._fails_to_close:
            raise SinkError(f"{self.name} cannot close")


class FakeClock:
    """Time that passes only by `pass_ms`."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def pass_ms(self, milliseconds: float) -> None:
        self.now_s += milliseconds / 1000


class FakeTimeline:
    """The times of a file without sound, whose pictures come at a constant rate."""

    def __init__(self, rate: Fraction) -> None:
        self.time_base = 1 / rate
        self.end_s = 0.0

    def open_sound(self) -> None:
        """Have none."""


def plain_picture(level: int, height: int = 48, width: int = 64) -> Image:
    return np.full((height, width, 3), level, np.uint8)


def oval_mesh(centre_px: tuple[float, float], height_px: float, width: int, height: int) -> FloatArray:
    """Return (478, 3) landmarks on an ellipse 0.85 as wide as high, in [0, 1] of a picture."""
    angle = np.linspace(0, 2 * np.pi, 478, endpoint=False)
    x = centre_px[0] + 0.5 * 0.85 * height_px * np.cos(angle)
    y = centre_px[1] + 0.5 * height_px * np.sin(angle)
    return np.stack([x / width, y / height, np.zeros(478)], -1).astype(np.float32)


def face_mesh(
    centre_px: tuple[float, float], height_px: float, width: int, height: int, yaw: float = 0.0, shut: float = 0.0
) -> FloatArray:
    """Return the landmarks (478, 3) of a face whose lips touch, in [0, 1] of a picture.

    It is the mean face of the mesh layout, bulging towards the camera, turned about its middle by `yaw` radians, with
    eyes shut by a share.
    """
    flat = load_mean_face("face-20")
    for upper, lower in ((160, 144), (159, 145), (158, 153), (385, 380), (386, 374), (387, 373)):
        flat[upper] += shut * (flat[lower] - flat[upper])
    solid = np.concatenate([flat, 0.4 * np.square(flat).sum(1, keepdims=True)], 1).astype(np.float32)
    set_lip_gaps(solid, np.zeros(9, np.float32))
    turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    solid = solid @ turn.T * (height_px / np.ptp(flat[:, 1]))
    return ((solid + np.array([*centre_px, 0])) / np.array([width, height, width])).astype(np.float32)


def write_video(path: Path, pictures: Iterable[Image], rate: Fraction = Fraction(25)) -> Path:
    """Write pictures of one even size as an mp4."""
    recorder: Recorder | None = None
    for index, picture in enumerate(pictures):
        if recorder is None:
            timeline = FakeTimeline(rate)
            recorder = Recorder(path, Size(picture.shape[1], picture.shape[0]), rate, timeline)
        recorder.send(picture, float(index / rate))
        timeline.end_s = float((index + 1) / rate)
    assert recorder is not None
    recorder.close()
    return path


def read_video(path: Path) -> tuple[list[Image], float]:
    """Return a video's pictures, (H, W, 3) RGB, and its frame rate."""
    capture = cv2.VideoCapture(str(path))
    pictures = []
    while (found := capture.read())[0]:
        pictures.append(found[1][..., ::-1].copy())
    return pictures, capture.get(cv2.CAP_PROP_FPS)


def example_driver(count: int, size_px: int = 320) -> list[Image]:
    """Return the first frames of the example driver as squares."""
    capture = cv2.VideoCapture(str(EXAMPLES / "driver.mp4"))
    frames = [capture.read()[1][:, 80:560, ::-1] for _ in range(count)]
    return [cv2.resize(frame, (size_px, size_px), interpolation=cv2.INTER_AREA) for frame in frames]
