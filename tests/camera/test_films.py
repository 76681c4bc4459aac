"""Drivers that are files: every picture at its own time, upright, with square pixels, and whatever the file's name."""

import os
import sys
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from avatarify_plus.camera import FileSource, LoopedClip, open_clip, open_frame_source
from avatarify_plus.errors import CameraError
from avatarify_plus.types import Frame, Image
from fakes import example_driver, plain_picture
from films import write_film

DEFAULT_DURATION = b"\x23\xe3\x83"
"""The element of a WebM that holds the time between two pictures."""


def levels(count: int) -> list[Image]:
    """Return pictures that can be told apart after compression."""
    return [plain_picture(10 + 20 * index, 64, 64) for index in range(count)]


def read(path: str | Path) -> tuple[list[Frame], FileSource]:
    with open_frame_source(str(path), 25, plays_live=False) as source:
        frames = [frame for frame in source.frames(threading.Event()) if frame is not None]
    assert isinstance(source, FileSource)
    return frames, source


def quadrants() -> Image:
    """Return a picture whose four corners differ."""
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:32, :64], picture[:32, 64:], picture[32:, :64] = (200, 20, 20), (20, 200, 20), (20, 20, 200)
    return picture


# --- times ---


def test_a_film_whose_header_has_no_rate_keeps_its_times(tmp_path: Path) -> None:
    """As browsers record them."""
    times_s = np.cumsum(np.random.default_rng(0).integers(20, 55, 10)) / 1000
    path = write_film(
        tmp_path / "browser.webm", levels(10), list(times_s), "libvpx", tick=Fraction(1, 1000), options={"live": "1"}
    )
    data = bytearray(path.read_bytes())
    at = data.find(DEFAULT_DURATION)
    assert at > 0
    size = 4 + (data[at + 3] & 0x7F)
    data[at : at + size] = b"\xec" + bytes([0x80 | (size - 2)]) + bytes(size - 2)
    path.write_bytes(data)
    frames, source = read(path)
    np.testing.assert_allclose([frame.captured_at for frame in frames], times_s - times_s[0], atol=1e-6)
    assert source.count == 10
    assert float(source.rate) == pytest.approx(9 / (times_s[-1] - times_s[0]), rel=0.01)
    assert source.end_s == pytest.approx(2 * frames[-1].captured_at - frames[-2].captured_at, abs=0.001)


@pytest.mark.parametrize("times_s", [[0.0, 2.0, 4.0], [0.0, 0.033, 0.2, 0.21, 1.5]])
def test_slow_and_uneven_films_keep_their_times(tmp_path: Path, times_s: list[float]) -> None:
    frames, source = read(write_film(tmp_path / "uneven.mp4", levels(len(times_s)), times_s))
    np.testing.assert_allclose([frame.captured_at for frame in frames], times_s, atol=1e-4)
    assert source.end_s > times_s[-1]
    assert float(source.rate) < 60


def test_a_film_of_one_picture_an_hour_has_a_rate(tmp_path: Path) -> None:
    pictures = [plain_picture(level) for level in (50, 100, 150)]
    reader = open_clip(str(write_film(tmp_path / "glacier.mp4", pictures, [0, 3600, 7200], tick=Fraction(1, 1000))), 25)
    assert 0 < reader.rate <= Fraction(1, 1000)
    assert [reader.read() is not None for _ in range(4)] == [True, True, True, False]
    reader.close()


def test_a_film_whose_time_goes_back_goes_on(tmp_path: Path) -> None:
    """Two films, one behind the other in one file."""
    pieces = [write_film(tmp_path / f"{name}.ts", levels(10), tick=Fraction(1, 90_000)) for name in "ab"]
    (tmp_path / "both.ts").write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    frames, _ = read(tmp_path / "both.ts")
    assert len(frames) == 20
    np.testing.assert_allclose(np.diff([frame.captured_at for frame in frames]), 0.04, atol=0.001)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "apng"])
def test_pictures_that_move_are_played_with_their_delays(tmp_path: Path, suffix: str) -> None:
    delays_ms = [100, 30, 500, 1200]
    pictures = [Pillow.fromarray(picture) for picture in levels(4)]
    kind = "PNG" if suffix == "apng" else None
    path = tmp_path / f"moving.{suffix}"
    pictures[0].save(path, format=kind, save_all=True, append_images=pictures[1:], duration=delays_ms, loop=0)
    frames, source = read(path)
    assert source.count == 4
    np.testing.assert_allclose([frame.captured_at for frame in frames], [0, 0.1, 0.13, 0.63])
    assert source.end_s == pytest.approx(1.83)
    for frame, picture in zip(frames, levels(4), strict=True):
        assert np.abs(frame.image.astype(int) - picture).mean() < 4


def test_a_gif_without_delays_is_played_as_browsers_do(tmp_path: Path) -> None:
    pictures = [Pillow.fromarray(picture) for picture in levels(3)]
    pictures[0].save(tmp_path / "quick.gif", save_all=True, append_images=pictures[1:], duration=0)
    np.testing.assert_allclose([frame.captured_at for frame in read(tmp_path / "quick.gif")[0]], [0, 0.1, 0.2])


def test_a_gif_is_seen_against_white_where_it_is_transparent(tmp_path: Path) -> None:
    picture = Pillow.new("RGBA", (64, 64), (0, 0, 0, 0))
    picture.paste((200, 0, 0, 255), (0, 0, 32, 64))
    picture.save(tmp_path / "hole.gif")
    image = read(tmp_path / "hole.gif")[0][0].image
    assert tuple(image[10, 10]) == (200, 0, 0)
    assert tuple(image[10, 50]) == (255, 255, 255)


