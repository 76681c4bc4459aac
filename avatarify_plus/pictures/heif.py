"""HEIC photos, as phones take them: the container (ISO/IEC 23008-12) is read here, HEVC is decoded by PyAV."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from avatarify_plus.types import Image

BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"heif", b"miaf")
"""What a HEIF file says of itself after "ftyp"; AVIF ones, which Pillow reads, say something else first."""

AVIF_BRANDS = (b"avif", b"avis")

DAMAGED = "it is a damaged HEIC picture (copy or download it again)"

MAX_TILES = 4096
"""Pictures of more tiles are refused; a phone's has 48 to 800."""

MATRICES = {1: "ITU709", 5: "ITU601", 6: "ITU601", 9: "BT2020"}
"""Matrices between YCbCr and RGB by their numbers in ISO/IEC 23091-2, as swscale calls them."""

LIMITED_RANGE, FULL_RANGE = 1, 2
"""Whether black is 16 or 0, as FFmpeg numbers it."""


class _Item(NamedTuple):
    """A picture or part of one.

    kind: what it is coded by. properties: kind and body, in the order in which they count. extents: its bytes. parts:
    the numbers of what it is made of.
    """

    kind: bytes
    properties: list[tuple[bytes, memoryview]]
    extents: list[memoryview]
    parts: list[int]

    def body(self, kind: bytes) -> memoryview | None:
        return next((body for found, body in self.properties if found == kind), None)

    @property
    def data(self) -> bytes:
        return b"".join(self.extents)


def is_heif(start: bytes) -> bool:
    """Return whether a file that begins so, 32 bytes at least, is a HEIF picture and not an AVIF one."""
    return start[4:8] == b"ftyp" and start[8:12] not in AVIF_BRANDS and start[8:12] in BRANDS


def read_heif(data: bytes, max_px: int | None, max_pixels: int) -> Image:
    """Decode the main picture of a HEIF file as (H, W, 3) uint8 RGB, turned as the file says.

    A picture of tiles is put together; tiles of one much larger than `max_px` are shrunk first, by a whole number that
    leaves its longer side at `max_px` or more. 10 and 12 bits become 8; transparency, depth and gain maps are left out.
    Raises ValueError for a damaged file, one of more than `max_pixels`, or one of a kind that is not read.
    """
    try:
        items, main = _items(memoryview(data))
        return _picture(items, main, max_px, max_pixels)
    except (struct.error, IndexError, KeyError, RecursionError) as error:
        raise ValueError(DAMAGED) from error


def _picture(items: dict[int, _Item], number: int, max_px: int | None, max_pixels: int) -> Image:
    item = items[number]
    if item.kind == b"iden":  # another picture, turned
        image = _picture(items, item.parts[0], max_px, max_pixels)
    elif item.kind == b"grid":
        image = _tiled(items, item, max_px, max_pixels)
    elif item.kind == b"hvc1":
        width, height = struct.unpack_from(">II", _needed(item, b"ispe"), 4)
        _require_few(width, height, max_pixels)
        image = _Decoder(item, max_pixels).decode(item, _divisor(width, height, width, height, max_px))
    else:
        raise ValueError(f"it is a HEIF picture of a kind that is not read, {item.kind!r} (save it as JPEG)")
    for kind, body in item.properties:
        if kind == b"irot":
            image = np.rot90(image, body[0] & 3)
        elif kind == b"imir":
            image = image[:, ::-1] if body[0] & 1 else image[::-1]
        elif kind == b"clap":
            image = _cropped(image, _needed(item, b"ispe"), body)
    return np.ascontiguousarray(image)


