"""Meshes travel small."""

import os
import random
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from avatarify_plus.errors import DataError
from training.data.cache import open_cache
from training.transfer import dataset_archive as archive


def test_faces_that_were_not_found_stay_so() -> None:
    landmarks = np.random.default_rng(0).uniform(-0.2, 1.2, (3, 478, 3)).astype(np.float32)
    landmarks[1] = np.nan
    found = archive._unsqueezed(archive._squeezed(landmarks), 3)
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[[0, 2], :, :2], landmarks[[0, 2], :, :2], atol=1 / 8000)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Return a folder with an archive of two photos."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in (1, 2):
        cv2.imwrite(str(folder / f"a_{number}.png"), np.full((32, 32, 3), 40 * number, np.uint8))
    archive.write_archive(folder, tmp_path / "cache", tmp_path / "pack", 1 << 20, 32, 1)
    return tmp_path / "pack"


def test_an_archive_comes_back(pack: Path, tmp_path: Path) -> None:
    cache = open_cache(archive.unpack(pack, tmp_path / "home", 32, 1))
    assert [clip.name for clip in cache.clips] == ["a_1", "a_2"]
    assert (cache.frames[0] == 40).all() and (cache.frames[1] == 80).all()


@pytest.mark.parametrize(
    ("entry", "content"),
    [
        ("clip.json", b"[]"),
        ("clip.json", b"{"),
        ("clip.json", b'{"name": "a", "identity": "a", "count": "many", "folder": false}'),
        ("clip.json", b'{"name": "a", "identity": "a", "count": -1, "folder": false}'),
        ("clip.json", b'{"name": "a", "identity": "a", "count": 1000000000000, "folder": false}'),
        ("mesh.xz", b"nothing"),
        ("mesh.xz", archive.lzma.compress(bytes(10))),
        ("files/a_1.png", None),
    ],
)
def test_what_is_damaged_in_a_part_is_one_line(pack: Path, tmp_path: Path, entry: str, content: bytes | None) -> None:
    (part,) = pack.iterdir()
    with zipfile.ZipFile(part) as old:
        files = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(part, "w") as new:
        for name, data in files.items():
            changed = content if name == f"00000/{entry}" else data
            if changed is not None:
                new.writestr(name, changed)
    with pytest.raises(DataError, match=r"part-000-of-001\.zip is not a part of an archive, or damaged .*fetch"):
        archive.unpack(pack, tmp_path / "home", 32, 1)


def test_parts_with_other_names_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "part-x-of-y.zip").write_bytes(b"")
    with pytest.raises(DataError, match="holds 1 parts of an archive of 0"):
        archive.unpack(tmp_path, tmp_path / "home", 32, 1)


def test_flipped_bits_are_one_line_or_nothing(pack: Path, tmp_path: Path) -> None:
    (part,) = pack.iterdir()
    good, chance, refused = part.read_bytes(), random.Random(0), 0
    for turn in range(60):
        data = bytearray(good)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        part.write_bytes(data)
        try:
            archive.unpack(pack, tmp_path / f"home-{turn}", 32, 1)
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 20


def test_parts_that_an_interrupted_call_left_are_replaced(pack: Path, tmp_path: Path) -> None:
    (part,) = pack.iterdir()
    with pytest.raises(DataError, match="holds a data set archive already"):
        archive.write_archive(tmp_path / "clips", tmp_path / "cache", pack, 1 << 20, 32, 1)
    part.rename(pack / "part-000-of-002.zip")
    archive.write_archive(tmp_path / "clips", tmp_path / "cache", pack, 1 << 20, 32, 1)
    assert list(pack.iterdir()) == [part]


def test_files_of_before_1980_are_packed(pack: Path, tmp_path: Path) -> None:
    os.utime(tmp_path / "clips" / "a_1.png", (0, 0))
    archive.write_archive(tmp_path / "clips", tmp_path / "cache", tmp_path / "again", 1 << 20, 32, 1)
    assert len(list((tmp_path / "again").iterdir())) == 1
