"""Writing a film. Loading PyAV before OpenCV makes OpenCV's windows hang (PyAV 1050): it is loaded late."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from avatarify_plus.camera.film_sound import FilmSound
from avatarify_plus.errors import SinkError
from avatarify_plus.sinks.destination import reserve_film
from avatarify_plus.sinks.film_format import Speed, format_of
from avatarify_plus.sinks.own_file import OwnFile
from avatarify_plus.sinks.sound_track import SoundTrack, open_sound_track
from avatarify_plus.types import Image, Size

if TYPE_CHECKING:
    import av

BT601 = 6
"""FFmpeg's number of the colour matrix that pictures are converted with; players that miss it guess by the size."""

LIMITED_RANGE = 1
"""FFmpeg's number of luma levels from 16 to 235."""


class FilmWriter:
    """Append pictures to a film, of the format that its suffix says, and the driver's sound. `close` finishes it."""

    def __init__(
        self,
        path: Path,
        size: Size,
        rate: Fraction,
        time_base: Fraction,
        speed: Speed,
        sound: FilmSound | None = None,
        file: OwnFile | None = None,
    ) -> None:
        """Open the file for pictures of an even size; an existing one is replaced once there is a picture.

        rate: frames a second, a hint if they come irregularly. time_base: length of a tick in seconds. sound: goes into
        the film; stays the caller's. file: the path's, opened before. Raises SinkError if the file cannot be written or
        the size is odd.
        """
        import av

        self._path = path
        self._time_base = time_base
        self._held: av.Packet | None = None
        self._last_tick = -1
        self._is_begun = False
        self._is_lost = False
        self._interval = max(round(1 / (rate * time_base)), 1)
        self._container: av.container.OutputContainer | None = None
        self._sound: SoundTrack | None = None
        self._graph: av.filter.Graph | None = None
        self._make_frame = av.VideoFrame.from_ndarray
        if size.width % 2 or size.height % 2:
            raise SinkError(f"cannot write {path}: video wants even sizes, found {size}; choose an even --size")
        film_format = format_of(path, speed)
        video = film_format.codecs[speed]
        self._min_ticks = round(Fraction(film_format.min_interval_s).limit_denominator(1000) / time_base)
        self._file = file or reserve_film(path, speed)
        try:
            container = av.open(self._file, "w", format=film_format.muxer, options=film_format.options)
            self._stream = container.add_stream(video.encoder, rate, options=dict(video.options))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            with contextlib.suppress(OSError):
                self._file.close()
            raise SinkError(f"cannot write {path}: {error}; check the folder's permissions and free space") from error
        self._container = container
        codec = self._stream.codec_context
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = video.pixels
        self._stream.time_base = codec.time_base = time_base
        if video.pixels == "pal8":
            self._graph = _palette_graph(size, time_base)
        else:
            codec.colorspace, codec.color_range = BT601, LIMITED_RANGE
        if sound is not None:
            self._sound = open_sound_track(container, film_format, sound, path)

    def write(self, picture: Image, tick: int, pixels: Literal["rgb24", "yuv420p"] = "rgb24") -> None:
        """Append a picture: (H, W, 3) uint8 for rgb24, (3 * H / 2, W) uint8 for yuv420p.

        tick: its time in units of the time base, larger than the one before. Raises SinkError if the disk is full or
        gone, or somebody else has deleted, replaced or written the file.
        """
        if self._container is None:
            raise SinkError(f"cannot write {self._path}: the recording was closed")
        self._require_own()
        if self._last_tick >= 0 and tick - self._last_tick < self._min_ticks:
            return
        self._last_tick = tick
        frame = self._make_frame(picture, format=pixels)
        frame.pts, frame.time_base = tick, self._time_base
        self._encode(frame if self._graph is None else _filtered(self._graph, frame))

    def _require_own(self) -> None:
        """Raise SinkError if somebody else has changed the file: the system would let it grow unseen."""
        intrusion = self._file.intrusion()
        if intrusion is not None:
            self._is_lost = True
            self._file.give_up()
            raise SinkError(f"cannot write {self._path}: {intrusion}; choose another place")

    def _encode(self, frame: av.VideoFrame | None) -> None:
        """Encode a frame, or what the encoder still holds back."""
        import av

        try:
            for packet in self._stream.encode(frame):
                self._mux(packet)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._is_lost = not self._is_begun  # FFmpeg dies if it writes a film's beginning twice
            raise SinkError(f"cannot write {self._path}: {error}; check the free space of the disk") from error

    def _mux(self, packet: av.Packet | None, end_tick: int | None = None) -> None:
        """Write the packet before, whose length is known once the next one is there; at the end that is end_tick."""
        held, self._held = self._held, packet
        if held is None or self._container is None:
            return
        next_tick = packet.pts if packet is not None else end_tick
        if next_tick is not None and held.pts is not None and next_tick > held.pts:
            self._interval = next_tick - held.pts
        held.duration = self._interval
        if self._sound is not None:
            self._sound.write_until(float(((held.pts or 0) + self._interval) * self._time_base))
        self._container.mux(held)
        self._is_begun = True

    def close(self, end_tick: int | None = None) -> None:
        """Finish the file; one that got no picture is left as it was before. Raises SinkError if it cannot be finished.

        end_tick: when the last picture ends, in units of the time base; None lets it last as long as the one before.
        """
        if self._container is None:
            return
        import av

        container = self._container
        problem: Exception | None = None
        try:
            if not self._is_lost:
                self._require_own()
            if self._last_tick >= 0 and not self._is_lost:
                self._encode(None)
                self._mux(None, end_tick)
        except (SinkError, av.error.FFmpegError, OSError, ValueError) as error:
            problem = error
        finally:
            self._container = None
            for close in (container.close, self._file.close):  # some disks say only now that they are full
                try:
                    close()
                except (av.error.FFmpegError, OSError, ValueError) as error:
                    problem = problem or error  # the first one says why
        if isinstance(problem, SinkError):
            raise problem
        if problem is not None:
            raise SinkError(f"cannot finish {self._path}: {problem}; check the free space of the disk") from problem

    def discard(self) -> None:
        """Close and delete the file."""
        import av

        container, self._container = self._container, None
        if container is None:
            return
        with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
            container.close()
        with contextlib.suppress(OSError):
            self._file.discard()


def _palette_graph(size: Size, time_base: Fraction) -> av.filter.Graph:
    """Return a filter that turns RGB pictures into pictures of 256 colours."""
    import av.filter

    graph = av.filter.Graph()
    source = graph.add_buffer(width=size.width, height=size.height, format="rgb24", time_base=time_base)
    split, generate = graph.add("split"), graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
    use, sink = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=4"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(generate, 0, 0)
    split.link_to(use, 1, 0)
    generate.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


def _filtered(graph: av.filter.Graph, frame: av.VideoFrame) -> av.VideoFrame:
    pts = frame.pts
    graph.push(frame.reformat(format="rgb24"))
    pulled = graph.pull()
    pulled.pts, pulled.time_base = pts, frame.time_base  # type: ignore[union-attr]
    return pulled  # type: ignore[return-value]
