"""A checkpoint comes home in chunks, as it was or not at all."""

import hashlib
import json
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
    (tmp_path / "chunks" / "chunk-000.bin").write_bytes(b"damaged")
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


def test_a_folder_with_the_old_names_is_joined_and_replaced(tmp_path: Path) -> None:
    folder, data = tmp_path / "chunks", b"a whole checkpoint"
    folder.mkdir()
    (folder / "piece-000.bin").write_bytes(data[:10])
    (folder / "piece-001.bin").write_bytes(data[10:])
    listed = {"pieces": ["piece-000.bin", "piece-001.bin"], "sha256": hashlib.sha256(data).hexdigest(), "whole": True}
    (folder / "pieces.json").write_text(json.dumps(listed))
    join_chunks(folder, tmp_path / "home.pt")
    assert (tmp_path / "home.pt").read_bytes() == data
    (tmp_path / "new.pt").write_bytes(b"another checkpoint")
    write_chunks(tmp_path / "new.pt", folder, 12, whole=True)
    assert sorted(path.name for path in folder.iterdir()) == ["chunk-000.bin", "chunk-001.bin", "chunks.json"]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "5",
        "[" * 100_000,
        '{"chunks": 5, "sha256": "", "whole": true}',
        '{"chunks": ["../secret"], "sha256": "", "whole": true}',
        '{"chunks": ["/etc/passwd"], "sha256": "", "whole": true}',
        '{"chunks": [], "whole": true}',
        '{"chunks": [], "sha256": "0", "whole": "yes"}',
    ],
)
def test_a_damaged_list_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "chunks.json").write_text(text)
    with pytest.raises(ModelError, match=r"cannot read the checkpoint chunks in .*; fetch them again") as caught:
        join_chunks(tmp_path, tmp_path / "home.pt")
    assert "\n" not in str(caught.value)


def test_chunks_of_something_else_are_one_line(tmp_path: Path) -> None:
    data = b"no checkpoint"
    (tmp_path / "chunk-000.bin").write_bytes(data)
    listed = {"chunks": ["chunk-000.bin"], "sha256": hashlib.sha256(data).hexdigest(), "whole": False}
    (tmp_path / "chunks.json").write_text(json.dumps(listed))
    with pytest.raises(ModelError, match="cannot read checkpoint") as caught:
        join_chunks(tmp_path, tmp_path / "home.pt")
    assert "weights_only" not in str(caught.value) and "\n" not in str(caught.value)
