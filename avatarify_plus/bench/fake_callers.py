"""Callers without webcams: they show a service a clip, and note when the avatar's pictures come back."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from avatarify_plus.camera import open_reader
from avatarify_plus.config import AppConfig
from avatarify_plus.errors import AvatarifyError, RemoteError
from avatarify_plus.program.examples import example
from avatarify_plus.remote.link import OPEN_S, RemoteLink
from avatarify_plus.types import Frame, Image
from avatarify_plus.web.session_page import values_of

CALLERS_PER_PROCESS = 4
"""A Python process with more of them would measure itself."""

MAX_FRAMES = 60
"""How many frames of the clip each process holds, decoded."""

CONNECT_S, LAST_S, END_S = 30.0, 1.0, 15.0
"""So long callers may take to get their first pictures, the last pictures to come, and a process to end."""


class Heard(NamedTuple):
    """What one caller saw. sent: frames; arrived_s, latency_ms: of each one's picture, after the measuring began."""

    sent: int
    arrived_s: list[float]
    latency_ms: list[float]


@dataclass(frozen=True)
class Work:
    """What callers do. phases: when each one's frames come, in parts of the interval between two."""

    address: str
    token: str
    clip: str
    fps: float
    seconds: float
    phases: Sequence[float]


class FakeCaller:
    """Sends frames when they are due, in a thread, as if a webcam had captured them then.

    due_s: of each frame that was sent. arrived_s: when a frame's first picture came, by when the frame was due.
    """

    def __init__(self, work: Work, phase: float, pictures: list[Image], stop: threading.Event) -> None:
        config = AppConfig(avatar=(example("avatar_2.jpg"),))
        self.due_s: list[float] = []
        self.arrived_s: dict[float, float] = {}
        self.failure: RemoteError | None = None
        self.link = RemoteLink(work.address, work.token, config.avatar, values_of(config))
        self.thread = threading.Thread(target=self._run, name="caller", daemon=True)
        self._fps, self._phase, self._pictures, self._stop = work.fps, phase, pictures, stop

    def heard(self, begun_s: float, ended_s: float) -> Heard:
        """Return what came of the frames that were due in a time."""
        sent = [due_s for due_s in list(self.due_s) if begun_s <= due_s < ended_s]
        came = [(due_s, self.arrived_s[due_s]) for due_s in sent if due_s in self.arrived_s]
        return Heard(len(sent), [at_s - begun_s for _, at_s in came], [1000 * (at_s - due_s) for due_s, at_s in came])

    def _run(self) -> None:
        number = math.ceil(time.perf_counter() * self._fps - self._phase)
        with self.link:
            while not self._stop.is_set():
                due_s = (number + self._phase) / self._fps
                try:
                    picture = self.link.newest(max(due_s - time.perf_counter(), 0))
                except RemoteError as error:
                    self.failure = error
                    return
                if picture is not None and picture.captured_s is not None:
                    self.arrived_s.setdefault(picture.captured_s, time.perf_counter())
                if time.perf_counter() >= due_s:
                    self.link.send(Frame(self._pictures[number % len(self._pictures)], number, due_s))
                    self.due_s.append(due_s)
                    number += 1


@contextlib.contextmanager
def calling(work: Work) -> Iterator[list[Connection]]:
    """Let callers call, some in each process of its own, and wait until all get pictures.

    Returns pipes: each wants a word to begin to measure, and `result_of` it follows. Raises AvatarifyError.
    """
    context, pipes = multiprocessing.get_context("spawn"), list[Connection]()
    with contextlib.ExitStack() as stack:
        for first in range(0, len(work.phases), CALLERS_PER_PROCESS):
            own, theirs = context.Pipe()
            some = replace(work, phases=work.phases[first : first + CALLERS_PER_PROCESS])
            process = context.Process(target=_call, args=(some, theirs), daemon=True)
            process.start()
            theirs.close()
            stack.callback(process.join, END_S)
            pipes.append(stack.enter_context(own))
        for pipe in pipes:
            result_of(pipe)
        yield pipes


def result_of(pipe: Connection) -> Any:
    """Wait for what a process says: a list of `Heard` and its CPU time in seconds. Raises AvatarifyError."""
    try:
        found = pipe.recv()
    except EOFError:
        raise RemoteError("a process of callers has ended by itself") from None
    if isinstance(found, AvatarifyError):
        raise found
    return found


def _call(work: Work, pipe: Connection) -> None:
    """Be some callers: say so when all get pictures, wait for a word, and say what they saw and their CPU time."""
    stop = threading.Event()
    callers: list[FakeCaller] = []
    try:
        pictures = _pictures(work)
        callers += [FakeCaller(work, phase, pictures, stop) for phase in work.phases]
        for caller in callers:
            caller.thread.start()
        _wait_for_pictures(callers)
        pipe.send(None)
        pipe.recv()
        begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        time.sleep(work.seconds)
        ended_s, ended_cpu_s = time.perf_counter(), time.process_time()
        time.sleep(LAST_S)
        pipe.send(([caller.heard(begun_s, ended_s) for caller in callers], ended_cpu_s - begun_cpu_s))
    except AvatarifyError as error:
        pipe.send(error)
    except (EOFError, KeyboardInterrupt):
        pass  # the bench has ended
    finally:
        stop.set()
        for caller in callers:
            caller.thread.join(2 * OPEN_S)


def _wait_for_pictures(callers: Sequence[FakeCaller]) -> None:
    limit_s = time.monotonic() + CONNECT_S
    while waiting := [caller for caller in callers if not caller.arrived_s]:
        for caller in waiting:
            if caller.failure is not None:
                raise caller.failure
        if time.monotonic() > limit_s:
            raise RemoteError(f"a caller gets no pictures: {waiting[0].link.trouble}")
        time.sleep(0.05)


def _pictures(work: Work) -> list[Image]:
    """Return the beginning of the clip, forwards and backwards. Raises CameraError."""
    pictures: list[Image] = []
    with contextlib.closing(open_reader(work.clip, work.fps)) as reader:
        while len(pictures) < MAX_FRAMES and (picture := reader.read()) is not None:
            pictures.append(picture)
    return pictures + pictures[-2:0:-1]