def _tiled(items: dict[int, _Item], item: _Item, max_px: int | None, max_pixels: int) -> Image:
    """Decode the tiles one by one into one picture; what the last ones have beyond its edge is left out."""
    layout = item.data
    rows, columns = layout[2] + 1, layout[3] + 1
    width, height = struct.unpack_from(">II" if layout[1] & 1 else ">HH", layout, 4)
    _require_few(width, height, max_pixels)
    if rows * columns > MAX_TILES or len(item.parts) < rows * columns:
        raise ValueError(
            f"it says that it has {rows * columns} tiles, and has {len(item.parts)} (copy or download it again)"
        )
    first = items[item.parts[0]]
    tile_width, tile_height = struct.unpack_from(">II", _needed(first, b"ispe"), 4)
    if columns * tile_width < width or rows * tile_height < height:
        raise ValueError("its tiles do not fill it (save it as JPEG)")
    divisor = _divisor(width, height, tile_width, tile_height, max_px)
    step_x, step_y = tile_width // divisor, tile_height // divisor
    image = np.zeros((max(height // divisor, 1), max(width // divisor, 1), 3), np.uint8)
    decoder = _Decoder(first, max_pixels)
    for index, number in enumerate(item.parts[: rows * columns]):
        tile = items[number]
        if tile.body(b"hvcC") != decoder.setup:
            decoder = _Decoder(tile, max_pixels)
        top, left = index // columns * step_y, index % columns * step_x
        place = image[top : top + step_y, left : left + step_x]
        if place.size:
            part = decoder.decode(tile, divisor)[: place.shape[0], : place.shape[1]]
            if part.shape != place.shape:
                raise ValueError(DAMAGED)
            place[:] = part
    return image


class _Decoder:
    """PyAV's HEVC decoder, for the parts that share one setup."""

    def __init__(self, item: _Item, max_pixels: int) -> None:
        if item.kind != b"hvc1":
            raise ValueError(f"its parts are of a kind that is not read, {item.kind!r} (save it as JPEG)")
        import av
        from av.codec.context import ThreadType

        self.setup = _needed(item, b"hvcC")
        self._av = av
        self._context: Any = av.CodecContext.create("hevc", "r")
        self._context.extradata = bytes(self.setup)
        self._context.thread_type = ThreadType.NONE  # parts are small, and a context is quickly made
        self._context.options = {"max_pixels": str(max_pixels)}

    def decode(self, item: _Item, divisor: int) -> Image:
        """Return an item's picture, its sides divided. Raises ValueError if it is damaged."""
        try:
            frames = [*self._context.decode(self._av.Packet(item.data)), *self._context.decode(None)]
            self._context.flush_buffers()
            if not frames:
                raise ValueError(DAMAGED)
            frame = frames[0]
            shrunk = {"width": max(frame.width // divisor, 1), "height": max(frame.height // divisor, 1)}
            image: Image = frame.reformat(
                format="rgb24", interpolation="AREA", **(shrunk if divisor > 1 else {}), **_colours(item, frame)
            ).to_ndarray()
        except self._av.FFmpegError as error:
            raise ValueError(DAMAGED) from error
        return image


def _colours(item: _Item, frame: Any) -> dict[str, Any]:
    """Return how a frame's numbers mean colours: as the file says, else as its HEVC data say."""
    wanted = {"src_color_range": frame.color_range}
    body = item.body(b"colr")
    if body is not None and bytes(body[:4]) == b"nclx":
        wanted["src_color_range"] = FULL_RANGE if body[10] >> 7 else LIMITED_RANGE
        matrix = MATRICES.get(struct.unpack_from(">H", body, 8)[0])
        wanted |= {"src_colorspace": matrix} if matrix is not None else {}
    return wanted


def _divisor(width: int, height: int, tile_width: int, tile_height: int, max_px: int | None) -> int:
    """Return by what the tiles' sides can be divided without a rest, so that the picture's longer stays `max_px`."""
    largest = max(width, height) // max_px if max_px is not None else 1
    return next((n for n in range(largest, 1, -1) if not tile_width % n and not tile_height % n), 1)


def _cropped(image: Image, size: memoryview, body: memoryview) -> Image:
    """Return what the file says is to be seen of a picture of a size, which may have been shrunk since."""
    width, height = struct.unpack_from(">II", size, 4)
    values = struct.unpack_from(">8i", body)
    if not all(values[1::2]):
        return image
    seen_width, seen_height, off_x, off_y = (Fraction(values[n], values[n + 1]) for n in (0, 2, 4, 6))
    lines: list[slice] = []
    for length, seen, off, pixels in (
        (height, seen_height, off_y, image.shape[0]),
        (width, seen_width, off_x, image.shape[1]),
    ):
        scale = Fraction(pixels, length)
        start = round(((length - seen) / 2 + off) * scale)
        lines.append(slice(max(start, 0), max(start + round(seen * scale), 1)))
    seen_part = image[lines[0], lines[1]]
    return seen_part if seen_part.size else image


def _require_few(width: int, height: int, max_pixels: int) -> None:
    if not width * height:
        raise ValueError(DAMAGED)
    if width * height > max_pixels:
        raise ValueError(
            f"it has far too many pixels, {width}x{height} (shrink it to {max_pixels // 1_000_000} million)"
        )


def _needed(item: _Item, kind: bytes) -> memoryview:
    body = item.body(kind)
    if body is None:
        raise KeyError(kind)
    return body


# --- the container ---


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the kinds and bodies of the boxes in a stretch of bytes; one that is cut short ends it."""
    start = 0
    while start + 8 <= len(data):
        length, head = struct.unpack_from(">I", data, start)[0], 8
        if length == 1:
            length, head = struct.unpack_from(">Q", data, start + 8)[0], 16
        elif length == 0:
            length = len(data) - start
        if length < head:
            return
        yield bytes(data[start + 4 : start + 8]), data[start + head : start + length]
        start += length


def _items(data: memoryview) -> tuple[dict[int, _Item], int]:
    """Return a file's items by their numbers, and the number of the main one."""
    meta = dict(_boxes(dict(_boxes(data))[b"meta"][4:]))
    main = _number(meta[b"pitm"], 4, meta[b"pitm"][0] > 0)[0]
    kinds = _kinds(meta[b"iinf"])
    properties = _properties(dict(_boxes(meta[b"iprp"]))[b"ipco"], meta[b"iprp"])
    extents = _extents(meta[b"iloc"], data, meta.get(b"idat", memoryview(b"")))
    parts = _parts(meta.get(b"iref", memoryview(bytes(4))))
    items = {
        number: _Item(kind, properties.get(number, []), extents.get(number, []), parts.get(number, []))
        for number, kind in kinds.items()
    }
    return items, main


def _number(data: memoryview, place: int, is_long: bool) -> tuple[int, int]:
    """Return a number of two or four bytes and the place behind it."""
    return struct.unpack_from(">I" if is_long else ">H", data, place)[0], place + (4 if is_long else 2)


def _kinds(box: memoryview) -> dict[int, bytes]:
    kinds: dict[int, bytes] = {}
    for kind, body in _boxes(box[8 if box[0] else 6 :]):
        if kind == b"infe" and body[0] >= 2:
            number, place = _number(body, 4, body[0] > 2)
            kinds[number] = bytes(body[place + 2 : place + 6])
    return kinds


def _properties(container: memoryview, box: memoryview) -> dict[int, list[tuple[bytes, memoryview]]]:
    every = list(_boxes(container))
    properties: dict[int, list[tuple[bytes, memoryview]]] = {}
    for kind, body in _boxes(box):
        if kind != b"ipma":
            continue
        has_long_places = bool(body[3] & 1)
        count, place = _number(body, 4, True)
        for _ in range(count):
            number, place = _number(body, place, body[0] > 0)
            own = properties.setdefault(number, [])
            of_item, place = body[place], place + 1
            for _ in range(of_item):
                which = _number(body, place, False)[0] & 0x7FFF if has_long_places else body[place] & 0x7F
                place += 2 if has_long_places else 1
                if which:  # they count from 1
                    own.append(every[which - 1])
    return properties


def _extents(box: memoryview, data: memoryview, inner: memoryview) -> dict[int, list[memoryview]]:
    version = box[0]
    offset_size, length_size, base_size, index_size = box[4] >> 4, box[4] & 15, box[5] >> 4, box[5] & 15
    count, place = _number(box, 6, version > 1)
    extents: dict[int, list[memoryview]] = {}
    for _ in range(count):
        number, place = _number(box, place, version > 1)
        method = 0
        if version > 0:
            method, place = _number(box, place, False)
        place += 2  # which file: this one
        base, place = _sized(box, place, base_size)
        of_item, place = _number(box, place, False)
        whole = inner if method & 15 == 1 else data
        own = extents.setdefault(number, [])
        for _ in range(of_item):
            place += index_size if version > 0 else 0
            offset, place = _sized(box, place, offset_size)
            length, place = _sized(box, place, length_size)
            own.append(whole[base + offset : base + offset + length if length else None])
    return extents


def _sized(data: memoryview, place: int, size: int) -> tuple[int, int]:
    if place + size > len(data):
        raise IndexError(place)
    return int.from_bytes(data[place : place + size], "big"), place + size


def _parts(box: memoryview) -> dict[int, list[int]]:
    """Return what each derived picture is made of."""
    parts: dict[int, list[int]] = {}
    for kind, body in _boxes(box[4:]):
        if kind == b"dimg":
            number, place = _number(body, 0, box[0] > 0)
            count, place = _number(body, place, False)
            for _ in range(count):
                part, place = _number(body, place, box[0] > 0)
                parts.setdefault(number, []).append(part)
    return parts
