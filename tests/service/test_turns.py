"""Turns in one thread: first come first served, none twice while it waits, and none that ends the others'."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from avatarify_plus.service.turns import TurnThread

WAIT_S = 5.0


class Gate:
    """A turn that lasts until it is let go. begun: it has begun."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self._opened = threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        assert self._opened.wait(WAIT_S)

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def turns() -> Iterator[TurnThread]:
    with TurnThread() as turns:
        yield turns


@pytest.fixture
def gate(turns: TurnThread) -> Gate:
    """Return what keeps the thread busy until it is opened."""
    gate = Gate()
    turns.request(gate)
    assert gate.begun.wait(WAIT_S)
    return gate


def finish(turns: TurnThread) -> None:
    """Wait until all that was asked for before is done."""
    turns.call(lambda: None).result(WAIT_S)


def noting(order: list[str], name: str) -> Callable[[], None]:
    return lambda: order.append(name)


def test_who_comes_first_is_served_first(turns: TurnThread, gate: Gate) -> None:
    order: list[str] = []
    for name in "cabed":
        turns.request(noting(order, name))
    gate.open()
    finish(turns)
    assert order == list("cabed")


def test_a_turn_that_waits_is_not_queued_twice_and_keeps_its_place(turns: TurnThread, gate: Gate) -> None:
    order: list[str] = []
    many, few = noting(order, "many"), noting(order, "few")
    for turn in (many, many, few, many, many):
        turns.request(turn)
    gate.open()
    finish(turns)
    assert order == ["many", "few"]
    turns.request(many)  # what was served may come again
    finish(turns)
    assert order == ["many", "few", "many"]


def test_bound_methods_of_one_object_are_one_turn_and_of_two_objects_two(turns: TurnThread, gate: Gate) -> None:
    class Somebody:
        def __init__(self) -> None:
            self.count = 0

        def turn(self) -> None:
            self.count += 1

    first, second = Somebody(), Somebody()
    for _ in range(3):
        turns.request(first.turn)
        turns.request(second.turn)
    gate.open()
    finish(turns)
    assert (first.count, second.count) == (1, 1)


def test_a_turn_asked_for_during_itself_is_taken_once_more_after_those_that_wait(turns: TurnThread) -> None:
    order: list[str] = []
    begun, opened = threading.Event(), threading.Event()

    def turn() -> None:
        order.append("own")
        begun.set()
        assert opened.wait(WAIT_S)

    turns.request(turn)
    assert begun.wait(WAIT_S)
    turns.request(noting(order, "other"))
    turns.request(turn)
    turns.request(turn)
    opened.set()
    finish(turns)
    assert order == ["own", "other", "own"]


def test_a_turn_that_raises_is_logged_and_does_not_end_the_thread(
    turns: TurnThread, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("on purpose")

    turns.request(fail)
    assert turns.call(lambda: "still here").result(WAIT_S) == "still here"
    (record,) = caplog.records
    assert record.exc_info is not None and "on purpose" in str(record.exc_info[1])


def test_results_and_exceptions_go_to_who_called(turns: TurnThread, caplog: pytest.LogCaptureFixture) -> None:
    assert turns.call(threading.current_thread).result(WAIT_S).name == "turns"
    future = turns.call(lambda: 1 // 0)
    assert isinstance(future.exception(WAIT_S), ZeroDivisionError)
    assert turns.call(lambda: 7).result(WAIT_S) == 7
    assert not caplog.records


def test_work_that_is_called_off_while_it_waits_is_not_done(turns: TurnThread, gate: Gate) -> None:
    done: list[str] = []
    future = turns.call(noting(done, "called off"))
    turns.call(noting(done, "wanted"))
    assert future.cancel()
    gate.open()
    finish(turns)
    assert done == ["wanted"]


def test_what_waits_at_the_end_is_done_still() -> None:
    done: list[str] = []
    gate = Gate()
    with TurnThread() as turns:
        turns.request(gate)
        assert gate.begun.wait(WAIT_S)
        for name in ("first", "last"):
            turns.request(noting(done, name))
        gate.open()
    assert done == ["first", "last"]
    assert not [thread for thread in threading.enumerate() if thread.name == "turns"]


def test_turns_are_counted_and_timed() -> None:
    with TurnThread() as turns:
        gate = Gate()
        turns.request(gate)
        assert gate.begun.wait(WAIT_S)
        threading.Event().wait(0.03)
        gate.open()
        for _ in range(4):
            finish(turns)
    assert turns.count == 5
    assert turns.busy_s >= 0.03


def test_nothing_is_kept_of_a_turn_that_was_taken() -> None:
    class Caller:
        pass

    with TurnThread() as turns:
        caller = Caller()
        left = weakref.ref(caller)
        turns.call(partial(id, caller)).result(WAIT_S)
        del caller
        end_s = time.monotonic() + WAIT_S
        while left() is not None:
            assert time.monotonic() < end_s, "the thread holds on to its last turn"
            time.sleep(0.01)
