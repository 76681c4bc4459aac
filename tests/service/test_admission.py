"""Limits of what callers may do, with a clock that passes only when it is asked to."""

from __future__ import annotations

import pytest

from avatarify_plus.service import admission
from avatarify_plus.service.admission import Doorkeeper, Limits, Rate
from fakes import FakeClock

HOME, AWAY = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_so_many_a_minute_and_no_more(clock: FakeClock) -> None:
    rate = Rate(3, clock)
    assert [rate.may() for _ in range(5)] == [True, True, True, False, False]
    assert rate.is_spent
    clock.pass_ms(59_900)
    assert not rate.may()
    clock.pass_ms(200)
    assert not rate.is_spent
    assert [rate.may() for _ in range(4)] == [True, True, True, False]


def test_the_minute_moves_along(clock: FakeClock) -> None:
    rate = Rate(2, clock)
    assert rate.may()
    clock.pass_ms(40_000)
    assert rate.may()
    clock.pass_ms(21_000)  # the first is a minute old, the second is not
    assert [rate.may(), rate.may()] == [True, False]
    clock.pass_ms(40_000)
    assert [rate.may(), rate.may()] == [True, False]


def test_what_was_refused_does_not_count(clock: FakeClock) -> None:
    rate = Rate(1, clock)
    assert rate.may()
    for _ in range(100):
        clock.pass_ms(500)
        assert not rate.may()
    clock.pass_ms(10_001)
    assert rate.may()


def test_a_rate_of_nothing_lets_nothing_happen(clock: FakeClock) -> None:
    assert Rate(0, clock).is_spent and not Rate(0, clock).may()


def test_wrong_tokens_shut_an_address_out_for_a_minute_and_nobody_else(clock: FakeClock) -> None:
    door = Doorkeeper(Limits(wrong_tokens=3), clock)
    for _ in range(3):
        assert door.may_knock(HOME)
        door.leave_door(HOME, was_wrong=True)
    assert not door.may_knock(HOME)
    assert door.may_knock(AWAY)
    door.leave_door(AWAY, was_wrong=False)
    clock.pass_ms(59_000)
    assert not door.may_knock(HOME)
    clock.pass_ms(1_001)
    assert door.may_knock(HOME)


def test_right_tokens_shut_nobody_out(clock: FakeClock) -> None:
    door = Doorkeeper(Limits(wrong_tokens=1, unknown=1, unknown_each=1), clock)
    for _ in range(50):
        assert door.may_knock(HOME)
        door.leave_door(HOME, was_wrong=False)


def test_so_many_may_stand_at_the_door_from_one_address_and_in_all(clock: FakeClock) -> None:
    door = Doorkeeper(Limits(unknown=3, unknown_each=2), clock)
    assert [door.may_knock(HOME) for _ in range(3)] == [True, True, False]
    assert [door.may_knock(AWAY), door.may_knock(AWAY)] == [True, False]
    door.leave_door(HOME, was_wrong=False)
    assert [door.may_knock(AWAY), door.may_knock(HOME)] == [True, False]
    for address in (HOME, AWAY, AWAY):
        door.leave_door(address, was_wrong=False)
    assert [door.may_knock(HOME), door.may_knock(HOME)] == [True, True]


def test_who_was_refused_holds_no_place_at_the_door(clock: FakeClock) -> None:
    door = Doorkeeper(Limits(unknown=1, unknown_each=1), clock)
    assert door.may_knock(HOME)
    for _ in range(20):
        assert not door.may_knock(AWAY)
    door.leave_door(HOME, was_wrong=False)
    assert door.may_knock(AWAY)


def test_the_addresses_that_were_wrong_longest_ago_are_forgotten_first(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "MAX_ADDRESSES", 3)
    door = Doorkeeper(Limits(wrong_tokens=1, unknown=100), clock)
    for address in ("a", "b", "c", "d"):
        assert door.may_knock(address)
        door.leave_door(address, was_wrong=True)
    assert [door.may_knock(address) for address in "abcd"] == [True, False, False, False]
