"""Spread jobs over processes that each keep a runner open: a job that kills its process costs only that process."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from types import TracebackType

from tqdm import tqdm

from avatarify_plus.errors import AvatarifyError, DataError
from training.evaluation.evaluation_result import EvaluationResult
from training.evaluation.runner import Outcome, Runner, Setup, Skipped, TrialJob


def run_trials(setup: Setup, jobs: Sequence[TrialJob], processes: int, result: EvaluationResult, title: str) -> str:
    """Run jobs, with a progress bar, and add what became of them to the result; return the device that computed.

    Raises as `run_jobs`.
    """
    device = "unknown"
    with tqdm(total=len(jobs), unit="trial", desc=title) as bar:
        for job, outcome, device in run_jobs(setup, jobs, processes):  # noqa: B007
            result.add(job, outcome)
            bar.update()
    return device


def threads_per_process(processes: int) -> int:
    """Return the number of threads for each of the processes that share this machine's cores."""
    return max(1, (os.cpu_count() or 1) // processes)


def run_jobs(setup: Setup, jobs: Sequence[TrialJob], processes: int) -> Iterator[tuple[TrialJob, Outcome, str]]:
    """Yield each job's outcome as it is done, with the device that computed it.

    With one process, this process does the work. Several are spawned: MediaPipe's threads do not survive a fork.
    Raises the AvatarifyError that keeps a runner from opening, and DataError if every process died.
    """
    if min(processes, len(jobs)) <= 1:
        with Runner(setup) as runner:
            for job in jobs:
                yield job, runner.run(job), runner.device
        return
    waiting = list(reversed(jobs))
    with _TrialProcesses(setup, min(processes, len(jobs))) as processes_open:
        while waiting or processes_open.is_busy:
            yield from processes_open.step(waiting)


class _TrialProcesses:
    """Processes that each do one job at a time, each at the end of a pipe."""

    def __init__(self, setup: Setup, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._links: dict[Connection, TrialJob | None] = {}
        self._devices: dict[Connection, str] = {}
        self._processes = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, setup), daemon=True)
            process.start()
            theirs.close()  # so that ours ends when the process does
            self._links[ours] = None
            self._processes.append(process)

    def __enter__(self) -> _TrialProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for link in self._links:
            with contextlib.suppress(OSError):  # it died
                link.send(None)
        for process in self._processes:
            if kind is not None:
                process.terminate()
            process.join()
            process.close()
        for link in self._links:
            link.close()

    @property
    def is_busy(self) -> bool:
        """Whether a job is under way."""
        return any(job is not None for job in self._links.values())

    def step(self, waiting: list[TrialJob]) -> Iterator[tuple[TrialJob, Outcome, str]]:
        """Wait for a message; yield finished jobs and hand out waiting ones, the last first."""
        if not self._links:
            raise DataError(f"all processes died with {len(waiting)} trials left: run again with --processes 1")
        ready = wait(list(self._links))
        for link in [link for link in self._links if link in ready]:
            job = self._links[link]
            try:
                answer = link.recv()
            except (EOFError, OSError):
                del self._links[link]
                link.close()
                if job is not None:
                    yield job, Skipped(job.trial, "its process died"), self._devices[link]
                continue
            if isinstance(answer, AvatarifyError):
                raise answer
            if isinstance(answer, str):
                self._devices[link] = answer  # it is ready
            following = waiting.pop() if waiting else None
            self._links[link] = following
            if following is not None:
                link.send(following)
            if job is not None:
                yield job, answer, self._devices[link]


def _serve(link: Connection, setup: Setup) -> None:
    """Send the device, then answer jobs until None comes; an AvatarifyError is sent and ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent has ended
        try:
            with Runner(setup) as runner:
                link.send(runner.device)
                while (job := link.recv()) is not None:
                    link.send(runner.run(job))
        except AvatarifyError as error:
            link.send(error)
