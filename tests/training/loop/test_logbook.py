"""The log of a run outlives a full disk and goes without TensorBoard."""

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from training.loop.logbook import Logbook


def test_a_full_disk_does_not_end_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = Logbook(tmp_path, 0)
    (tmp_path / "metrics.csv").mkdir()  # nothing can be written there
    log.add(1, {"pixels": 1.0})
    log.write(1, 4, 1.0, 1e-3, {})
    log.close()
    assert "cannot write the logs" in caplog.text


@pytest.mark.parametrize(
    "damaged", ["a,b\n1,2\n", "step,samples,elapsed_s\n1,2\n", "step,samples,elapsed_s\n1,2,3,4\n", 'step\n"', "\ud800"]
)
def test_a_damaged_log_is_kept_aside_and_a_new_one_begins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damaged: str
) -> None:
    file, content = tmp_path / "metrics.csv", damaged.encode("utf-8", "surrogatepass")
    file.write_bytes(content)
    log = Logbook(tmp_path, 5)
    log.add(6, {"pixels": 1.0})
    log.write(6, 24, 1.0, 1e-3, {})
    log.close()
    assert (tmp_path / "metrics.damaged.csv").read_bytes() == content and "is damaged: it is kept as" in caplog.text
    assert [row["step"] for row in Logbook(tmp_path, 6)._rows] == [6]


def test_no_tensorboard_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with caplog.at_level(logging.INFO):
        Logbook(tmp_path, 0).close()
    assert [record.getMessage() for record in caplog.records] == [
        "no TensorBoard log: tensorboard is not installed (pip install tensorboard)"
    ]
