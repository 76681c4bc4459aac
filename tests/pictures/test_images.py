"""Reading photos and cutting boxes."""

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from avatarify_plus.errors import SinkError, SourceError
from avatarify_plus.pictures import decoding
from avatarify_plus.pictures.decoding import write_png
from avatarify_plus.pictures.images import (
    MAX_PHOTO_PX,
    Box,
    brighten,
    centred_square,
    crop,
    load_photo,
    mirror,
    pictures_in,
    read_picture,
    resize,
    whole,
)
from avatarify_plus.types import Image
from fakes import EXAMPLES, plain_picture


@pytest.fixture
def gradient() -> Image:
    """(80, 120, 3): red rises to the right, green downwards."""
    picture = np.zeros((80, 120, 3), np.uint8)
    picture[..., 0] = 2 * np.arange(120)[None]
    picture[..., 1] = 3 * np.arange(80)[:, None]
    return picture


def save(path: Path, rgb: Image) -> Path:
    assert cv2.imwrite(str(path), np.ascontiguousarray(rgb[..., ::-1]))
    return path


def test_a_png_comes_back_exactly(tmp_path: Path, gradient: Image) -> None:
    np.testing.assert_array_equal(load_photo(save(tmp_path / "photo.png", gradient)), gradient)


def test_a_name_with_foreign_letters_is_read(tmp_path: Path, gradient: Image) -> None:
    plain = save(tmp_path / "photo.png", gradient)
    np.testing.assert_array_equal(load_photo(plain.rename(tmp_path / "Zoë 照片.png")), gradient)


def test_exif_orientation_is_applied(tmp_path: Path, gradient: Image) -> None:
    path = save(tmp_path / "photo.jpg", gradient)
    turned = load_photo(with_orientation(path, 6))  # 6: the camera was turned, show it rotated clockwise
    assert turned.shape == (120, 80, 3)
    error = np.abs(turned.astype(int) - np.rot90(load_photo(path), -1))
    assert error.mean() < 3


def with_orientation(path: Path, orientation: int) -> Path:
    """Return a copy of a JPEG with an EXIF block that holds nothing but the orientation."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    data = path.read_bytes()
    out = path.with_stem("turned")
    out.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    return out


def test_grey_becomes_rgb(tmp_path: Path, gradient: Image) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), gradient[..., 1])
    photo = load_photo(tmp_path / "grey.png")
    np.testing.assert_array_equal(photo, np.repeat(gradient[..., 1:2], 3, axis=2))


def test_sixteen_bits_become_eight(tmp_path: Path, gradient: Image) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), gradient[..., ::-1].astype(np.uint16) * 257)
    photo = load_photo(tmp_path / "deep.png")
    assert photo.dtype == np.uint8
    np.testing.assert_allclose(photo, gradient, atol=1)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_transparency_is_laid_over_white(tmp_path: Path, gradient: Image, depth: type[np.unsignedinteger]) -> None:
    full = np.iinfo(depth).max
    alpha = np.zeros((80, 120, 1), depth)
    alpha[:40], alpha[40:60] = full, full // 2
    bgra = np.concatenate([gradient[..., ::-1].astype(depth) * depth(full // 255), alpha], 2)
    cv2.imwrite(str(tmp_path / "cut.png"), bgra)
    photo = load_photo(tmp_path / "cut.png")
    np.testing.assert_allclose(photo[:40], gradient[:40], atol=1)
    np.testing.assert_allclose(photo[40:60], gradient[40:60] / 2 + 127.5, atol=2)
    np.testing.assert_array_equal(photo[60:], 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_transparent_pictures_are_turned_too(tmp_path: Path, gradient: Image, orientation: int, suffix: str) -> None:
    """`turned` is how a viewer shows each of EXIF's eight orientations."""
    alpha = np.full((80, 120), 255, np.uint8)
    alpha[:, :30] = 0
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"cut.{suffix}"
    Pillow.fromarray(np.dstack([gradient, alpha])).save(path, exif=exif, lossless=True)
    flat = np.where(alpha[..., None] == 255, gradient, 255)
    flipped = flat[:, ::-1] if orientation in (2, 4, 5, 7) else flat
    turned = np.rot90(flipped, {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}[orientation])
    np.testing.assert_array_equal(load_photo(path), turned)


