"""The driver's pictures: a webcam or stream where only the newest frame counts, or files where every frame does."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol

import cv2

from avatarify_plus.errors import CameraError
from avatarify_plus.images import PICTURE_SUFFIXES, from_bgr, read_picture
from avatarify_plus.native_log import hidden_native_messages
from avatarify_plus.types import Frame, Image

logger = logging.getLogger(__name__)

USUAL_RATE = Fraction(30)
"""Taken where a device does not tell its frame rate."""

STALL_S = 10.0
"""A camera silent for this long is given up."""

CLOSE_S = 2.0
"""How long closing waits for a read that hangs."""

POLL_S = 0.1
"""How often a wait for a picture looks whether it shall stop."""


class PictureReader(Protocol):
    """Where pictures come from, one after the other.

    name: for people. rate: frames a second. count: how many there will be, or None if that is not known.
    is_live: they arrive by themselves, at their own time.
    """

    name: str
    rate: Fraction
    count: int | None
    is_live: bool

    def read(self) -> Image | None:
        """Return the next (H, W, 3) uint8 RGB picture, or None after the last. Raises CameraError."""
        ...

    def close(self) -> None:
        """Release the device or file."""
        ...


class CaptureReader:
    """Pictures that OpenCV decodes: a webcam, a stream or a video file; phone videos are turned upright."""

    def __init__(self, capture: cv2.VideoCapture, name: str, is_live: bool, ends: bool) -> None:
        """Take over an opened capture. `ends` False: running out of pictures is a failure, as with a webcam."""
        self.name = name
        self.is_live = is_live
        self._capture = capture
        self._ends = ends
        self._read_count = 0
        rate = capture.get(cv2.CAP_PROP_FPS)
        self.rate = Fraction(rate).limit_denominator(1001) if 1 <= rate <= 1000 else USUAL_RATE
        count = 0 if is_live else int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count: int | None = count if count > 0 else None

    def read(self) -> Image | None:
        """Return the next picture, or None after the last. Raises CameraError."""
        try:
            found, picture = self._capture.read()
        except cv2.error as error:
            raise CameraError(f"cannot read {self.name}: OpenCV says {error.err}") from error
        if found:
            self._read_count += 1
            return from_bgr(picture)
        if not self._ends:
            raise CameraError(
                f"{self.name} gives no pictures any more; check its cable and that no other program uses it"
            )
        if not self._read_count:
            raise CameraError(
                f"{self.name} holds no pictures that can be decoded; try another file or convert it to mp4"
            )
        return None

    def close(self) -> None:
        """Release the device or file."""
        self._capture.release()


class PictureSequence:
    """Still pictures as a video."""

    is_live = False

    def __init__(self, name: str, paths: list[Path], rate: Fraction) -> None:
        self.name = name
        self.rate = rate
        self.count: int | None = len(paths)
        self._paths = iter(paths)

    def read(self) -> Image | None:
        """Return the next picture, or None after the last. Raises CameraError."""
        path = next(self._paths, None)
        if path is None:
            return None
        try:
            return read_picture(path)
        except (OSError, ValueError) as error:
            raise CameraError(
                f"cannot read the picture {path} of {self.name}: {error}; replace or remove it"
            ) from error

    def close(self) -> None:
        """Do nothing: no file stays open."""


def open_reader(camera: str, sequence_fps: float) -> PictureReader:
    """Open what `camera` names: a device number or path, a URL, a video or picture, a folder, or a printf pattern.

    sequence_fps: frame rate given to pictures. Raises CameraError if it is missing or cannot be read.
    """
    if camera.isdigit():
        return _open_device(int(camera), f"webcam {camera}")
    if "://" in camera:
        return _open_stream(camera)
    path = Path(camera)
    if path.is_char_device():
        return _open_device(camera, f"webcam {camera}")
    rate = Fraction(sequence_fps).limit_denominator(1001)
    if "%" in camera and not path.exists():
        return PictureSequence(camera, _list_pattern(camera), rate)
    if path.is_dir():
        return PictureSequence(camera, _list_folder(path), rate)
    if not path.exists():
        raise CameraError(f"there is no driver {camera}: give a webcam's number, an existing file or folder, or a URL")
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return PictureSequence(camera, [path], rate)
    return _open_file(path)


def _open_device(device: int | str, name: str) -> CaptureReader:
    capture = _open_capture(device)
    if capture is None:
        permission = " and that you may read it (Linux: group video)" if sys.platform == "linux" else ""
        raise CameraError(
            f"cannot open {name}: check that it is plugged in, that no other program uses it{permission}; or give "
            "another number or a video file with --camera"
        )
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # an older frame in a queue is only latency
    return CaptureReader(capture, name, is_live=True, ends=False)


def _open_stream(url: str) -> CaptureReader:
    capture = _open_capture(url)
    if capture is None:
        raise CameraError(f"cannot open the stream {url}: check the address, the network and that the camera serves it")
    return CaptureReader(capture, url, is_live=True, ends=True)


def _open_file(path: Path) -> CaptureReader:
    if not os.access(path, os.R_OK):
        raise CameraError(f"cannot read {path}: permission denied; change its permissions or copy it")
    capture = _open_capture(str(path))
    if capture is None:
        raise CameraError(f"cannot read {path} as a video: it is damaged or of an unknown format; convert it to mp4")
    return CaptureReader(capture, str(path), is_live=False, ends=True)


def _open_capture(what: int | str) -> cv2.VideoCapture | None:
    """Return an opened capture, or None."""
    with hidden_native_messages():
        try:
            capture = cv2.VideoCapture(what)
        except cv2.error:
            return None
        if capture.isOpened():
            return capture
        capture.release()
        return None


def _list_folder(folder: Path) -> list[Path]:
    """Return a folder's pictures by name. Raises CameraError if it has none."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise CameraError(f"the folder {folder} holds no pictures; put {', '.join(PICTURE_SUFFIXES)} files there")
    return paths


