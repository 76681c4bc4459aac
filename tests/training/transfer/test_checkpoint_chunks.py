"""A checkpoint comes home in chunks, as it was or not at all."""

from pathlib import Path

import pytest

from avatarify_plus.errors import ModelError
from synthetic_cache import tiny_command, write_cache
from training import train
from training.transfer.checkpoint_chunks import join_pieces, write_pieces


def test_a_whole_checkpoint_travels_too(tmp_path: Path) -> None:
    data = write_cache(tmp_path / "cache", {"a_1": 3})
    assert train.main(tiny_command(data, tmp_path / "run", "--steps", "1")) == 0
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    write_pieces(checkpoint, tmp_path / "pieces", 10_000, whole=True)
    join_pieces(tmp_path / "pieces", tmp_path / "again" / "checkpoint.pt")
    assert (tmp_path / "again" / "checkpoint.pt").read_bytes() == checkpoint.read_bytes()
    (tmp_path / "pieces" / "piece-000.bin").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="fetch them again"):
        join_pieces(tmp_path / "pieces", tmp_path / "home.pt")
    with pytest.raises(ModelError, match="cannot read the pieces"):
        join_pieces(tmp_path, tmp_path / "home.pt")
