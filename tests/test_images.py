"""Reading photos and cutting boxes."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from avatarify_plus.errors import SourceError
from avatarify_plus.images import Box, centred_square, crop, load_photo, mirror, read_picture, resize, whole
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


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read the photo"), (b"", "is empty"), (b"hello" * 99, "not a picture"), ("cut", "is cut short")],
)
def test_what_is_no_photo_is_told(tmp_path: Path, content: bytes | str | None, message: str) -> None:
    path = tmp_path / "photo.jpg"
    if content == "cut":
        path.write_bytes((EXAMPLES / "avatar_1.jpg").read_bytes()[:300])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught:
        load_photo(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_photo(tmp_path: Path) -> None:
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
