"""The formats of films that are written."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from avatarify_plus.errors import SinkError

Speed = Literal["small", "fast"]
"""Whether a small file counts or a fast encoder."""


class VideoCodec(NamedTuple):
    """An encoder by FFmpeg's name, its options, and the pixel format it is given."""

    encoder: str
    options: dict[str, str]
    pixels: str = "yuv420p"


class FilmFormat(NamedTuple):
    """What a film's suffix stands for.

    muxer: FFmpeg's name. options: for the muxer. codecs: of the pictures. sounds: codecs of sound that are copied as
    they are. sound_encoder: what others are encoded with; None if there can be no sound. min_interval_s: pictures that
    come sooner after the one before are left out.
    """

    muxer: str
    options: dict[str, str]
    codecs: dict[Speed, VideoCodec]
    sounds: tuple[str, ...] = ()
    sound_encoder: str | None = None
    min_interval_s: float = 0.0


H264: dict[Speed, VideoCodec] = {
    "small": VideoCodec("libx264", {"crf": "18", "preset": "veryfast", "g": "50", "bf": "0"}),
    "fast": VideoCodec("libx264", {"crf": "20", "preset": "ultrafast", "g": "50", "bf": "0"}),
}
"""Plays everywhere. At 1280x720 `fast` takes half the processor time of `small`, and twice the space on disk."""

VPX: dict[Speed, VideoCodec] = {
    "small": VideoCodec(
        "libvpx-vp9",
        {"crf": "24", "b": "0", "g": "100", "deadline": "good", "cpu-used": "5", "row-mt": "1", "lag-in-frames": "0"},
    ),
    "fast": VideoCodec(
        "libvpx",
        {"crf": "10", "b": "6000000", "g": "100", "deadline": "realtime", "cpu-used": "8", "threads": "1"},
    ),
}
"""What WebM takes. VP8's threads wait for each other in loops: while an engine uses the cores, two of them take two
to twenty times the processor time of one, and pictures are lost."""

GIF: dict[Speed, VideoCodec] = dict.fromkeys(("small", "fast"), VideoCodec("gif", {}, "pal8"))

FLUSHED = {"flush_packets": "1"}
FRAGMENTED = {"movflags": "hybrid_fragmented", "frag_duration": "1000000"} | FLUSHED
"""While recording, the file is written in fragments of one second, so that even a killed program leaves a video that
plays; closing turns it into a plain one."""

FORMATS: dict[str, FilmFormat] = {
    ".mp4": FilmFormat("mp4", FRAGMENTED, H264, ("aac", "mp3", "ac3", "eac3", "opus"), "aac"),
    ".mov": FilmFormat("mov", FRAGMENTED, H264, ("aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le"), "aac"),
    ".mkv": FilmFormat(
        "matroska",
        FLUSHED,
        H264,
        ("aac", "mp3", "ac3", "eac3", "dts", "opus", "vorbis", "flac", "alac", "pcm_s16le"),
        "aac",
    ),
    ".webm": FilmFormat("webm", FLUSHED, VPX, ("opus", "vorbis"), "libopus"),
    ".gif": FilmFormat("gif", {"loop": "0"}, GIF, min_interval_s=0.02),
}
"""By suffixes, see `config.FILM_SUFFIXES`. Browsers slow down GIFs that show a picture for less than 0.02 s."""


def format_of(path: Path, speed: Speed) -> FilmFormat:
    """Return the format of a film by its suffix. Raises SinkError if it is unknown, or FFmpeg lacks the encoder."""
    from av.codec import codecs_available

    known = FORMATS.get(path.suffix.lower())
    if known is None:
        raise SinkError(f"cannot write {path}: its name must end in one of {', '.join(FORMATS)}")
    encoder = known.codecs[speed].encoder
    if encoder not in codecs_available:
        others = [suffix for suffix, other in FORMATS.items() if other.codecs[speed].encoder in codecs_available]
        raise SinkError(
            f"cannot write {path}: the FFmpeg of the package av has no encoder {encoder}; write "
            f"{' or '.join(others) or 'pictures'}, or install av from PyPI"
        )
    return known
