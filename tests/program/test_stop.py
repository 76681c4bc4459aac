"""Signals end a run in order, once."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from avatarify_plus import __main__ as command
from avatarify_plus.program.ending import INTERRUPTED
from avatarify_plus.program.stop import interrupt_on_signal, signals_held, stop_on_signal


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send itself these signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_first_signal_asks_and_the_second_has_its_usual_effect(name: str) -> None:
    number, usual = getattr(signal, name), lambda number, frame: None
    before = signal.signal(number, usual)
    try:
        with stop_on_signal() as stop:
            os.kill(os.getpid(), number)
            assert stop.wait(5)
            assert signal.getsignal(number) == usual
        assert signal.getsignal(number) == usual
    finally:
        signal.signal(number, before)


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send itself these signals")
def test_what_a_launcher_passes_on_is_no_second_signal() -> None:
    usual: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: usual.append(number))
    try:
        with stop_on_signal(repeats_s=0.3) as stop:
            for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)
            assert stop.is_set() and not usual
            time.sleep(0.35)
            os.kill(os.getpid(), signal.SIGINT)
            assert usual == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_what_nohup_makes_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signal() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.wait(0.1)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_without_a_signal_nothing_is_left_behind() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signal() as stop:
        assert not stop.is_set()
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def work() -> None:
        with stop_on_signal() as stop:
            seen.extend((signal.getsignal(signal.SIGINT), stop.is_set()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert seen == [before, False]


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send itself these signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_interrupts_but_not_before_it_is_let_in(name: str) -> None:
    number, usual = getattr(signal, name), lambda number, frame: None
    before = signal.signal(number, usual)  # nohup, under which tests may run, has SIGHUP ignored
    try:
        with interrupt_on_signal() as let_in:
            os.kill(os.getpid(), number)
            with pytest.raises(KeyboardInterrupt):
                let_in()
        with interrupt_on_signal() as let_in:
            let_in()
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
                threading.Event().wait(5)
        assert signal.getsignal(number) == usual
    finally:
        signal.signal(number, before)


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send itself these signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_a_program_is_imported_ends_it_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    begun: list[list[str]] = []

    def import_program(program: str) -> Callable[[list[str]], int]:
        os.kill(os.getpid(), getattr(signal, name))
        return lambda given: begun.append(given) or 0

    monkeypatch.setattr(command, "_import", import_program)
    assert command.main(["bench", "--seconds", "1"]) == INTERRUPTED
    assert not begun


ENDING = """
import atexit, os, signal
atexit.register(lambda: [os.kill(os.getpid(), number) for number in (signal.SIGINT, signal.SIGTERM)])
from avatarify_plus.program.stop import interrupt_on_signal
with interrupt_on_signal():
    print("done")
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send itself these signals")
def test_a_signal_while_the_interpreter_ends_changes_nothing() -> None:
    ended = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows has no masks of signals")
def test_held_signals_come_later_here_and_never_in_a_process_begun_meanwhile() -> None:
    with stop_on_signal() as stop:
        with signals_held():
            child = subprocess.Popen([sys.executable, "-c", "print(input())"], stdin=-1, stdout=-1, text=True)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            assert not stop.wait(0.1)
        assert stop.wait(5)
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGTERM)
    assert child.communicate("still here\n", timeout=30)[0] == "still here\n" and child.returncode == 0
