"""Films of every kind, made on the spot: times, sound, rotation, pixels that are not square."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler

from avatarify_plus.types import Image

SILENCE_S = 0.5
"""The sound of these films begins with silence of this length, then a tone follows."""


def write_film(
    path: Path,
    pictures: Sequence[Image],
    times_s: Sequence[float] | None = None,
    codec: str = "libx264",
    sound: str | None = None,
    sound_s: float = 1.0,
    begins_s: float = 0.0,
    pixel_ratio: Fraction | None = None,
    rotation: int = 0,
    tick: Fraction = Fraction(1, 12800),
    options: dict[str, str] | None = None,
) -> Path:
    """Write pictures as a film.

    times_s: of the pictures; None for 25 a second. sound: encoder of a tone. begins_s: how much later than the sound
    the pictures begin. rotation: degrees, counter-clockwise.
    """
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w", options=options or {}) as film:
        video = film.add_stream(codec, 25, options={"bf": "0", "lag-in-frames": "0"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.time_base = video.codec_context.time_base = tick
        if pixel_ratio is not None:
            video.codec_context.sample_aspect_ratio = pixel_ratio
        if rotation:
            video.set_display_rotation(rotation)
        audio = film.add_stream(sound, 48_000, layout="mono") if sound is not None else None
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            time_s = index / 25 if times_s is None else times_s[index]
            frame.pts, frame.time_base = round((begins_s + time_s) / tick), tick
            film.mux(video.encode(frame))
        film.mux(video.encode(None))
        if audio is not None:
            _write_tone(film, audio, sound_s)
    return path


def _write_tone(film: av.container.OutputContainer, audio: av.AudioStream, length_s: float) -> None:
    codec = audio.codec_context
    codec.open(strict=False)
    times_s = np.arange(round(48_000 * length_s)) / 48_000
    tone = np.where(times_s < SILENCE_S, 0, 0.5 * np.sin(2 * np.pi * 440 * times_s)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
    resampler = AudioResampler(codec.format, codec.layout, 48_000, codec.frame_size or None)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        film.mux(audio.encode(piece))
    film.mux(audio.encode(None))


def times_of(path: Path) -> list[float]:
    """Return when a film's pictures are shown, in seconds."""
    with av.open(str(path.absolute())) as film:
        return [float(frame.pts * frame.time_base) for frame in film.decode(video=0)]


def ends_of(path: Path) -> dict[str, float]:
    """Return when each stream of a film ends, in seconds, by its kind."""
    ends: dict[str, float] = {}
    with av.open(str(path.absolute())) as film:
        for packet in film.demux():
            if packet.pts is not None and packet.size:
                end_s = float((packet.pts + packet.duration) * packet.time_base)
                ends[packet.stream.type] = max(ends.get(packet.stream.type, 0.0), end_s)
    return ends


def tone_begins_s(path: Path) -> float:
    """Return when the tone begins, in seconds after the first picture."""
    with av.open(str(path)) as film:
        for frame in film.decode(audio=0):
            samples = np.abs(frame.to_ndarray().astype(float).ravel())
            loud = np.flatnonzero(samples > (0.1 if frame.format.name.startswith("flt") else 3000))
            if len(loud):
                return float(frame.time + loud[0] / frame.sample_rate) - times_of(path)[0]
    raise AssertionError("there is no tone")
