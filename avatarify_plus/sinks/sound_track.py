"""The sound of a film that is written: the driver's, copied, or encoded again where the film cannot hold it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from avatarify_plus.camera.film_sound import FilmSound
from avatarify_plus.sinks.film_format import FilmFormat

if TYPE_CHECKING:
    import av

logger = logging.getLogger(__name__)

OPUS_HZ = 48_000
"""Samples a second that Opus takes."""

BITS_PER_S = 160_000
"""Of sound that is encoded again."""

LONG_S = 0.5
"""Sound whose time goes back by less is left out there."""


class SoundTrack:
    """Write sound as far as the pictures go. Where it cannot go on, it ends with a warning, and the pictures go on."""

    def __init__(self, container: av.container.OutputContainer, packets: Iterator[av.Packet], path: Path) -> None:
        """packets: in order, with the stream of the container that they belong to. path: of the film, for people."""
        self._container = container
        self._packets: Iterator[av.Packet] | None = packets
        self._next: av.Packet | None = None
        self._path = path
        self._reached_s = 0.0

    def write_until(self, time_s: float) -> None:
        """Write the packets of which at least half is heard before a time of the film."""
        import av

        while self._packets is not None:
            try:
                packet = self._next or next(self._packets, None)
                self._next = packet
                if packet is None:
                    self._packets = None
                elif packet.pts < 0:  # what an encoder begins with is not heard, and would shift the pictures
                    self._next = None
                elif float((packet.pts + (packet.duration or 0) / 2) * packet.time_base) >= time_s:
                    return
                else:
                    self._next = None
                    self._mux(packet)
            except (av.error.FFmpegError, ValueError) as error:
                if isinstance(error, OSError):
                    raise  # the disk's, not the sound's
                self._packets = None
                logger.warning("the sound of %s ends at %.1f s: %s", self._path, time_s, error)

    def _mux(self, packet: av.Packet) -> None:
        """Write a packet, unless the driver's time has gone back. Raises ValueError if it has for longer."""
        begins_s = float(packet.pts * packet.time_base)
        if begins_s < self._reached_s - LONG_S:
            raise ValueError("the driver's time goes back there")
        if begins_s >= self._reached_s:
            self._reached_s = begins_s
            self._container.mux(packet)


def open_sound_track(
    container: av.container.OutputContainer, film_format: FilmFormat, sound: FilmSound, path: Path
) -> SoundTrack | None:
    """Add a stream for a driver's sound to a film; None, with a warning, if it can have none."""
    import av

    source = sound.stream
    name = source.codec_context.codec.canonical_name
    if film_format.sound_encoder is None:
        logger.warning("%s has no sound, because a %s can hold none", path, film_format.muxer.upper())
        return None
    try:
        if name in film_format.sounds:
            return SoundTrack(container, _copied(sound, container.add_stream_from_template(source)), path)
        layout = "stereo" if source.codec_context.layout.nb_channels > 1 else "mono"
        is_opus = film_format.sound_encoder == "libopus"
        rate_hz = OPUS_HZ if is_opus else source.codec_context.sample_rate
        stream = container.add_stream(film_format.sound_encoder, rate_hz, layout=layout)
        stream.bit_rate = BITS_PER_S
        return SoundTrack(container, _encoded(sound, stream), path)
    except (av.error.FFmpegError, ValueError, LookupError) as error:
        logger.warning("%s has no sound: that of %s (%s) cannot be used: %s", path, sound.name, name, error)
        return None


def _copied(sound: FilmSound, stream: av.AudioStream) -> Iterator[av.Packet]:
    for packet in sound.packets():
        packet.stream = stream
        yield packet


def _encoded(sound: FilmSound, stream: av.AudioStream) -> Iterator[av.Packet]:
    """Decode a driver's sound and encode it for another stream; damaged places are passed over."""
    import av
    from av.audio.resampler import AudioResampler

    codec = stream.codec_context
    codec.open(strict=False)
    resampler = AudioResampler(codec.format, codec.layout, codec.sample_rate, codec.frame_size or None)
    for packet in sound.packets():
        try:
            frames = packet.decode()
        except (av.error.FFmpegError, ValueError):
            continue
        for frame in frames:
            for resampled in resampler.resample(frame):
                yield from stream.encode(resampled)
    for resampled in resampler.resample(None):
        yield from stream.encode(resampled)
    yield from stream.encode(None)
