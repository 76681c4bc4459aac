"""HEIC photos: whole, of tiles, turned, damaged."""

from pathlib import Path

import numpy as np
import pytest

from avatarify_plus.errors import SourceError
from avatarify_plus.pictures.images import load_photo, read_picture, resize
from avatarify_plus.types import Image
from fakes import EXAMPLES
from heic_files import write_heic


@pytest.fixture(scope="module")
def gradient() -> Image:
    """(150, 200, 3): red rises to the right, green downwards; neither a multiple of a tile."""
    picture = np.zeros((150, 200, 3), np.uint8)
    picture[..., 0] = np.arange(200)[None]
    picture[..., 1] = np.arange(150)[:, None]
    return picture


def difference(one: Image, other: Image) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize("tile_px", [None, 64])
@pytest.mark.parametrize("pixels", ["yuvj420p", "yuv420p", "yuvj444p", "yuv420p10le"])
def test_a_phones_photo_shows_what_it_showed(tmp_path: Path, gradient: Image, tile_px: int | None, pixels: str) -> None:
    """Whole or of tiles, with numbers from 0 or from 16 for black, of 8 or 10 bits."""
    path = write_heic(tmp_path / "photo.heic", gradient, tile_px, pixels=pixels)
    assert difference(load_photo(path), gradient) < 1.5


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrors", [None, 0, 1])
def test_it_is_shown_as_the_camera_was_held(tmp_path: Path, gradient: Image, turns: int, mirrors: int | None) -> None:
    upright = np.rot90(gradient, turns)
    if mirrors is not None:
        upright = upright[:, ::-1] if mirrors else upright[::-1]
    path = write_heic(tmp_path / "photo.heic", gradient, 64, turns, mirrors)
    assert difference(read_picture(path), upright) < 1


def test_only_what_is_to_be_seen_is_shown(tmp_path: Path, gradient: Image) -> None:
    path = write_heic(tmp_path / "photo.heif", gradient, crops=(20, 10, 100, 80))
    assert difference(read_picture(path), gradient[10:90, 20:120]) < 1


def test_tiles_of_a_much_larger_photo_are_shrunk_before_they_are_put_together(tmp_path: Path) -> None:
    photo = resize(load_photo(EXAMPLES / "avatar_2.jpg"), 768)
    path = write_heic(tmp_path / "photo.heic", photo, 128)
    assert difference(read_picture(path, 384), resize(photo, 384)) < 2
    assert read_picture(path, 200).shape == (200, 200, 3)
    assert read_picture(path).shape == photo.shape


def test_it_may_have_any_suffix(tmp_path: Path, gradient: Image) -> None:
    path = write_heic(tmp_path / "photo.jpg", gradient)
    assert difference(load_photo(path), gradient) < 1


@pytest.mark.parametrize("tile_px", [None, 64])
def test_one_that_claims_to_be_gigantic_is_refused_before_it_is_decoded(
    tmp_path: Path, gradient: Image, tile_px: int | None
) -> None:
    path = write_heic(tmp_path / "photo.heic", gradient, tile_px, claims=(60_000, 60_000))
    with pytest.raises(SourceError, match=r"far too many pixels, 60000x60000 \(shrink it to 256 million\)"):
        load_photo(path)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("tile_px", [None, 64])
def test_one_that_is_cut_short_is_refused_in_one_line(
    tmp_path: Path, gradient: Image, share: float, tile_px: int | None
) -> None:
    data = write_heic(tmp_path / "photo.heic", gradient, tile_px).read_bytes()
    (tmp_path / "photo.heic").write_bytes(data[: int(share * len(data))])
    with pytest.raises(SourceError, match=r"is a damaged HEIC picture \(copy or download it again\)$"):
        load_photo(tmp_path / "photo.heic")


def test_whatever_is_damaged_is_refused_or_shown(tmp_path: Path, gradient: Image) -> None:
    """Never a traceback: bytes of the container are changed at random."""
    data = write_heic(tmp_path / "photo.heic", gradient, 64).read_bytes()
    numbers = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        for place in numbers.integers(16, 1200, 3):
            damaged[place] = numbers.integers(256)
        (tmp_path / "photo.heic").write_bytes(damaged)
        try:
            load_photo(tmp_path / "photo.heic")
        except SourceError:
            refused += 1
    assert 0 < refused < 300


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_what_only_says_that_it_is_heic_is_refused(tmp_path: Path, brand: bytes) -> None:
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(200))
    with pytest.raises(SourceError, match="damaged HEIC picture"):
        load_photo(tmp_path / "photo.heic")
