"""HEIC photos made on the spot: HEVC pictures by PyAV, in a container as phones write it."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from avatarify_plus.types import Image


def box(kind: bytes, *bodies: bytes) -> bytes:
    body = b"".join(bodies)
    return struct.pack(">I", 8 + len(body)) + kind + body


def full_box(kind: bytes, *bodies: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *bodies)


def hevc(picture: Image, pixels: str) -> tuple[bytes, bytes]:
    """Return the setup (hvcC) and the data of a picture (H, W, 3), H and W even; both as in the container."""
    encoder = av.CodecContext.create("libx265", "w")
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt = pixels
    encoder.framerate, encoder.time_base = Fraction(25), Fraction(1, 25)
    levels = "full" if pixels.startswith("yuvj") else "limited"
    options = f"log-level=none:keyint=1:qp=12:repeat-headers=1:info=0:colormatrix=smpte170m:range={levels}"
    encoder.options = {"x265-params": options}
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    frame = frame.reformat(format=pixels, dst_color_range=2 if pixels.startswith("yuvj") else None)
    stream = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    units = [unit.rstrip(b"\0") for unit in stream.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]
    headers = [unit for unit in units if unit[0] >> 1 & 63 in (32, 33, 34)]
    slices = [unit for unit in units if unit[0] >> 1 & 63 < 32]
    arrays = b"".join(struct.pack(">BHH", 0x80 | unit[0] >> 1 & 63, 1, len(unit)) + unit for unit in headers)
    depth = 10 if "10" in pixels else 8
    setup = bytes([1]) + bytes(15) + bytes([3 if "444" in pixels else 1, depth - 8, depth - 8, 0, 0, 3, len(headers)])
    setup += arrays
    return setup, b"".join(struct.pack(">I", len(unit)) + unit for unit in slices)


def write_heic(
    path: Path,
    picture: Image,
    tile_px: int | None = None,
    turns: int = 0,
    mirrors: int | None = None,
    pixels: str = "yuvj444p",
    claims: tuple[int, int] | None = None,
    crops: tuple[int, int, int, int] | None = None,
) -> Path:
    """Write a picture as HEIC.

    tile_px: of tiles of this side, the last ones padded. turns: quarters of a turn against the clock, by which it is
    shown. mirrors: then mirrored, 0 upside down, 1 left to right. claims: another width and height than it has.
    crops: left, top, width, height of what is to be seen, before it is turned.
    """
    height, width = picture.shape[:2]
    tiles = [picture]
    rows = columns = 1
    if tile_px is not None:
        rows, columns = -(-height // tile_px), -(-width // tile_px)
        padded = np.pad(picture, ((0, rows * tile_px - height), (0, columns * tile_px - width), (0, 0)), mode="edge")
        tiles = [
            padded[row * tile_px :, column * tile_px :][:tile_px, :tile_px]
            for row in range(rows)
            for column in range(columns)
        ]
    coded = [hevc(np.ascontiguousarray(tile), pixels) for tile in tiles]
    shown_width, shown_height = claims or (width, height)
    tile_size = (shown_width, shown_height) if tile_px is None else (tile_px, tile_px)
    properties = [
        box(b"hvcC", coded[0][0]),
        full_box(b"ispe", struct.pack(">II", *tile_size)),
        full_box(b"ispe", struct.pack(">II", shown_width, shown_height)),
    ]
    own = [3] if tile_px is not None else [1, 2]
    if crops is not None:
        left, top, wide, high = crops
        off_x, off_y = 2 * left + wide - width, 2 * top + high - height  # of the middles, in halves
        properties.append(box(b"clap", struct.pack(">8i", wide, 1, high, 1, off_x, 2, off_y, 2)))
        own.append(len(properties))
    if turns:
        properties.append(box(b"irot", bytes([turns])))
        own.append(len(properties))
    if mirrors is not None:
        properties.append(box(b"imir", bytes([mirrors])))
        own.append(len(properties))
    numbers = list(range(1, len(tiles) + 1))
    main, grid = 1, b""
    kinds = [(number, b"hvc1") for number in numbers]
    of_items = [(number, [1, 2]) for number in numbers]
    reference = b""
    if tile_px is not None:
        main = len(tiles) + 1
        grid = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, shown_width, shown_height)
        kinds.append((main, b"grid"))
        of_items.append((main, own))
        reference = full_box(b"iref", box(b"dimg", struct.pack(f">HH{len(tiles)}H", main, len(tiles), *numbers)))
    else:
        of_items[0] = (1, own)

    def meta(first_byte: int) -> bytes:
        places, start = [], first_byte
        for number, (_, data) in zip(numbers, coded, strict=True):
            places.append(struct.pack(">HHHHII", number, 0, 0, 1, start, len(data)))
            start += len(data)
        if grid:
            places.append(struct.pack(">HHHHII", main, 1, 0, 1, 0, len(grid)))
        return full_box(
            b"meta",
            full_box(b"hdlr", bytes(4) + b"pict" + bytes(13)),
            full_box(b"pitm", struct.pack(">H", main)),
            full_box(
                b"iinf",
                struct.pack(">H", len(kinds)),
                *(full_box(b"infe", struct.pack(">HH", n, 0) + kind + b"\0", version=2) for n, kind in kinds),
            ),
            reference,
            box(
                b"iprp",
                box(b"ipco", *properties),
                full_box(
                    b"ipma",
                    struct.pack(">I", len(of_items)),
                    *(struct.pack(">HB", number, len(of)) + bytes(of) for number, of in of_items),
                ),
            ),
            full_box(b"iloc", bytes([0x44, 0x00]), struct.pack(">H", len(places)), *places, version=1),
            box(b"idat", grid) if grid else b"",
        )

    start = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    first_byte = len(start) + len(meta(0)) + 8
    path.write_bytes(start + meta(first_byte) + box(b"mdat", *(data for _, data in coded)))
    return path