@pytest.mark.parametrize("suffix", ["tif", "webp", "png"])
def test_a_tiff_of_several_pages_and_still_pictures_do_not_move(tmp_path: Path, suffix: str) -> None:
    first, second = (Pillow.fromarray(picture) for picture in levels(2))
    options = {"save_all": True, "append_images": [second]} if suffix == "tif" else {}
    first.save(tmp_path / f"some.{suffix}", **options)
    assert len(read(tmp_path / f"some.{suffix}")[0]) == 1


def test_a_damaged_moving_picture_is_played_up_to_there(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    pictures = [Pillow.fromarray(picture) for picture in noise]
    path = tmp_path / "moving.png"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reader = open_clip(str(path), 25)
    with pytest.raises(CameraError, match=r"breaks off at picture 3 of 5: it is damaged"):
        while reader.read() is not None:
            pass
    assert reader.end_s == pytest.approx(0.08)


def test_an_uneven_film_played_over_and_over_keeps_its_times(tmp_path: Path) -> None:
    path = str(write_film(tmp_path / "uneven.mp4", levels(3), [0.0, 0.1, 0.4]))
    clip = open_clip(path, 25)
    loop = LoopedClip(path, clip.rate, clip)
    times_s = []
    for _ in range(6):
        assert loop.read() is not None
        times_s.append(loop.time_s)
    loop.close()
    np.testing.assert_allclose(np.diff(times_s)[[0, 1, 3, 4]], [0.1, 0.3, 0.1, 0.3], atol=1e-3)
    assert times_s[3] > times_s[2]


# --- pictures ---


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_films_of_phones_are_turned_upright(tmp_path: Path, rotation: int) -> None:
    picture = quadrants()
    stored = np.ascontiguousarray(np.rot90(picture, -rotation // 90))
    frames, _ = read(write_film(tmp_path / "phone.mp4", [stored] * 3, rotation=rotation))
    assert frames[0].image.shape == picture.shape
    assert np.abs(frames[0].image.astype(int) - picture).mean() < 8


@pytest.mark.parametrize(("ratio", "size"), [(Fraction(2), (64, 256)), (Fraction(1, 2), (128, 128))])
def test_pixels_become_square(tmp_path: Path, ratio: Fraction, size: tuple[int, int]) -> None:
    frames, _ = read(write_film(tmp_path / "dv.mp4", [quadrants()] * 3, pixel_ratio=ratio))
    assert frames[0].image.shape == (*size, 3)


# --- names ---


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("name", ["12:30.mp4", "http:x.mp4", os.fsdecode(b"caf\xe9.mp4"), "-.mp4", "a?b#c.mp4"])
def test_names_are_only_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    film = write_film(tmp_path / "film.mp4", levels(3))
    monkeypatch.chdir(tmp_path)
    try:
        film.rename(name)
    except OSError:
        pytest.skip("this disk allows no such names")
    assert len(read(name)[0]) == 3


# --- what goes wrong ---


def test_a_film_that_is_damaged_in_its_middle_is_gone_through_to_its_end(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", example_driver(100, 128))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(0).integers(0, 256, 3000, np.uint8).tobytes()
    path.write_bytes(data)
    frames, source = read(path)
    assert 50 < len(frames) <= 100
    assert source.end_s == pytest.approx(4.0, abs=0.05)
    assert "is damaged in" in str(source.trouble)


@pytest.mark.parametrize(("suffix", "sound"), [("mkv", None), ("mkv", "aac"), ("mp4", None), ("mp4", "aac")])
def test_a_film_that_was_cut_short_is_played_up_to_there(tmp_path: Path, suffix: str, sound: str | None) -> None:
    options = {"movflags": "faststart"} if suffix == "mp4" else {}
    path = write_film(
        tmp_path / f"film.{suffix}", example_driver(50, 128), sound=sound, sound_s=2.0, options=options,
        tick=Fraction(1, 1000),
    )  # fmt: skip
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    frames: list[Frame] = []
    with (
        open_frame_source(str(path), 25, plays_live=False) as source,
        pytest.raises(CameraError, match=r"breaks off after \d\.\d s, \d\.\d s before its end: it is cut short"),
    ):
        for frame in source.frames(threading.Event()):
            assert frame is not None
            frames.append(frame)
    assert 10 < len(frames) < 45


def test_a_song_and_its_cover_are_not_a_driver(tmp_path: Path) -> None:
    import av

    song = write_film(tmp_path / "film.mp4", levels(2), sound="aac")
    with av.open(str(song)) as film, av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as only:
        stream = only.add_stream_from_template(film.streams.audio[0])
        for packet in film.demux(film.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                only.mux(packet)
    with pytest.raises(CameraError, match="holds no moving pictures"):
        open_clip(str(tmp_path / "song.m4a"), 25)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe with a name")
def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(CameraError, match="is a pipe, which can be read only once"):
        open_clip(str(tmp_path / "pipe.mp4"), 25)


def test_pictures_without_a_decoder_are_refused_in_one_line(tmp_path: Path) -> None:
    import av

    path = tmp_path / "x.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", 25)
        stream.height = stream.width = 64
        for picture in levels(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode(None))
    assert len(read(path)[0]) == 4
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"ZZZZ"))
    with pytest.raises(CameraError, match=r"x\.avi holds pictures of a kind that nothing here decodes: convert it"):
        read(path)
