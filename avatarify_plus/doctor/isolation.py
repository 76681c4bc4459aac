"""Checks in separate processes: a crash or a hang there becomes a finding, and what is printed there is dropped."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

from avatarify_plus.doctor.finding import FAILED, REPORT, Finding, Wanted, name_of, of_error
from avatarify_plus.native_log import hidden_native_messages
from avatarify_plus.program.stop import signals_held

LIMIT_S = 120.0
"""How long one check may take; loading PyTorch from a slow disk takes a minute."""

FIXES = {
    "SIGILL": "this processor lacks instructions that the packages need (AVX): use a newer computer",
    "SIGKILL": "the computer is short of memory: close other programs, then run this again",
}
"""What to do, by the signal that ended a check."""

COMPLAINT = re.compile("error|fail|could not|cannot|fatal", re.IGNORECASE)


def findings_of(group: str, wanted: Wanted, limit_s: float = LIMIT_S) -> Iterator[Finding]:
    """Yield what the CHECKS of a module find, each as soon as it is found.

    A check that kills its process or takes longer than the limit has failed; the next ones go on in a new process.
    """
    done_count = 0
    with tempfile.TemporaryDirectory() as folder:
        while True:
            worker = _Worker(group, wanted, done_count, Path(folder) / f"{done_count}.log")
            try:
                worker.start()
                yield from worker.findings(limit_s)
            finally:
                worker.close()
            done_count += worker.begun_count
            if worker.is_through or not worker.begun_count:
                return


class _Worker:
    """A process that does a module's checks from a given one on.

    begun_count: how many checks it has begun. is_through: whether it has done the last one.
    """

    def __init__(self, group: str, wanted: Wanted, first: int, log: Path) -> None:
        self.begun_count = 0
        self.is_through = False
        self._log = log
        self._name = group.rpartition(".")[2]
        context = multiprocessing.get_context("spawn")
        self._answers, self._theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(self._theirs, group, wanted, first, str(log)), daemon=True)

    def start(self) -> None:
        """Start the process."""
        if os.name != "nt":
            resource_tracker.ensure_running()  # which lets signals in when it is started
        with signals_held():
            self._process.start()
            self._theirs.close()

    def findings(self, limit_s: float) -> Iterator[Finding]:
        """Yield what it finds until it is through, dies, or does not answer within the limit."""
        while self._answers.poll(limit_s):
            try:
                answer = self._answers.recv()
            except EOFError:
                if not self.is_through:
                    yield self._death()
                return
            if isinstance(answer, str):
                self._name = answer
                self.begun_count += 1
            elif answer is None:
                self.is_through = True
            else:
                yield Finding(*answer)
        yield Finding(
            self._name,
            FAILED,
            f"cannot be checked: no answer within {limit_s:g} s",
            f"restart the computer and try again; if that does not help, {REPORT}",
        )

    def close(self) -> None:
        """End the process, if it was started."""
        if self._process.pid is not None:
            self._process.kill()
            self._process.join()
        self._answers.close()

    def _death(self) -> Finding:
        """Return the finding about a process that died: how it ended, and the first complaint that it printed."""
        self._process.join()
        code = self._process.exitcode or 0
        names = {entry.value: entry.name for entry in signal.Signals}
        end = names.get(-code, str(code))
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        complaint = next(filter(COMPLAINT.search, lines), lines[-1] if lines else "")
        message = f"cannot be checked: it ended the program ({end})" + (f": {complaint}" if complaint else "")
        return Finding(self._name, FAILED, message, FIXES.get(end, REPORT))


def _work(answers: Connection, group: str, wanted: Wanted, first: int, log: str) -> None:
    """Do the checks: send each one's name when it begins and its finding when it ends, and None after the last."""
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout = sys.stderr = open(log, "a", encoding="utf-8", errors="replace")  # noqa: SIM115  # as long as it lives
    logging.getLogger(hidden_native_messages.__module__).setLevel(logging.DEBUG)  # they may say why the process dies
    try:
        checks = importlib.import_module(group).CHECKS
    except Exception as error:
        answers.send(of_error(group.rpartition(".")[2], error))
        answers.send(None)
        return
    for check in checks[first:]:
        name = name_of(check)
        answers.send(name)
        try:
            finding = check(wanted)
        except Exception as error:
            finding = of_error(name, error)
        if finding is not None:
            answers.send(finding)
    answers.send(None)