def test_pictures_with_few_colours_are_read(tmp_path: Path, gradient: Image) -> None:
    palette = Pillow.fromarray(gradient).quantize(64)
    wanted = np.asarray(palette.convert("RGB"))
    for name, options in (("plain.png", {}), ("clear.png", {"transparency": 0}), ("first.gif", {})):
        palette.save(tmp_path / name, **options)
        found = load_photo(tmp_path / name)
        is_clear = np.asarray(palette) == 0 if options else np.zeros((80, 120), bool)
        np.testing.assert_array_equal(found, np.where(is_clear[..., None], 255, wanted))
    bits = np.zeros((80, 120), bool)
    bits[20:40] = True
    Pillow.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(load_photo(tmp_path / "bits.png"), np.where(bits[..., None], 255, [0, 0, 0]))


def test_print_colours_become_rgb(tmp_path: Path, gradient: Image) -> None:
    Pillow.fromarray(gradient).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert np.abs(load_photo(tmp_path / "print.jpg").astype(int) - gradient).mean() < 3


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_of_a_moving_picture_the_first_is_taken(tmp_path: Path, gradient: Image, suffix: str) -> None:
    first, second = (Pillow.fromarray(picture) for picture in (gradient, 255 - gradient))
    first.save(tmp_path / f"moving.{suffix}", save_all=True, append_images=[second], duration=100)
    assert np.abs(load_photo(tmp_path / f"moving.{suffix}").astype(int) - gradient).mean() < 6


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_of_grey_become_eight(tmp_path: Path, gradient: Image, suffix: str) -> None:
    """Not cut off at 255 of 65535, as a plain conversion does."""
    cv2.imwrite(str(tmp_path / f"deep.{suffix}"), gradient[..., 1].astype(np.uint16) * 257)
    photo = load_photo(tmp_path / f"deep.{suffix}")
    np.testing.assert_array_equal(photo, np.repeat(gradient[..., 1:2], 3, axis=2))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_once(tmp_path: Path, gradient: Image, orientation: int) -> None:
    whole_picture, turned = tmp_path / "photo.png", tmp_path / "photo.tif"
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    Pillow.fromarray(gradient).save(whole_picture, exif=exif)
    Pillow.fromarray(gradient).save(turned, tiffinfo={0x0112: orientation})
    np.testing.assert_array_equal(load_photo(turned), load_photo(whole_picture))


def test_one_colour_may_stand_for_transparent(tmp_path: Path) -> None:
    grey = np.full((80, 120), 90, np.uint8)
    grey[:40] = 33
    Pillow.fromarray(grey).save(tmp_path / "keyed.png", transparency=33)
    photo = load_photo(tmp_path / "keyed.png")
    assert photo[:40].min() == 255
    assert (photo[40:] == 90).all()


def test_colour_profiles_and_odd_exif_blocks_change_nothing(tmp_path: Path, gradient: Image) -> None:
    """A block whose orientation is a text, or that is not a block at all."""
    picture = Pillow.fromarray(gradient)
    picture.save(tmp_path / "plain.jpg")
    plain = load_photo(tmp_path / "plain.jpg")
    for name, options in (
        ("profile", {"icc_profile": b"not a profile"}),
        ("junk", {"exif": b"Exif\0\0" + b"\x12" * 50}),
        ("text", {"exif": exif_block((0x0112, 2, 4, b"six\0"))}),
    ):
        picture.save(tmp_path / f"{name}.jpg", **options)
        np.testing.assert_array_equal(load_photo(tmp_path / f"{name}.jpg"), plain)


def test_a_photo_is_turned_although_the_rest_of_its_exif_block_is_odd(tmp_path: Path, gradient: Image) -> None:
    """PageNumber is a text here, which Pillow cannot write back."""
    block = exif_block((0x0112, 3, 1, struct.pack("<I", 6)), (0x0129, 2, 4, b"one\0"))
    Pillow.fromarray(gradient).save(tmp_path / "odd.jpg", exif=block)
    assert load_photo(tmp_path / "odd.jpg").shape == (120, 80, 3)


def exif_block(*entries: tuple[int, int, int, bytes]) -> bytes:
    """Return an EXIF block of tags: number, kind, count and four bytes of value."""
    body = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", 0)


