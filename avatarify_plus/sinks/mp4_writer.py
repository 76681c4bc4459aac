"""Writing an mp4 file (H.264, which plays everywhere). In the app, PyAV is used only here."""

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
"""Whether a small file counts or a fast encoder."""

ENCODER_OPTIONS: dict[Speed, dict[str, str]] = {
    "small": {"crf": "18", "preset": "veryfast", "g": "50", "bf": "0"},
    "fast": {"crf": "20", "preset": "ultrafast", "g": "50", "bf": "0"},
}
"""Options of x264. At 1280x720 `fast` takes half the processor time of `small`, and twice the space on disk."""

FILE_OPTIONS = {"movflags": "hybrid_fragmented", "frag_duration": "1000000", "flush_packets": "1"}
"""While recording, the file is written in fragments of one second, so that even a killed program leaves a video that
plays; closing turns it into a plain mp4."""

BT601 = 6
"""H.264's number of the colour matrix that pictures are converted with; players that miss it guess by the size."""

LIMITED_RANGE = 1
"""H.264's number of luma levels from 16 to 235."""


class Mp4Writer:
    """Append pictures to an mp4 file. `close` finishes it."""

    def __init__(self, path: Path, size: Size, rate: Fraction, time_base: Fraction, speed: Speed) -> None:
        """Open the file for pictures of an even size; an existing one is replaced.

        rate: frames a second, a hint if they come irregularly. time_base: length of a tick in seconds. Raises SinkError
        if the file cannot be written or the size is odd.
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
            with path.open("ab"):  # PyAV opens the file at the first frame only; what prevents that is found now
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
        """Append a picture: (H, W, 3) uint8 for rgb24, (3 * H / 2, W) uint8 for yuv420p.

        tick: its time in units of the time base, larger than the one before.
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
        """Finish the file; a file without a single picture is deleted. Raises SinkError if it cannot be finished."""
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
