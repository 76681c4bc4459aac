"""A checkpoint comes home in chunks, as it was or not at all."""

from pathlib import Path

import pytest

from avatarify_plus.errors import ModelError
from synthetic_cache import tiny_command, write_cache
from training import train
from training.transfer.checkpoint_chunks import join_chunks, write_chunks


def test_a_whole_checkpoint_travels_too(tmp_path: Path) -> None:
    data = write_cache(tmp_path / "cache", {"a_1": 3})
    assert train.main(tiny_command(data, tmp_path / "run", "--steps", "1")) == 0
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    write_chunks(checkpoint, tmp_path / "chunks", 10_000, whole=True)
    join_chunks(tmp_path / "chunks", tmp_path / "again" / "checkpoint.pt")
    assert (tmp_path / "again" / "checkpoint.pt").read_bytes() == checkpoint.read_bytes()
    (tmp_path / "chunks" / "piece-000.bin").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="fetch them again"):
        join_chunks(tmp_path / "chunks", tmp_path / "home.pt")
    with pytest.raises(ModelError, match="cannot read the checkpoint chunks"):
        join_chunks(tmp_path, tmp_path / "home.pt")


def test_weights_that_came_home_start_a_run_but_do_not_resume_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, home = write_cache(tmp_path / "cache", {"a_1": 3}), tmp_path / "home" / "checkpoint.pt"
    assert train.main(tiny_command(data, tmp_path / "run", "--steps", "1")) == 0
    write_chunks(tmp_path / "run" / "checkpoint.pt", tmp_path / "chunks", 1_000_000, whole=False)
    join_chunks(tmp_path / "chunks", home)
    assert train.main(tiny_command(data, tmp_path / "next", "--steps", "1", "--warm-start", str(home))) == 0
    capsys.readouterr()
    assert train.main(tiny_command(data, home.parent, "--steps", "2")) == 1
    assert "holds averaged weights only" in capsys.readouterr().err
