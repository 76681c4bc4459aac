"""Rows of a file are those of the array that was written, and a file that is cut is one line."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from avatarify_plus.errors import DataError
from avatarify_plus.motion.keypoints import load_mesh_layout
from synthetic_cache import tiny_command, write_cache
from training import train
from training.data.cache import open_cache
from training.data.pairs import PairOptions, PairSampler, Pool
from training.data.row_file import RowFile

NUMBERS = np.arange(60, dtype=np.float32).reshape(5, 3, 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    NUMBERS.tofile(tmp_path / "numbers.f32")
    return tmp_path / "numbers.f32"


def test_rows_are_those_of_the_array(path: Path) -> None:
    rows: RowFile[np.float32] = RowFile(path, np.float32, (5, 3, 4))
    assert len(rows) == 5 and rows.shape == (5, 3, 4)
    np.testing.assert_array_equal(rows[np.int64(4)], NUMBERS[4])
    for part in (slice(None), slice(1, 3), slice(4, 9), slice(3, 3), slice(4, 2)):
        np.testing.assert_array_equal(rows[part], NUMBERS[part])
    for row in (-1, 5):
        with pytest.raises(IndexError):
            rows[row]
    rows[0][:] = 7  # a copy
    np.testing.assert_array_equal(rows[0], NUMBERS[0])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not delete open files")
def test_a_file_that_is_deleted_is_still_read(path: Path) -> None:
    rows: RowFile[np.float32] = RowFile(path, np.float32, (5, 3, 4))
    path.unlink()
    np.testing.assert_array_equal(rows[:], NUMBERS)


def test_a_file_that_is_cut_is_one_line(path: Path) -> None:
    rows: RowFile[np.float32] = RowFile(path, np.float32, (5, 3, 4))
    os.truncate(path, 100)
    np.testing.assert_array_equal(rows[1], NUMBERS[1])
    with pytest.raises(DataError, match=r"numbers\.f32 was cut by another program"):
        rows[4]


def test_a_training_whose_cache_is_cut_ends_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_cache(tmp_path / "data", {"a_1": 4, "b_1": 5})
    save = train.Run.save

    def cut(run: train.Run) -> None:
        save(run)
        os.truncate(data / "frames.u8", 4096)

    monkeypatch.setattr(train.Run, "save", cut)
    assert train.main(tiny_command(data, tmp_path / "run", "--steps", "40")) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"avatarify: error: {data / 'frames.u8'} was cut by")


@pytest.mark.parametrize("value", [np.inf, -1e30, np.nan])
def test_landmarks_that_are_no_faces_are_one_line(tmp_path: Path, value: float) -> None:
    data = write_cache(tmp_path / "data", {"a_1": 4, "b_1": 5})
    landmarks = np.fromfile(data / "landmarks.f32", np.float32).reshape(-1, 478, 3)
    landmarks[:, 7] = value
    landmarks.tofile(data / "landmarks.f32")
    sampler = PairSampler(Pool([open_cache(data)]), load_mesh_layout("face-20"), PairOptions(), seed=0)
    with pytest.raises(DataError, match=r"no face's: it is damaged"):
        sampler.choose(0, 8)
