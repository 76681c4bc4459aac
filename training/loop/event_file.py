"""A file of events for TensorBoard, written by the thread that logs, so that a full disk meets it and no other."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary

from avatarify_plus.types import Image


class EventFile:
    """Scalars and pictures of a run, by their steps. All methods raise OSError."""

    def __init__(self, folder: Path, step: int) -> None:
        """Begin a file in a folder, which is made. step: what earlier files hold of it and of later ones is dropped."""
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = open(folder / name, "wb")  # noqa: SIM115  # as long as the run lasts
        self._records = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Log a number."""
        self._write(Event(summary=summary.scalar(name, value), step=step))

    def add_picture(self, name: str, picture: Image, step: int) -> None:
        """Log a picture (H, W, 3) uint8 RGB."""
        self._write(Event(summary=summary.image(name, np.asarray(picture), dataformats="HWC"), step=step))

    def flush(self) -> None:
        """Have the system take what was logged, so that TensorBoard shows it."""
        self._file.flush()

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
