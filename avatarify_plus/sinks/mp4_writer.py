"""An mp4 file in the making (H.264, plays everywhere). PyAV lives only here."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from avatarify_plus.errors import SinkError
from avatarify_plus.types import Image, Size

if TYPE_CHECKING:
    import av

Speed = Literal["small", "fast"]

ENCODER_OPTIONS: dict[Speed, dict[str, str]] = {
    "small": {"crf": "18", "preset": "veryfast", "g": "50", "bf": "0"},
    "fast": {"crf": "20", "preset": "ultrafast", "g": "50", "bf": "0"},
}
"""What x264 is told. At 1280x720 `fast` takes half the processor time of `small`, for twice the file."""

FILE_OPTIONS = {"movflags": "hybrid_fragmented", "frag_duration": "1000000", "flush_packets": "1"}
"""While recording, the file is written in one-second fragments, so that even a killed program leaves a film that plays;
closing turns it into a plain mp4."""

BT601 = 6
"""The colour matrix that our pictures are converted with, as H.264 numbers it; without it, players guess by size."""

LIMITED_RANGE = 1


class Mp4Writer:
    """Append pictures to an mp4 file."""

    def __init__(self, path: Path, size: Size, rate: Fraction, time_base: Fraction, speed: Speed) -> None:
        """Open the file for pictures of an even size; an existing one is replaced.

        rate: frames a second, a hint where they come irregularly. time_base: seconds of a tick. Raises SinkError if the
        file cannot be written.
        """
        import av  # here, not above: loaded before OpenCV, PyAV's copy of libxcb makes cv2.imshow hang (PyAV 1050)

        self._path = path
        self._time_base = time_base
        self._is_empty = True
        self._make_frame = av.VideoFrame.from_ndarray
        self._container: av.container.OutputContainer | None = None
        if not path.parent.is_dir():
            raise SinkError(f"cannot write {path}: there is no folder {path.parent}; create it or choose another")
        if size.width % 2 or size.height % 2:
            raise SinkError(f"cannot write {path}: H.264 wants even sizes, found {size}; choose an even --size")
        try:
            with path.open("ab"):  # PyAV opens the file with the first frame; what prevents that is told now
                self._container = av.open(str(path), "w", format="mp4", options=FILE_OPTIONS)
            self._stream = self._container.add_stream("libx264", rate, options=ENCODER_OPTIONS[speed])
        except (OSError, ValueError) as error:  # PyAV's errors are both, by kind
            with contextlib.suppress(SinkError):
                self.close()
            raise SinkError(f"cannot write {path}: {error}; check the folder's permissions and free space") from error
        codec = self._stream.codec_context
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = codec.time_base = time_base
        codec.colorspace, codec.color_range = BT601, LIMITED_RANGE

    def write(self, picture: Image, tick: int, pixels: Literal["rgb24", "yuv420p"] = "rgb24") -> None:
        """Append a picture: (H, W, 3) for rgb24, (3 * H / 2, W) for yuv420p. Ticks must rise.

        Raises SinkError if the disk is full or gone, or the file was deleted.
        """
        if self._container is None:
            raise SinkError(f"cannot write {self._path}: the recording was closed")
        if not self._path.exists():  # the system would let a deleted file grow unseen
            raise SinkError(f"cannot write {self._path}: it was deleted, or its disk was removed; choose another place")
        frame = self._make_frame(picture, format=pixels)
        frame.pts, frame.time_base = tick, self._time_base
        self._encode(self._container, frame)
        self._is_empty = False

    def _encode(self, container: av.container.OutputContainer, frame: av.VideoFrame | None) -> None:
        """Encode a frame, or what the encoder still holds back."""
        try:
            container.mux(self._stream.encode(frame))
        except (OSError, ValueError) as error:
            raise SinkError(f"cannot write {self._path}: {error}; check the free space of the disk") from error

    def close(self) -> None:
        """Finish the file; without a single picture there will be none. Raises SinkError if it cannot be finished."""
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            if not self._is_empty:
                self._encode(container, None)
        finally:
            self._finish(container)

    def _finish(self, container: av.container.OutputContainer) -> None:
        try:
            container.close()
        except (OSError, ValueError) as error:
            raise SinkError(f"cannot finish {self._path}: {error}; check the free space of the disk") from error
        finally:
            if self._is_empty and self._path.is_file() and not self._path.stat().st_size:
                self._path.unlink()
