"""Moving pictures as the content of a GIF, with one palette made for all of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from avatarify_plus.types import Image


def gif_of(pictures: list[Image], rate_hz: int) -> bytes:
    """Return the content of a GIF of pictures (H, W, 3) of one size, which repeats without end."""
    file = io.BytesIO()
    with av.open(file, "w", format="gif", options={"loop": "0"}) as container:
        stream = container.add_stream("gif", rate_hz)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "pal8"
        for frame in _in_palette(pictures, Fraction(1, rate_hz)):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _in_palette(pictures: list[Image], time_base: Fraction) -> Iterator[av.VideoFrame]:
    """Yield pictures in the 256 colours that suit all of them best."""
    height, width = pictures[0].shape[:2]
    graph = av.filter.Graph()
    source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=time_base)
    split, generate = graph.add("split"), graph.add("palettegen", "reserve_transparent=0")
    use, sink = graph.add("paletteuse", "dither=none"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(generate, 0, 0)
    split.link_to(use, 1, 0)
    generate.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = number, time_base
        source.push(frame)
    source.push(None)
    for _ in pictures:
        yield sink.pull()
