"""The log of a run outlives a full disk and goes without TensorBoard."""

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.loop.event_file import EventFile
from training.loop.logbook import TENSORBOARD_STEPS, Logbook


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
    with Logbook(tmp_path, 6) as later:
        assert [row["step"] for row in later._rows] == [6]


def test_a_full_disk_ends_neither_the_log_nor_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = Logbook(tmp_path, 0)

    def full(events: EventFile, *values: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(EventFile, "_write", full)
    log.add(TENSORBOARD_STEPS, {"pixels": 1.0})
    log.write(TENSORBOARD_STEPS, 4, 1.0, 1e-3, {})
    log.close()
    assert caplog.text.count("No space left") == 2 and (tmp_path / "metrics.csv").exists()


def test_tensorboard_reads_what_is_logged(tmp_path: Path) -> None:
    log = Logbook(tmp_path, 0)
    for step in range(1, TENSORBOARD_STEPS + 1):
        log.add(step, {"pixels": float(step)})
    log.write(TENSORBOARD_STEPS, 80, 1.0, 1e-3, {"val L1": 0.25})
    log.draw(TENSORBOARD_STEPS, np.full((8, 8, 3), 200, np.uint8))
    log.close()
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    values = {name: [(event.step, event.value) for event in found.Scalars(name)] for name in found.Tags()["scalars"]}
    assert values["loss/pixels"] == [(20, pytest.approx(10.5))] and values["run/val L1"] == [(20, 0.25)]
    assert [event.step for event in found.Images("sheet")] == [20]
    later = Logbook(tmp_path, 10)  # gone on with from a checkpoint before
    later.close()
    assert EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("loss/pixels") == []


def test_no_tensorboard_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.delitem(sys.modules, "training.loop.event_file", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with caplog.at_level(logging.INFO):
        Logbook(tmp_path, 0).close()
    assert [record.getMessage() for record in caplog.records] == [
        "no TensorBoard log: tensorboard is not installed (pip install tensorboard)"
    ]
