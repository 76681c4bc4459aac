"""Recording to an mp4 file (H.264, plays everywhere). PyAV lives only here."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from avatarify_plus.errors import SinkError
from avatarify_plus.types import Image

if TYPE_CHECKING:
    import av

LIVE_TIME_BASE = Fraction(1, 90_000)
"""Tick of a recording whose frames come when they come."""

ENCODER_OPTIONS = {"crf": "18", "preset": "veryfast", "g": "50", "bf": "0"}

FILE_OPTIONS = {"movflags": "hybrid_fragmented", "frag_duration": "1000000", "flush_packets": "1"}
"""While recording, the file is written in one-second fragments, so that even a killed program leaves a film that plays;
closing turns it into a plain mp4."""


class Recorder:
    """Write an mp4 file.

    `is_constant` True: the frames are those of a file of this rate, and the recording has the same rate and count.
    False: frames keep the times they are sent with; the rate is only a hint.
    """

    name = "recording"

    def __init__(self, path: Path, size_px: int, rate: Fraction, is_constant: bool) -> None:
        """Open the file for square pictures. Raises SinkError if it cannot be written."""
        import av  # here, not above: loaded before OpenCV, PyAV's copy of libxcb makes cv2.imshow hang (PyAV 1050)

        self._path = path
        self._time_base = 1 / rate if is_constant else LIVE_TIME_BASE
        self._first_s: float | None = None
        self._last_tick = -1
        self._make_frame = av.VideoFrame.from_ndarray
        self._container: av.container.OutputContainer | None = None
        if not path.parent.is_dir():
            raise SinkError(f"cannot write {path}: there is no folder {path.parent}; create it or choose another")
        try:
            with path.open("ab"):  # PyAV opens the file with the first frame; what prevents that is told now
                self._container = av.open(str(path), "w", format="mp4", options=FILE_OPTIONS)
            self._stream = self._container.add_stream("libx264", rate, options=ENCODER_OPTIONS)
        except (OSError, ValueError) as error:  # PyAV's errors are both, by kind
            with contextlib.suppress(SinkError):
                self.close()
            raise SinkError(f"cannot write {path}: {error}; check the folder's permissions and free space") from error
        self._stream.width = self._stream.height = size_px
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = self._stream.codec_context.time_base = self._time_base

    def send(self, image: Image, time_s: float) -> None:
        """Append a picture. Raises SinkError if the disk is full or gone."""
        if self._first_s is None:
            self._first_s = time_s
        tick = round((time_s - self._first_s) / self._time_base)
        self._last_tick = max(tick, self._last_tick + 1)
        frame = self._make_frame(image, format="rgb24")
        frame.pts, frame.time_base = self._last_tick, self._time_base
        self._write(frame)

    def _write(self, frame: av.VideoFrame | None) -> None:
        """Encode a frame, or what the encoder still holds back."""
        if self._container is None:
            raise SinkError(f"cannot write {self._path}: the recording was closed")
        try:
            self._container.mux(self._stream.encode(frame))
        except (OSError, ValueError) as error:
            raise SinkError(f"cannot write {self._path}: {error}; check the free space of the disk") from error

    def close(self) -> None:
        """Finish the file; without a single frame there will be none. Raises SinkError if it cannot be finished."""
        if self._container is None:
            return
        try:
            if self._last_tick >= 0:
                self._write(None)
        finally:
            container, self._container = self._container, None
            self._finish(container)

    def _finish(self, container: av.container.OutputContainer) -> None:
        try:
            container.close()
        except (OSError, ValueError) as error:
            raise SinkError(f"cannot finish {self._path}: {error}; check the free space of the disk") from error
        finally:
            if self._last_tick < 0 and self._path.is_file() and not self._path.stat().st_size:
                self._path.unlink()