def test_a_file_that_claims_to_be_gigantic_is_refused(tmp_path: Path) -> None:
    """A few bytes that would take 10 GB of memory."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(9))),
        (b"IEND", b""),
    )
    data = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    with pytest.raises(SourceError, match="far too many pixels") as caught:
        load_photo(tmp_path / "bomb.png")
    assert "\n" not in str(caught.value)


def test_a_large_photo_is_read_without_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow warns of what could be an attack long before it refuses it."""
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 9_000)
    assert load_photo(save(tmp_path / "large.png", plain_picture(9, 100, 120))).shape == (100, 120, 3)
    assert capfd.readouterr().err == ""


def test_a_folders_pictures_come_by_their_numbers_without_what_a_mac_leaves_there(tmp_path: Path) -> None:
    names = ["2.png", "03.HEIC", "10.avif", "a2.jpg", "a2b1.jpg", "a10.JPG"]
    for name in [*reversed(names), "._2.png", "._a.jpg", ".hidden.png", "notes.txt"]:
        (tmp_path / name).touch()
    assert [path.name for path in pictures_in(tmp_path)] == names


def test_a_folder_of_nothing_but_a_macs_leftovers_is_empty(tmp_path: Path) -> None:
    (tmp_path / "._2.png").touch()
    with pytest.raises(ValueError, match="holds no photos; put"):
        pictures_in(tmp_path, "photos")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_huge_photo_is_shrunk(tmp_path: Path, gradient: Image, suffix: str) -> None:
    huge = cv2.resize(gradient, (9000, 1200), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    path = save(tmp_path / f"huge.{suffix}", huge)
    photo = load_photo(path)
    assert photo.shape == (round(1200 * MAX_PHOTO_PX / 9000), MAX_PHOTO_PX, 3)
    wanted = cv2.resize(huge, photo.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(photo.astype(int) - wanted).mean() < 1.5
    assert read_picture(path).shape == huge.shape


@pytest.mark.parametrize("shape", [(64, 640), (640, 64)])
def test_photos_of_any_shape_are_read(tmp_path: Path, shape: tuple[int, int]) -> None:
    assert load_photo(save(tmp_path / "strip.jpg", plain_picture(9, *shape))).shape == (*shape, 3)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_of_a_jpeg_that_is_cut_short_what_is_there_is_taken(
    tmp_path: Path, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the grey by which decoders stand for the rest. A driver's pictures are whole or not at all."""
    with Pillow.open(EXAMPLES / "avatar_1.jpg") as photo:
        photo.resize((600, 600)).save(tmp_path / "whole.jpg", quality=90)
    data, seen = (tmp_path / "whole.jpg").read_bytes(), load_photo(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes(data[: int(share * len(data))])
    taken = load_photo(tmp_path / "cut.jpg")
    assert taken.shape[1] == 600 and 64 < len(taken) <= 600
    assert len(taken) > 550 or share < 0.95
    np.testing.assert_array_equal(taken[:-16], seen[: len(taken) - 16])
    assert np.abs(taken.astype(int) - seen[: len(taken)]).mean() < 1
    (told,) = (record.message for record in caplog.records)
    assert "cut.jpg is damaged, its last" in told and told.endswith("left out; copy or download it again")
    with pytest.raises(ValueError, match=r"is cut short or damaged \(copy or download it again\)"):
        read_picture(tmp_path / "cut.jpg")


def test_what_is_cut_short_is_turned_after_what_is_missing_is_left_out(tmp_path: Path) -> None:
    with Pillow.open(EXAMPLES / "avatar_1.jpg") as photo:
        photo.resize((600, 600)).save(tmp_path / "whole.jpg", quality=90)
    data = with_orientation(tmp_path / "whole.jpg", 6).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    taken = load_photo(tmp_path / "cut.jpg")
    assert len(taken) == 600 and taken.shape[1] < 600, "the last rows of the file are the left side of the photo"


def test_a_progressive_jpeg_that_is_cut_short_is_taken_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Pillow.open(EXAMPLES / "avatar_1.jpg") as photo:
        photo.resize((300, 300)).save(tmp_path / "whole.jpg", progressive=True)
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: int(0.8 * len(data))])
    assert np.abs(load_photo(tmp_path / "cut.jpg").astype(int) - load_photo(tmp_path / "whole.jpg")).mean() < 10
    assert "cut.jpg is damaged, some of it may look wrong" in caplog.text


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": b"Exif\0\0" + b"\xff\xd9" * 50}])
def test_a_jpeg_of_which_nothing_is_there_is_refused(tmp_path: Path, options: dict[str, object]) -> None:
    with Pillow.open(EXAMPLES / "avatar_1.jpg") as photo:
        photo.resize((300, 300)).save(tmp_path / "whole.jpg", **options)
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: int(0.02 * len(data))])
    with pytest.raises(SourceError, match=r"cut short or damaged \(copy or download it again\)$"):
        load_photo(tmp_path / "cut.jpg")


