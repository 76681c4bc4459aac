"""Films as FFmpeg opens them. Loading PyAV before OpenCV makes OpenCV's windows hang (PyAV 1050): it is loaded late."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from avatarify_plus.errors import CameraError
from avatarify_plus.program.addresses import by_proxy, shown

if TYPE_CHECKING:
    import av

OPTIONS = {"protocol_whitelist": "file"}
"""A playlist that lies on the disk may not fetch anything from a network."""

ADDRESS_OPTIONS = {"protocol_whitelist": "http,https,httpproxy,tcp,tls"}
"""A film on the network may not read anything from the disk."""

NETWORK_S = 8.0
"""How long a server may take to answer, and for each piece of a film."""

AV_TIME_BASE = 1_000_000
"""FFmpeg's ticks a second of what a whole film says of itself."""


class FilmFile:
    """A film that is open for reading.

    container: its streams. name: for people.
    """

    def __init__(self, place: Path | str) -> None:
        """Open a file, whatever bytes its name is made of, or what a web server has at an address.

        Raises CameraError.
        """
        self.place = place
        self.name = shown(place) if isinstance(place, str) else str(place)
        self._file: BinaryIO | None = None
        self._is_open = False
        self.open_again()

    def open_again(self) -> None:
        """Begin from the beginning. Raises CameraError."""
        self.close()
        place = self.place
        opened = self._open_address(place) if isinstance(place, str) else self._open_file(place)
        self.container: av.container.InputContainer = opened
        self._is_open = True
        self._reached_s = 0.0

    def _open_file(self, path: Path) -> av.container.InputContainer:
        import av

        name = str(path.absolute())  # "12:30.mp4" alone would be a protocol
        try:
            with open(name, "rb"):  # Python says plainly why it cannot
                pass
            if not _is_text(name):  # FFmpeg's names are UTF-8
                self._file = open(name, "rb")  # noqa: SIM115  # closed by close()
            return av.open(self._file or name, options=OPTIONS, **_metadata_options(av.__version__))
        except PermissionError as error:
            raise CameraError(
                f"cannot read {self.name}: permission denied; change its permissions or copy it"
            ) from error
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._close_file()
            raise CameraError(
                f"cannot read {self.name} as a video: it is damaged or of an unknown format; convert it to mp4"
            ) from error

    def _open_address(self, address: str) -> av.container.InputContainer:
        import av

        try:
            return av.open(address, options=ADDRESS_OPTIONS, timeout=NETWORK_S, **_metadata_options(av.__version__))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise CameraError(
                f"cannot read the film {self.name}{by_proxy(address)}: check the address, the network and that "
                "it is a video"
            ) from error

    def pictures(self) -> av.VideoStream:
        """Return the stream of pictures, which a song's cover is not. Raises CameraError if there is none."""
        from av.stream import Disposition

        streams = self.container.streams
        moving = [stream for stream in streams.video if not stream.disposition & Disposition.attached_pic]
        if not moving:
            raise CameraError(f"{self.name} holds no moving pictures: give a video")
        moving = [stream for stream in moving if stream.codec_context is not None]  # older PyAVs crash where it is None
        if not moving:
            raise CameraError(f"{self.name} holds pictures of a kind that nothing here decodes: convert it to mp4")
        best = streams.best("video")
        chosen = next((stream for stream in moving if stream is best), moving[0])
        chosen.thread_type = "AUTO"
        return chosen

    def packets(self, stream: av.stream.Stream) -> Iterator[av.Packet]:
        """Yield a stream's packets, up to the end of what can be read."""
        import av

        with contextlib.suppress(av.error.FFmpegError, OSError):
            for packet in self.container.demux():
                if packet.pts is not None and packet.size:
                    self._reached_s = max(
                        self._reached_s, float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    )
                if packet.stream_index == stream.index:
                    yield packet

    @property
    def missing_s(self) -> float:
        """How much shorter than it says the film was found to be, in seconds, once all packets were read."""
        if not self.container.duration:
            return 0.0
        start = self.container.start_time or 0
        return (start + self.container.duration) / AV_TIME_BASE - self._reached_s

    def times_s(self, stream: av.stream.Stream) -> list[float]:
        """Return the times of a stream's packets, in seconds, by reading all of the file."""
        return [float(each.pts * each.time_base) for each in self.packets(stream) if each.pts is not None and each.size]

    def close(self) -> None:
        """Close it; may be called again."""
        if self._is_open:
            self._is_open = False
            self.container.close()
        self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _metadata_options(version: str) -> dict[str, str]:
    """Return how a release of PyAV is asked to take titles that are no text; from 19 on it takes them unasked."""
    return {"metadata_errors": "replace"} if int(version.partition(".")[0]) < 19 else {}


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