def _list_pattern(pattern: str) -> list[Path]:
    """Return the files of a printf pattern, counting from 0 or 1 up to the first gap. Raises CameraError for none."""
    try:
        first = next((number for number in (0, 1) if Path(pattern % number).is_file()), None)
    except (TypeError, ValueError) as error:
        raise CameraError(f"{pattern} is no pattern for one number; write it like shots/%04d.png") from error
    if first is None:
        raise CameraError(f"no pictures match {pattern}: neither {pattern % 0} nor {pattern % 1} exists")
    paths: list[Path] = []
    while (path := Path(pattern % (first + len(paths)))).is_file():
        paths.append(path)
    return paths


class Driver(Protocol):
    """The driver's frames, ready to be animated; a context manager that closes what it reads.

    name: for people. rate: frames a second. count: how many frames there will be, None if that is not known.
    is_live: newest frame wins, times are `time.perf_counter()` at capture; otherwise every frame comes, and its time is
    its place in the video.
    """

    name: str
    rate: Fraction
    count: int | None
    is_live: bool

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield frames until there are no more or `stop` is set. Raises CameraError."""
        ...

    @property
    def skipped_count(self) -> int:
        """How many frames were replaced by a newer one before anybody took them."""
        ...

    def __enter__(self) -> Driver: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_driver(camera: str, sequence_fps: float, plays_live: bool) -> Driver:
    """Open what `camera` names (see `open_reader`); a webcam or stream is always live, a file if `plays_live`."""
    reader = open_reader(camera, sequence_fps)
    return LiveCamera(reader) if reader.is_live or plays_live else Film(reader)


class Film:
    """A file's frames in order, every one of them. Takes over the reader."""

    is_live = False
    skipped_count = 0

    def __init__(self, reader: PictureReader) -> None:
        self.name = reader.name
        self.rate = reader.rate
        self.count = reader.count
        self._reader = reader

    def __enter__(self) -> Film:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield frames until there are no more or `stop` is set. Raises CameraError."""
        index = 0
        while not stop.is_set() and (image := self._reader.read()) is not None:
            yield Frame(image, index, float(index / self.rate))
            index += 1


class LiveCamera:
    """Read in a thread of its own and keep only the newest frame; a file is played at its own rate, once.

    Takes over the reader. The thread starts with the first call of `frames` or `latest`: nothing is captured, nor
    counted as skipped, before somebody wants it.
    """

    is_live = True

    def __init__(self, reader: PictureReader) -> None:
        self.name = reader.name
        self.rate = reader.rate
        self.count = reader.count
        self._reader = reader
        self._news = threading.Condition()  # guards the four below
        self._slot: Frame | None = None
        self._skipped_count = 0
        self._has_ended = False
        self._failure: CameraError | None = None
        self._closing = threading.Event()
        self._waiting_since_s = 0.0
        self._thread = threading.Thread(target=self._capture, name="camera", daemon=True)

    def __enter__(self) -> LiveCamera:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            logger.warning("%s hangs and is left to the operating system", self.name)
        else:
            self._reader.close()

    @property
    def skipped_count(self) -> int:
        """How many frames were replaced by a newer one before anybody took them."""
        with self._news:
            return self._skipped_count

    @property
    def has_ended(self) -> bool:
        """Whether the last frame was taken and no other will come."""
        with self._news:
            return self._has_ended and self._slot is None

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield the newest frame each time, until there are no more or `stop` is set. Raises CameraError."""
        while not stop.is_set():
            frame = self.latest(POLL_S)
            if frame is not None:
                yield frame
            elif self.has_ended:
                return

    def latest(self, timeout_s: float) -> Frame | None:
        """Return the newest frame that was not handed out yet, waiting for it; None if none came in time.

        Raises CameraError if the camera failed or has been silent for STALL_S.
        """
        if self._thread.ident is None:
            self._waiting_since_s = time.perf_counter()
            self._thread.start()
        with self._news:
            self._news.wait_for(lambda: self._slot is not None or self._has_ended, timeout_s)
            frame, self._slot = self._slot, None
            if frame is None and self._failure is not None:
                raise self._failure
        now_s = time.perf_counter()
        if frame is not None:
            self._waiting_since_s = now_s
        elif now_s - self._waiting_since_s > STALL_S and not self.has_ended:
            raise CameraError(f"{self.name} gave no picture for {STALL_S:.0f} s; check its connection and start again")
        return frame

    def _capture(self) -> None:
        """Fill the slot until the reader ends, fails or is not wanted any more."""
        failure: CameraError | None = CameraError(
            f"reading {self.name} broke off unexpectedly; the lines above tell where"
        )
        try:
            self._fill_slot()
            failure = None
        except CameraError as error:
            failure = error
        finally:  # whatever happened, the main thread must not wait for ever
            with self._news:
                self._has_ended, self._failure = True, failure
                self._news.notify_all()

    def _fill_slot(self) -> None:
        started_s = time.perf_counter()
        index = 0
        while (image := self._reader.read()) is not None and not self._closing.is_set():
            if not self._reader.is_live:
                self._closing.wait(max(started_s + float(index / self.rate) - time.perf_counter(), 0))
            with self._news:
                self._skipped_count += self._slot is not None
                self._slot = Frame(image, index, time.perf_counter())
                self._news.notify_all()
            index += 1