@pytest.mark.parametrize(("before", "after"), [(b"", b"a phone's own remarks"), (b"\n", b""), (b"\r\n\0\0", b"\0")])
def test_stray_bytes_around_a_jpeg_are_no_matter(tmp_path: Path, before: bytes, after: bytes) -> None:
    data = (EXAMPLES / "avatar_1.jpg").read_bytes()
    (tmp_path / "stray.jpg").write_bytes(before + data + after)
    np.testing.assert_array_equal(load_photo(tmp_path / "stray.jpg"), load_photo(EXAMPLES / "avatar_1.jpg"))


@pytest.mark.parametrize("suffix", ["png", "webp", "gif", "tif"])
def test_other_truncated_photos_are_refused(tmp_path: Path, suffix: str) -> None:
    with Pillow.open(EXAMPLES / "avatar_1.jpg") as photo:
        photo.resize((300, 300)).save(tmp_path / f"whole.{suffix}")
    data = (tmp_path / f"whole.{suffix}").read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match="is damaged or not a picture"):
        load_photo(tmp_path / f"cut.{suffix}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are not made here")
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_never_ends_is_not_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "photo.jpg"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(os.devnull)
    with pytest.raises(SourceError, match="it is not a file but a pipe or a device"):
        load_photo(path)


def test_a_gigantic_file_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "photo.jpg", "wb") as file:
        file.truncate(3_000_000_000)
    with pytest.raises(SourceError, match="the file has 3000 MB, more than 512"):
        load_photo(tmp_path / "photo.jpg")


def test_an_avif_photo_is_read(tmp_path: Path, gradient: Image) -> None:
    Pillow.fromarray(gradient).save(tmp_path / "photo.avif", quality=95)
    assert np.abs(load_photo(tmp_path / "photo.avif").astype(int) - gradient).mean() < 3


def test_a_large_transparent_photo_is_laid_over_white_in_bands(
    tmp_path: Path, gradient: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is in one piece, and shrunk by as much."""
    clear = np.dstack([gradient, np.arange(80, dtype=np.uint8)[:, None].repeat(120, 1) * 3])
    Pillow.fromarray(clear).save(tmp_path / "clear.png")
    whole_picture = read_picture(tmp_path / "clear.png")
    halved = read_picture(tmp_path / "clear.png", 60)
    monkeypatch.setattr(decoding, "BAND_PX", 7 * 120)
    np.testing.assert_array_equal(read_picture(tmp_path / "clear.png"), whole_picture)
    np.testing.assert_array_equal(read_picture(tmp_path / "clear.png", 60), halved)
    assert np.abs(halved - cv2.resize(whole_picture, (60, 40), interpolation=cv2.INTER_AREA).astype(int)).max() <= 1


@pytest.mark.parametrize("error", [MemoryError(), cv2.error("Insufficient memory")])
def test_too_little_memory_is_one_line(
    tmp_path: Path, gradient: Image, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    path = save(tmp_path / "photo.png", gradient)
    monkeypatch.setattr(decoding, "_opaque", fail)
    with pytest.raises(SourceError, match="there is not enough memory for it"):
        load_photo(path)


@pytest.mark.parametrize("millions", [1, 2])
def test_a_jpeg_may_have_more_pixels_because_it_is_shrunk_while_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, millions: int
) -> None:
    """Pillow's own limit does not count, and is as it was afterwards."""
    monkeypatch.setattr(decoding, "MAX_REDUCED_MILLIONS", millions)
    monkeypatch.setattr(decoding, "MAX_MILLIONS", 1)
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 9_000)
    path = save(tmp_path / "photo.jpg", plain_picture(9, 1000, 1500))
    if millions == 2:
        assert load_photo(path).shape == (1000, 1500, 3)
    else:
        with pytest.raises(SourceError, match=r"far too many pixels, 1500x1000 \(shrink it to 1 million\)"):
            load_photo(path)
    assert Pillow.MAX_IMAGE_PIXELS == 9_000


def test_a_picture_is_written_and_an_existing_one_replaced(tmp_path: Path, gradient: Image) -> None:
    path = save(tmp_path / "out.png", plain_picture(9))
    write_png(path, gradient)
    np.testing.assert_array_equal(read_picture(path), gradient)
    with pytest.raises(SinkError, match="cannot write"):
        write_png(tmp_path / "nowhere" / "out.png", gradient)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read the photo"), (b"", "is empty"), (b"hello" * 99, "not a picture"), ("cut", "is cut short")],
)
def test_what_is_not_a_photo_is_refused_in_one_line(tmp_path: Path, content: bytes | str | None, message: str) -> None:
    path = tmp_path / "photo.jpg"
    if content == "cut":
        path.write_bytes((EXAMPLES / "avatar_1.jpg").read_bytes()[:300])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught:
        load_photo(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_not_a_photo(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot read the photo"):
        load_photo(tmp_path)


def test_a_tiny_photo_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"too small: 63x90 pixels; use"):
        load_photo(save(tmp_path / "photo.png", plain_picture(9, 90, 63)))
    assert read_picture(tmp_path / "photo.png").shape == (90, 63, 3)


def test_a_box_inside_is_cut_exactly(gradient: Image) -> None:
    np.testing.assert_array_equal(crop(gradient, Box(30, 20, 40, 40), 40), gradient[20:60, 30:70])


def test_a_box_beyond_the_picture_repeats_its_edge(gradient: Image) -> None:
    cut = crop(gradient, Box(-10, 50, 60, 60), 60)
    np.testing.assert_array_equal(cut[:30, 10:], gradient[50:, :50])
    np.testing.assert_array_equal(cut[:30, :10], np.repeat(gradient[50:, :1], 10, axis=1))
    np.testing.assert_array_equal(cut[30:, 10:], np.repeat(gradient[-1:, :50], 30, axis=0))


@pytest.mark.parametrize(("left", "top"), [(500, 10), (-500, 10), (10, 500), (10, -500)])
def test_a_box_wholly_outside_is_edge_only(gradient: Image, left: int, top: int) -> None:
    assert crop(gradient, Box(left, top, 30, 30), 30).shape == (30, 30, 3)


def test_shrinking_averages_and_growing_keeps_the_mean() -> None:
    board = np.zeros((64, 64, 3), np.uint8)
    board[::2, ::2] = board[1::2, 1::2] = 200
    np.testing.assert_allclose(resize(board, 32), 100, atol=1)
    assert abs(float(resize(board, 128).mean()) - 100) < 2


def test_mirroring_twice_is_identity(gradient: Image) -> None:
    np.testing.assert_array_equal(mirror(gradient)[:, 0], gradient[:, -1])
    np.testing.assert_array_equal(mirror(mirror(gradient)), gradient)


def test_boxes_of_a_picture(gradient: Image) -> None:
    assert whole(gradient) == Box(0, 0, 120, 80)
    assert centred_square(gradient) == Box(20, 0, 80, 80)


@pytest.mark.parametrize("size", [(300, 300), (513, 513), (1080, 1080), (700, 300), (100, 100)])
def test_resizing_quickly_is_nearly_averaging(size: tuple[int, int]) -> None:
    height, width = size
    y, x = np.mgrid[:height, :width] / max(size)
    waves = np.stack([np.sin(a * x + b * y) for a, b in ((20, 9), (5, 30), (25, 25))], -1)
    picture = (128 + 100 * waves).astype(np.uint8)
    averaged, quick = resize(picture, 64).astype(int), resize(picture, 64, quick=True).astype(int)
    assert quick.shape == averaged.shape == (64, 64, 3)
    assert np.abs(quick - averaged).mean() < 2


def test_brightening_multiplies_and_stops_at_white(gradient: Image) -> None:
    np.testing.assert_array_equal(brighten(gradient, 2.0), np.minimum(gradient.astype(int) * 2, 255))
